"""The keys under which personal fields and secrets are encrypted at rest.

Several keys may be given at once: ``active`` encrypts, all of them decrypt. That is how a key is replaced: add the
new one, make it active on every gateway, run `tollgate encryption rotate`, take the old one away.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from gateway.settings.section import Section

KEY_BYTES = 32
_KEY_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_HEX = re.compile(r"[0-9a-fA-F]{64}")


class EncryptionSettings(Section):
    """``encryption:`` of tollgate.yaml. Without it nothing personal can be stored; the gateway runs all the same."""

    keys: dict[str, SecretStr] = Field(default_factory=dict)
    """By key id: 32 bytes each, as 64 hexadecimal digits or in base64."""
    active: Annotated[str | None, Field(validate_default=True)] = None
    """Which of ``keys`` encrypts from now on."""

    @field_validator("keys")
    @classmethod
    def _usable(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for key_id, secret in value.items():
            if not _KEY_ID.fullmatch(key_id):
                raise ValueError(f"key id {key_id!r}: use lower-case letters, digits, '-' and '_'")
            try:
                key_bytes(secret)
            except ValueError as error:
                raise ValueError(f"key {key_id}: {error}") from None
        return value

    @field_validator("active")
    @classmethod
    def _is_there(cls, value: str | None, info: ValidationInfo) -> str | None:
        keys = info.data.get("keys")
        if value is None and keys:
            raise ValueError("say here which of the keys encrypts")
        if value is not None and keys is not None and value not in keys:
            raise ValueError(f"{value!r} is not one of `keys`")
        return value


def key_bytes(secret: SecretStr) -> bytes:
    """The 32 bytes of a key as it is written in a configuration. Raises ValueError, never with the key in it."""
    text = secret.get_secret_value().strip()
    try:
        if _HEX.fullmatch(text):
            key = bytes.fromhex(text)
        else:
            padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
            key = base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError("must be 32 random bytes as hex or base64; use the output of `openssl rand -hex 32`")
    if len(set(key)) < KEY_BYTES // 4:
        raise ValueError("repeats a few bytes; use the output of `openssl rand -hex 32`")
    return key
