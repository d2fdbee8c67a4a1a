"""Whom a key stands for when the API is called with it.

Roles are remembered and forgotten together with keys (`gateway.identity.keyring`): a role that is taken away is gone on
every gateway within a second; within a minute if that could not be announced. With Postgres down, callers whose roles
are not remembered get `StoreUnavailable`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from gateway.errors import StoreUnavailable
from gateway.identity.declared import Declarations
from gateway.identity.keyring import Keyring
from gateway.identity.keys import KeyRecord
from gateway.identity.remembered import Remembered
from gateway.identity.roles import Principal, Role
from gateway.identity.standing import Standing

REMEMBERED_MAX = 10_000
"""Users; some 5 MB. The least recently used go first."""
_CALLER = Standing(frozenset({Role.CALLER}))


class Standings(Protocol):
    """See `gateway.identity.postgres_people.PeopleTable`."""

    async def standing(self, org: str, user: str) -> Standing: ...


class KeyPrincipals:
    """A key stands for its user, or for itself if it belongs to nobody."""

    def __init__(
        self,
        keyring: Keyring,
        standings: Standings,
        declarations: Declarations,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keyring = keyring
        self._standings = standings
        self._declarations = declarations
        self._remembered = Remembered[tuple[str, str], Standing](REMEMBERED_MAX, monotonic_s)
        self._epoch = 0
        keyring.on_forget(self._forget)

    async def principal_of(self, key: str) -> Principal:
        """Raises `Unauthenticated` and its kin, or `StoreUnavailable`."""
        record = await self._keyring.lookup(key)
        standing = await self._standing(record)
        owner = f"user:{record.org_id}/{record.user_id}" if record.user_id is not None else None
        return Principal(
            actor=owner or f"key:{record.org_id}/{record.key_id}",
            roles=standing.roles,
            org_id=record.org_id,
            user_id=record.user_id,
            team_id=record.team_id,
            key_id=record.key_id,
            leads=standing.leads,
        )

    async def _standing(self, record: KeyRecord) -> Standing:
        """A key for calls lies in applications, so it does not act for its user, whatever they may do."""
        if record.access == "calls" or record.user_id is None:
            return _CALLER
        who = (record.org_id, record.user_id)
        declared = self._declarations.current.users.get(who)
        if declared is not None:
            return declared.standing
        found = self._remembered.get(who)
        if found is not None:
            return found
        epoch = self._epoch
        try:
            found = await self._standings.standing(*who)
        except StoreUnavailable:
            found = self._remembered.last(who)
            if found is None:
                raise
        if epoch == self._epoch:
            # What was read before memory was last cleared may be what it was cleared for.
            self._remembered.keep(who, found)
        return found

    def _forget(self) -> None:
        self._epoch += 1
        self._remembered.clear()
