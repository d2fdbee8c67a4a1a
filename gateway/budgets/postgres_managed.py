"""Orgs, teams and limits made by command: rows in Postgres, audited, taken over by every gateway within a second.

When Postgres is down at a gateway's start it goes by what Redis has published, which is newer than the file.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from gateway.budgets.directory import MadeOrg, MadeTeam
from gateway.budgets.levels import UNSAID, OrgAlerts
from gateway.budgets.model import Grace, Limit, Scope, Window
from gateway.budgets.windows import Weekday
from gateway.stores import postgres_audit
from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.redis import RedisCalls
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.budgets", "managed.sql")
_GENERATION = "tg:limits:generation"
_END_USERS = " end users"
"""Follows the scope of a limit of each end user within it."""


@dataclass(frozen=True, slots=True)
class ManagedOrg:
    """What was set for one org. ``version`` is comparable with that of limits.yaml: the higher one is newer."""

    limits: tuple[Limit, ...]
    version: int
    made: MadeOrg | None = None
    teams: tuple[MadeTeam, ...] = ()
    alerts: OrgAlerts = UNSAID


class ManagedLimits:
    """Raises `PostgresUnavailable` or `StoreUnavailable` when a store does not answer."""

    def __init__(self, postgres: Postgres, redis: RedisCalls) -> None:
        self._postgres = postgres
        self._redis = redis

    async def generation(self) -> bytes | None:
        """Changes whenever `changed` would find something."""
        found: bytes | None = await self._redis.command("GET", _GENERATION)
        return found

    async def all(self) -> Mapping[str, ManagedOrg]:
        """By org; also those whose last limit was removed, for their version."""
        return await self.changed({})

    async def changed(self, known: Mapping[str, int]) -> Mapping[str, ManagedOrg]:
        """As `all`, of those orgs whose version is not the one in ``known``."""
        # One snapshot: what is published under a version must be what belongs to it.
        async with self._postgres.transaction("repeatable_read", readonly=True) as session:
            found = {row["org_id"]: row["version"] for row in await session.fetch(_SQL["versions"])}
            versions = {org: version for org, version in found.items() if known.get(org) != version}
            made, grouped, rows, told = [
                await session.fetch(_SQL[name], list(versions))
                for name in ("orgs", "teams", "limits", "alerts")
            ]
        alerts = {row["org_id"]: _alerts(row) for row in told}
        orgs = {row["org_id"]: _made(row) for row in made}
        teams: dict[str, list[MadeTeam]] = {}
        for row in grouped:
            team = MadeTeam(row["team_id"], _names(row["allowed_models"]), _names(row["allowed_operations"]))
            teams.setdefault(row["org_id"], []).append(team)
        limits: dict[str, list[Limit]] = {}
        for row in rows:
            limits.setdefault(row["org_id"], []).append(_limit(row))
        return {
            org: ManagedOrg(
                tuple(limits.get(org, ())),
                version,
                orgs.get(org),
                tuple(teams.get(org, ())),
                alerts.get(org, UNSAID),
            )
            for org, version in versions.items()
        }

    async def set(self, org: str, limit: Limit, *, newer_than: int, actor: str) -> Limit | None:
        """Add ``limit`` or change its amount. Returns what it was before. ``newer_than``: the published version."""
        grace = limit.grace
        levels = None if limit.alerts is None else list(limit.alerts)
        terms = (grace and grace.percent, grace and grace.minutes, limit.enforce, levels)
        values = (limit.amount, *terms, actor)
        return await self._change(org, limit, "set", values, limit, newer_than, actor)

    async def remove(self, org: str, limit: Limit, *, newer_than: int, actor: str) -> Limit | None:
        """Take a limit away, by its identity. Returns what it was, None if there was none."""
        return await self._change(org, limit, "remove", (), None, newer_than, actor)

    async def _change(
        self,
        org: str,
        limit: Limit,
        query: str,
        values: tuple[object, ...],
        after: Limit | None,
        newer_than: int,
        actor: str,
    ) -> Limit | None:
        identity = (
            org,
            limit.scope.value + (_END_USERS if limit.each_end_user else ""),
            limit.scope_id,
            limit.window.value,
            limit.operation or "",
            limit.model or "",
        )
        async with self._postgres.transaction() as session:
            row = await session.fetch_one(_SQL["find"], *identity)
            before = None if row is None else _limit(row)
            if before != after:
                await session.execute(_SQL[query], *identity, *values)
                await bump(session, org, newer_than)
                what = "limit:" + "/".join(part or "*" for part in identity)
                await postgres_audit.record(
                    session,
                    actor=actor,
                    action=f"limit.{query}",
                    object=what,
                    org=org,
                    before=_said(before),
                    after=_said(after),
                )
        # Also of what is so already: whoever set it may have been kept from saying so.
        await self.announce()
        return before

    async def announce(self) -> None:
        """Have every gateway read again what was set. Needed after every `bump`, once it is committed."""
        await self._redis.command("SET", _GENERATION, secrets.token_hex(8))


async def bump(session: Session, org: str, newer_than: int) -> None:
    """What is set of ``org`` changes in this transaction. ``newer_than``: the published version."""
    await session.execute(_SQL["bump"], org, newer_than + 1)


def _made(row: Row) -> MadeOrg:
    return MadeOrg(
        time_zone=row["time_zone"],
        week_start=Weekday(row["week_start"]),
        balance_required=row["balance_required"],
        allowed_models=_names(row["allowed_models"]),
        allowed_operations=_names(row["allowed_operations"]),
    )


def _alerts(row: Row) -> OrgAlerts:
    levels = row["levels"]
    return OrgAlerts(None if levels is None else tuple(levels), row["low_balance_microcredits"])


def _names(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _limit(row: Row) -> Limit:
    percent = row["grace_percent"]
    scope: str = row["scope"]
    return Limit(
        scope=Scope(scope.removesuffix(_END_USERS)),
        scope_id=row["scope_id"],
        window=Window(row["limit_window"]),
        amount=row["amount_microcredits"],
        operation=row["operation"] or None,
        model=row["model"] or None,
        grace=None if percent is None else Grace(percent, row["grace_minutes"]),
        enforce=row["enforce"],
        alerts=None if row["alerts"] is None else tuple(row["alerts"]),
        each_end_user=scope.endswith(_END_USERS),
    )


def _said(limit: Limit | None) -> dict[str, object] | None:
    return None if limit is None else asdict(limit)
