"""Names that say nothing: how users appear in analytics to those who need not know who they are.

A pseudonym is the HMAC-SHA256 of the user id under a random key of the organisation. Whoever has a user id can find
its pseudonym only with that key; the same person has different ones in two organisations. With the key destroyed, no
pseudonym can be traced to anybody. An erased person's usage stands under a random id (`gateway.identity.erasure`), so
their pseudonyms of before are found nowhere any more.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

from gateway.identity.postgres_secrets import Purpose

MARK = "anon-"
_HEX_DIGITS = 20
"""80 bits: among a million users of one organisation, two share a pseudonym once in two trillion times."""
REMEMBERED_MAX = 1_000
REMEMBERED_S = 60.0
"""How long a destroyed key may still be in use on another gateway."""


class Secrets(Protocol):
    """See `gateway.identity.postgres_secrets.OrgSecrets`."""

    async def get(self, org: str, purpose: Purpose) -> bytes: ...


class Pseudonyms:
    def __init__(self, secrets: Secrets, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._secrets = secrets
        self._monotonic_s = monotonic_s
        self._keys: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    async def of(self, org: str, users: Iterable[str]) -> dict[str, str]:
        """User id to pseudonym. Raises `EncryptionNotConfigured`, `StoreUnavailable`."""
        key = await self._key(org)
        return {user: pseudonym(key, user) for user in users}

    def forget(self, org: str) -> None:
        """The organisation's key was destroyed."""
        self._keys.pop(org, None)

    async def _key(self, org: str) -> bytes:
        until_s, key = self._keys.get(org, (0.0, b""))
        if self._monotonic_s() >= until_s:
            key = await self._secrets.get(org, Purpose.PSEUDONYMS)
            self._keys[org] = (self._monotonic_s() + REMEMBERED_S, key)
            self._keys.move_to_end(org)
            if len(self._keys) > REMEMBERED_MAX:
                self._keys.popitem(last=False)
        return key


def pseudonym(key: bytes, user: str) -> str:
    """``anon-`` and 20 hexadecimal digits."""
    return MARK + hmac.new(key, user.encode(), hashlib.sha256).hexdigest()[:_HEX_DIGITS]
