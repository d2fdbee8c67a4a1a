"""Seeing and changing limits on behalf of a caller: reach, rights, the file's precedence, and at once everywhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from gateway.api.operation import Call
from gateway.budgets.directory import OrgRules
from gateway.budgets.model import Limit
from gateway.budgets.postgres_managed import ManagedLimits
from gateway.budgets.redis_standings import LimitStandings
from gateway.budgets.standings import LimitStanding
from gateway.errors import Conflict, NotFound, StoreUnavailable
from gateway.identity.limit_rights import check_change
from gateway.identity.postgres_places import Place, Places
from gateway.identity.roles import Reach
from gateway.ledger.row import microseconds

LIMITS_MAX = 10_000
"""Of one organisation. All of them are published as one document, which every gateway reads when it changes."""


class Rules(Protocol):
    """See `gateway.reload.LiveConfig`."""

    def rules(self, org: str) -> OrgRules: ...
    def declared(self, org: str) -> OrgRules: ...
    async def look(self) -> None: ...


class Published(Protocol):
    """See `gateway.budgets.redis_holds.RedisHolds`."""

    async def published_version(self, org: str) -> int: ...


class LimitBook:
    """Raises `StoreUnavailable` when a store does not answer."""

    def __init__(
        self,
        config: Rules,
        published: Published,
        managed: ManagedLimits,
        standings: LimitStandings,
        places: Places,
        *,
        file_name: str,
        check_org: Callable[[str], Awaitable[None]],
    ) -> None:
        """``file_name``: of limits.yaml, for who has to change it there. ``check_org`` raises `NotFound` for an
        organisation that is not there."""
        self._config = config
        self._published = published
        self._managed = managed
        self._standings = standings
        self._places = places
        self._file_name = file_name
        self._check_org = check_org

    async def within(self, org: str, reach: Reach) -> list[Limit]:
        """The limits within ``reach``, in the order of their identities."""
        await self._config.look()  # what was changed at another gateway a moment ago shows here
        limits = sorted(self._config.rules(org).limits, key=_order)
        if reach.whole:
            return limits
        places = await self._places.find(org, {(limit.scope, limit.scope_id) for limit in limits})
        return [
            limit
            for limit in limits
            if (place := places.get((limit.scope, limit.scope_id))) is not None and place.within(reach)
        ]

    async def standings(self, org: str, limits: Sequence[Limit], now: datetime) -> list[LimitStanding]:
        rules, declared = self._config.rules(org), self._config.declared(org)
        return await self._standings.of(rules, declared, microseconds(now), among=limits)

    async def set(self, org: str, limit: Limit, call: Call[Any, Any]) -> LimitStanding:
        """Add ``limit`` or change it. Raises `NotFound`, `NotAllowed`, `Conflict`."""
        await self._check_org(org)
        before = await self._changeable(org, limit, limit, call)
        if before is None and len(self._config.rules(org).limits) >= LIMITS_MAX:
            raise Conflict(f"An organisation has at most {LIMITS_MAX:,} limits; take some away first.")
        if before != limit:
            version = await self._version(org)
            await self._managed.set(org, limit, newer_than=version, actor=call.principal.actor)
            await self._in_force(org, version)
        (standing,) = await self.standings(org, [limit], call.now)
        return standing

    async def remove(self, org: str, limit: Limit, call: Call[Any, Any]) -> None:
        """Take the limit of this identity away. Raises `NotFound`, `NotAllowed`, `Conflict`."""
        if await self._changeable(org, limit, None, call) is None:
            raise NotFound("There is no such limit.")
        version = await self._version(org)
        await self._managed.remove(org, limit, newer_than=version, actor=call.principal.actor)
        await self._in_force(org, version)

    async def _changeable(
        self, org: str, limit: Limit, after: Limit | None, call: Call[Any, Any]
    ) -> Limit | None:
        """What the limit is now. Raises what stands against changing it to ``after``."""
        await self._config.look()
        place = await self._place(org, limit, call.reach)
        if _same(self._config.declared(org), limit) is not None:
            raise Conflict(f"This limit is declared in {self._file_name}: change it there.")
        before = _same(self._config.rules(org), limit)
        check_change(call.principal, call.reach, place, before, after)
        return before

    async def _place(self, org: str, limit: Limit, reach: Reach) -> Place:
        named = (limit.scope, limit.scope_id)
        place = (await self._places.find(org, {named})).get(named)
        if place is None or not place.within(reach):
            raise NotFound(f"There is no such {limit.scope.value} within your reach.", param="scope_id")
        return place

    async def _version(self, org: str) -> int:
        return max(self._config.rules(org).version, await self._published.published_version(org))

    async def _in_force(self, org: str, older: int) -> None:
        """Have Redis go by the change before anybody is told that it was made: every gateway decides by that."""
        await self._config.look()
        if self._config.rules(org).version <= older:
            raise StoreUnavailable(
                "The change is recorded; it counts within a second of the stores answering again."
            )


def _same(rules: OrgRules, limit: Limit) -> Limit | None:
    return next((other for other in rules.limits if other.identity == limit.identity), None)


def _order(limit: Limit) -> tuple[str, ...]:
    return tuple(part or "" for part in limit.identity)
