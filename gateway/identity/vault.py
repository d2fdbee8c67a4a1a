"""Personal fields and secrets, encrypted at rest with AES-256-GCM.

What is sealed says under which key, ``k1.<base64url of nonce and ciphertext>``, and is bound to its place: the table,
column and primary key of its row are authenticated with it, so a ciphertext copied into another row cannot be opened
there. Columns that hold sealed text are of type text and are called ``..._sealed``: that is how `encryption rotate`
finds all of them (`gateway.identity.postgres_rotation`).
"""

from __future__ import annotations

import base64
import binascii
import os
from urllib.parse import quote

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import TollgateError
from gateway.settings.encryption import EncryptionSettings, key_bytes

_NONCE_BYTES = 12
"""Random. One key may seal 2^32 values before two nonces meet with a probability of 2^-33 (NIST SP 800-38D, 8.3)."""


class EncryptionNotConfigured(TollgateError):
    """Personal fields and secrets are stored encrypted only, and no key is configured. Give `encryption: {active: k1,
    keys: {k1: "${TOLLGATE_ENCRYPTION_KEY}"}}` in tollgate.yaml, with a key from `openssl rand -hex 32`, and restart.
    """

    status = 501
    code = "encryption_not_configured"


class Unsealable(TollgateError):
    """What is stored cannot be decrypted: it was changed, or belongs to another place."""

    code = "unsealable"


class Vault:
    """Seals and opens. ``place``: see `place`; the same for both, or what was sealed does not open."""

    def __init__(self, settings: EncryptionSettings) -> None:
        self._ciphers = {key_id: AESGCM(key_bytes(secret)) for key_id, secret in settings.keys.items()}
        self.active = settings.active

    @property
    def configured(self) -> bool:
        return self.active is not None

    def seal(self, text: str, place: str) -> str:
        """Encrypt with the active key. Raises `EncryptionNotConfigured`."""
        if self.active is None:
            raise EncryptionNotConfigured
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self.active].encrypt(nonce, text.encode(), place.encode())
        return f"{self.active}.{base64.urlsafe_b64encode(nonce + sealed).decode().rstrip('=')}"

    def open(self, sealed: str, place: str) -> str:
        """Decrypt. Raises `Unsealable`: the key is not configured, or this is not what was sealed here."""
        key_id, dot, encoded = sealed.partition(".")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            name = key_id if dot else "unknown"
            raise Unsealable(
                f"Something is stored under the encryption key {name!r}, which is not configured: put it back under "
                "`encryption.keys` until `tollgate encryption rotate` has replaced it."
            )
        try:
            raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError) as error:
            table = place.partition("/")[0]
            raise Unsealable(
                f"A value in {table} cannot be decrypted: it was changed, or moved from another row, or its key "
                f"{key_id!r} is not the one that sealed it."
            ) from error

    def is_current(self, sealed: str) -> bool:
        """Whether the active key sealed this."""
        return self.active is not None and sealed.startswith(f"{self.active}.")


def place(table: str, column: str, *key: object) -> str:
    """Where a sealed value belongs. ``key``: its row's primary key, every column of it, in the order of the key."""
    return "/".join([f"{table}.{column}", *(quote(str(part), safe="") for part in key)])
