"""Rows of people and of their roles. When Postgres is down everything raises `PostgresUnavailable`.

What changes them is called inside a transaction that holds the organisation's lock (`changing`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gateway.identity.profile import Profile, unseal
from gateway.identity.roles import Reach, Role
from gateway.identity.standing import Standing
from gateway.identity.vault import Vault
from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.identity", "people.sql")
_TRACES = Queries.load("gateway.identity", "erasure.sql")
Kind = Literal["person", "service"]
State = Literal["active", "suspended"]


@dataclass(frozen=True, slots=True)
class Membership:
    team_id: str | None
    """None: in the organisation as a whole."""
    role: Role


@dataclass(frozen=True, slots=True)
class PersonRow:
    org_id: str
    user_id: str
    kind: Kind
    state: State
    profile: Profile
    memberships: tuple[Membership, ...]
    created_at: datetime

    @property
    def standing(self) -> Standing:
        return Standing.of((one.team_id, one.role) for one in self.memberships)


class PeopleTable:
    def __init__(self, postgres: Postgres, vault: Vault) -> None:
        self._postgres = postgres
        self._vault = vault

    @asynccontextmanager
    async def changing(self, org: str) -> AsyncIterator[Session]:
        """A transaction in which nobody else changes people or roles of ``org``."""
        async with self._postgres.transaction() as session:
            await lock(session, org)
            yield session

    async def standing(self, org: str, user: str) -> Standing:
        """Of somebody who was never heard of: a member's."""
        rows = await self._postgres.fetch(_SQL["memberships"], org, user)
        return Standing.of((row["team_id"] or None, Role(row["role"])) for row in rows)

    async def find(self, org: str, user: str, session: Session | None = None) -> PersonRow | None:
        row = await (session or self._postgres).fetch_one(_SQL["find"], org, user)
        return None if row is None else self._person(row)

    async def page(
        self,
        org: str,
        reach: Reach,
        *,
        after: str | None,
        kind: Kind | None,
        email_digest: str | None,
        team: str | None,
        limit: int,
    ) -> list[PersonRow]:
        """By id, those after ``after``."""
        rows = await self._postgres.fetch(
            _SQL["page"],
            org,
            after,
            reach.whole,
            list(reach.users or ()),
            list(reach.teams or ()),
            kind,
            email_digest,
            team,
            limit,
        )
        return [self._person(row) for row in rows]

    def _person(self, row: Row) -> PersonRow:
        pairs = zip(row["teams"] or (), row["roles"] or (), strict=True)
        return PersonRow(
            org_id=row["org_id"],
            user_id=row["user_id"],
            kind=row["kind"],
            state=row["state"],
            profile=unseal(row, self._vault),
            memberships=tuple(Membership(team or None, Role(role)) for team, role in pairs),
            created_at=row["created_at"],
        )


async def lock(session: Session, org: str) -> None:
    """As `PeopleTable.changing`, in a transaction of the caller's."""
    await session.execute(_SQL["lock_org"], org)


async def insert(session: Session, org: str, user: str, kind: Kind) -> bool:
    """False if the id is taken."""
    return await session.fetch_value(_SQL["insert"], org, user, kind) is not None


async def set_profile(
    session: Session,
    org: str,
    user: str,
    sealed: tuple[str | None, str | None, str | None],
    email_digest: str | None,
) -> None:
    """Raises `DataRefused` (constraint ``people_by_email``) if somebody else has the address."""
    await session.execute(_SQL["set_profile"], org, user, *sealed, email_digest)


async def set_state(session: Session, org: str, user: str, state: State) -> None:
    await session.execute(_SQL["set_state"], org, user, state)


async def grant(session: Session, org: str, user: str, membership: Membership, by: str) -> bool:
    """False if it was held already."""
    team, role = membership.team_id or "", membership.role.value
    return await session.fetch_value(_SQL["grant"], org, user, team, role, by) is not None


async def withdraw(session: Session, org: str, user: str, membership: Membership) -> bool:
    """False if it was not held."""
    team, role = membership.team_id or "", membership.role.value
    return await session.fetch_value(_SQL["withdraw"], org, user, team, role) is not None


async def owners(session: Session, org: str) -> set[str]:
    """Of those made here, the ones that are not suspended."""
    return {row["user_id"] for row in await session.fetch(_SQL["owners"], org)}


async def being_erased(session: Session, org: str, user: str) -> bool:
    return bool(await session.fetch_value(_SQL["being_erased"], org, user))


async def in_team(session: Session, org: str, user: str, team: str | None) -> bool:
    return bool(await session.fetch_value(_SQL["in_team"], org, user, team))


async def left_traces(session: Session, org: str, user: str) -> bool:
    """Whether there are keys or usage under this id, be there a person or not."""
    return bool(await session.fetch_value(_TRACES["known"], org, user))


async def delete(session: Session, org: str, user: str) -> bool:
    """With their memberships. False if there was nobody."""
    return await session.fetch_value(_SQL["delete"], org, user) is not None
