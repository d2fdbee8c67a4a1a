"""Whom a key stands for when the API is called with it."""

from __future__ import annotations

from gateway.identity.keyring import Keyring
from gateway.identity.roles import Principal, Role


class KeyPrincipals:
    """A key stands for its user, or for itself if it belongs to nobody."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def principal_of(self, key: str) -> Principal:
        """Raises `Unauthenticated` and its kin, or `StoreUnavailable`."""
        record = await self._keyring.lookup(key)
        owner = f"user:{record.org_id}/{record.user_id}" if record.user_id is not None else None
        return Principal(
            actor=owner or f"key:{record.org_id}/{record.key_id}",
            roles=frozenset({Role.MEMBER}),
            org_id=record.org_id,
            user_id=record.user_id,
            team_id=record.team_id,
            key_id=record.key_id,
        )
