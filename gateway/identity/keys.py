"""Client keys: how they are made, recognised and described. A key is only ever stored as its SHA-256 digest.

A key has 256 random bits, so a plain digest cannot be guessed back; no salt and no slow hash is needed.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from gateway.settings.limits import KeySettings, LimitsFile

KEY_MARK = "tg_"
_RANDOM_BYTES = 32
_SHAPE = re.compile(rf"{KEY_MARK}[A-Za-z0-9_-]{{43}}")
PREFIX_LENGTH = len(KEY_MARK) + 6
"""What is kept of a key in the clear, for people to recognise it: 36 of its 256 bits."""

Source = Literal["file", "api"]
Access = Literal["calls", "role"]


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """Who spends with a key, and what else is known of it. The limits file says what orgs may do."""

    key_id: str
    org_id: str
    team_id: str | None
    user_id: str | None
    source: Source
    """``file``: declared in limits.yaml and read-only elsewhere; ``api``: created here."""
    allowed_models: tuple[str, ...] | None = None
    """None: whatever the key's user, team and org allow. ``*`` stands for any run of characters."""
    allowed_operations: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    open_calls_max: int | None = None
    expires_at: datetime | None = None
    trusted_attribution: bool = False
    """``x-tollgate-user`` may carry a limit of its own."""
    access: Access = "calls"
    """What it may ask the API for: ``calls``, to see what is its user's own; ``role``, what its user's roles allow."""
    revoked: bool = False
    """Or its user is suspended."""

    def to_json(self) -> bytes:
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, document: bytes) -> KeyRecord:
        """Raises ValueError, TypeError or KeyError on what `to_json` did not write; ignores members it does
        not know.
        """
        read: dict[str, Any] = orjson.loads(document)
        known = {name: read[name] for name in cls.__slots__ if name in read}
        for name in ("allowed_models", "allowed_operations"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        if known.get("expires_at") is not None:
            known["expires_at"] = datetime.fromisoformat(known["expires_at"])
        return cls(**known)


def generate_key() -> str:
    """A new key: ``tg_`` and 43 URL-safe characters."""
    return KEY_MARK + secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of(key: str) -> str:
    """The SHA-256 of the key as lower-case hex, which is all that is stored and looked up."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def prefix_of(key: str) -> str:
    return key[:PREFIX_LENGTH]


def looks_generated(key: str) -> bool:
    """Whether `generate_key` can have made this; if not, no store needs to be asked for it."""
    return _SHAPE.fullmatch(key) is not None


def file_keys(limits: LimitsFile) -> dict[str, KeyRecord]:
    """The keys that limits.yaml declares, by digest."""
    return dict(_file_keys(limits))


def _file_keys(limits: LimitsFile) -> Iterator[tuple[str, KeyRecord]]:
    for org in limits.orgs:
        for _path, spender, team, user in org.spenders():
            if isinstance(spender, KeySettings):
                yield (
                    spender.sha256,
                    KeyRecord(
                        key_id=spender.id,
                        org_id=org.id,
                        team_id=team,
                        user_id=user,
                        source="file",
                        allowed_models=spender.allowed_models,
                        allowed_operations=spender.allowed_operations,
                        requests_per_minute=spender.requests_per_minute,
                        open_calls_max=spender.open_calls,
                        expires_at=spender.expires,
                        trusted_attribution=spender.trusted_attribution,
                        access=spender.access,
                    ),
                )
