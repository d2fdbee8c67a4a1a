"""Erasing a person, with the books left whole.

At once, in one transaction: the profile and every role are gone, all keys are revoked. Then, as soon as none of their
calls is open: what was counted for them alone is dropped from Redis, and usage, alerts and conversations move to a
random id that says nothing, day by day, events and sums together, so that no total changes at any moment. Each step may
be repeated; whatever stops half-way is taken up by the next `proceed` or `run`.

Usage that settles late (a batch may take two days) is moved by later runs. After `FORGOTTEN_AFTER` the user id itself
is forgotten, and with it the last tie between the person and the random id.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.budgets.model import Limit, Scope
from gateway.budgets.postgres_managed import ManagedLimits
from gateway.errors import NotFound
from gateway.identity import postgres_people
from gateway.identity.declared import Declarations
from gateway.identity.issuing import KeyIssuer
from gateway.identity.people import People, no_such_person
from gateway.identity.postgres_keys import keys_of, revoke_keys
from gateway.identity.postgres_people import PeopleTable
from gateway.identity.redis_traces import UserTraces
from gateway.identity.roles import Principal, Role
from gateway.stores import postgres_audit
from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.identity", "erasure.sql")
FORGOTTEN_AFTER = timedelta(days=7)
"""Longer than any call may stay open: jobs of providers are settled after 48 hours at the latest."""
ERASED_MARK = "erased-"


@dataclass(frozen=True, slots=True)
class Erasure:
    erasure_id: str
    org_id: str
    user_id: str
    erased_id: str
    """Not for anybody's eyes while the user id is known: it ties the two together."""
    requested_at: datetime
    completed_at: datetime | None
    """When all usage of before had been moved."""


class Erasures:
    """``published_version``: see `gateway.budgets.redis_holds.RedisHolds`."""

    def __init__(
        self,
        postgres: Postgres,
        table: PeopleTable,
        people: People,
        declarations: Declarations,
        issuer: KeyIssuer,
        traces: UserTraces,
        managed: ManagedLimits,
        published_version: Callable[[str], Awaitable[int]],
    ) -> None:
        self._postgres = postgres
        self._table = table
        self._people = people
        self._declarations = declarations
        self._issuer = issuer
        self._traces = traces
        self._managed = managed
        self._published_version = published_version

    async def request(self, org: str, user: str, *, by: Principal, now: datetime) -> Erasure:
        """Erase at once what can be. Again answers with the erasure under way.

        Raises `NotFound` where nothing is kept of ``user``, `Conflict` for the last owner and for who is declared in
        the file: take them out of it first.
        """
        self._declarations.current.refuse_user(org, user)
        async with self._table.changing(org) as session:
            under_way = await session.fetch_one(_SQL["find"], org, user)
            if under_way is None:
                row = await self._begin(session, org, user, by, now)
            else:
                row = under_way
            keys = await keys_of(session, org, user)
        # Also when it is repeated: a store may have been down the first time.
        await self._issuer.announce(keys)
        return _erasure(row)

    async def _begin(self, session: Session, org: str, user: str, by: Principal, now: datetime) -> Row:
        person = await self._table.find(org, user, session)
        if person is None and not await session.fetch_value(_SQL["known"], org, user):
            raise no_such_person(user)
        if person is not None and Role.OWNER in person.standing.roles:
            await self._people.check_not_last_owner(session, org, user)
        erasure_id = f"erasure-{secrets.token_hex(8)}"
        erased_id = f"{ERASED_MARK}{secrets.token_hex(10)}"
        row = await session.fetch_one(_SQL["request"], erasure_id, org, user, erased_id, by.actor, now)
        assert row is not None, "the organisation's lock is held, so nobody else began"
        await postgres_people.delete(session, org, user)
        await revoke_keys(session, [key.record.key_id for key in await keys_of(session, org, user)], by.actor)
        await postgres_audit.record(
            session,
            actor=by.actor,
            action="person.erase",
            object=f"person:{org}/{user}",
            org=org,
            after={"erasure": erasure_id},
        )
        return row

    async def proceed(
        self, erasure: Erasure, now: datetime, *, go_on: Callable[[], bool] = lambda: True
    ) -> Erasure:
        """Move what is still under the person's id, if no call of theirs is open. ``go_on`` is asked between days.

        Returns the erasure, completed or as it was. Raises `StoreUnavailable`.
        """
        org, user = erasure.org_id, erasure.user_id
        if await self._traces.has_open_calls(org, user):
            return erasure
        await self._drop_limits(org, user)
        await self._traces.remove_counters(org, user)
        ids = org, user, erasure.erased_id
        for row in await self._postgres.fetch(_SQL["days"], org, user):
            if not go_on():
                return erasure
            async with self._postgres.transaction() as session:
                await session.execute(_SQL["lock_sums"])
                await _move(session, ids, row["day"])
        async with self._postgres.transaction() as session:
            await session.execute(_SQL["lock_calendar"], org)
            # Before anybody has to wait: what others were answered is looked through as a whole.
            for name in ("inbox", "keys", "actors"):
                await session.execute(_SQL[name], *ids)
            await session.execute(_SQL["lock_sums"])
            for row in await session.fetch(_SQL["days"], org, user):
                await _move(session, ids, row["day"])  # was written meanwhile
            for name in ("move_days", "conversations"):
                await session.execute(_SQL[name], *ids)
            keys = await keys_of(session, org, erasure.erased_id)
            done = await session.fetch_one(_SQL["complete"], erasure.erasure_id, now)
        assert done is not None
        # What gateways share of revoked keys names their user, for a day: the random id from here on.
        await self._issuer.announce(keys)
        return _erasure(done)

    async def run(self, now: datetime, *, go_on: Callable[[], bool] = lambda: True) -> None:
        """Go on with all that are under way, and forget the ids of those that are long done. For a job."""
        for row in await self._postgres.fetch(_SQL["under_way"]):
            erasure = _erasure(row)
            if (erasure.org_id, erasure.user_id) in self._declarations.current.users:
                # The file names somebody so again: what is used from now on is theirs.
                if erasure.completed_at is not None:
                    await self._postgres.execute(_SQL["forget"], erasure.erasure_id, now)
                continue
            erasure = await self.proceed(erasure, now, go_on=go_on)
            if erasure.completed_at is not None and erasure.requested_at + FORGOTTEN_AFTER <= now:
                await self._postgres.execute(_SQL["forget"], erasure.erasure_id, now)

    async def find(self, org: str, user: str) -> Erasure:
        """The one under way. Raises `NotFound`."""
        row = await self._postgres.fetch_one(_SQL["find"], org, user)
        if row is None:
            raise NotFound(f"{user!r} is not being erased.", param="id")
        return _erasure(row)

    async def _drop_limits(self, org: str, user: str) -> None:
        """Of the person alone: their id is in them."""
        managed = (await self._managed.all()).get(org)
        limits: tuple[Limit, ...] = () if managed is None else managed.limits
        for limit in limits:
            if (limit.scope, limit.scope_id) == (Scope.USER, user):
                version = await self._published_version(org)
                await self._managed.remove(org, limit, newer_than=version, actor="erasure")


async def _move(session: Session, ids: tuple[str, str, str], day: datetime) -> None:
    await session.execute(_SQL["move_events"], *ids, day)
    await session.execute(_SQL["move_rollups"], *ids, day)


def _erasure(row: Row) -> Erasure:
    return Erasure(
        erasure_id=row["erasure_id"],
        org_id=row["org_id"],
        user_id=row["user_id"],
        erased_id=row["erased_id"],
        requested_at=row["requested_at"],
        completed_at=row["completed_at"],
    )
