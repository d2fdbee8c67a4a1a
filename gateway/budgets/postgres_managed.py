"""Limits set by command: rows in Postgres, audited, taken over by every gateway within a second.

When Postgres is down at a gateway's start it goes by what Redis has published, which is newer than the file.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from gateway.budgets.model import Grace, Limit, Scope, Window
from gateway.stores import postgres_audit
from gateway.stores.postgres import Postgres, Row
from gateway.stores.redis import RedisCalls
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.budgets", "managed.sql")
_GENERATION = "tg:limits:generation"


@dataclass(frozen=True, slots=True)
class ManagedOrg:
    """What was set for one org. ``version`` is comparable with that of limits.yaml: the higher one is newer."""

    limits: tuple[Limit, ...]
    version: int


class ManagedLimits:
    """Raises `PostgresUnavailable` or `StoreUnavailable` when a store does not answer."""

    def __init__(self, postgres: Postgres, redis: RedisCalls) -> None:
        self._postgres = postgres
        self._redis = redis

    async def generation(self) -> bytes | None:
        """Changes whenever `all` would answer differently."""
        found: bytes | None = await self._redis.command("GET", _GENERATION)
        return found

    async def all(self) -> Mapping[str, ManagedOrg]:
        """By org; also those whose last limit was removed, for their version."""
        limits: dict[str, list[Limit]] = {}
        versions: dict[str, int] = {}
        for row in await self._postgres.fetch(_SQL["all"]):
            versions[row["org_id"]] = row["version"]
            found = limits.setdefault(row["org_id"], [])
            if row["scope"] is not None:
                found.append(_limit(row))
        return {org: ManagedOrg(tuple(limits[org]), version) for org, version in versions.items()}

    async def set(self, org: str, limit: Limit, *, newer_than: int, actor: str) -> Limit | None:
        """Add ``limit`` or change its amount. Returns what it was before. ``newer_than``: the published version."""
        grace = limit.grace
        values = (limit.amount, grace and grace.percent, grace and grace.minutes, limit.enforce, actor)
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
            limit.scope.value,
            limit.scope_id,
            limit.window.value,
            limit.operation or "",
            limit.model or "",
        )
        async with self._postgres.transaction() as session:
            row = await session.fetch_one(_SQL["find"], *identity)
            before = None if row is None else _limit(row)
            if before == after:
                return before
            await session.execute(_SQL[query], *identity, *values)
            await session.execute(_SQL["bump"], org, newer_than + 1)
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
        await self._redis.command("SET", _GENERATION, secrets.token_hex(8))
        return before


def _limit(row: Row) -> Limit:
    percent = row["grace_percent"]
    return Limit(
        scope=Scope(row["scope"]),
        scope_id=row["scope_id"],
        window=Window(row["limit_window"]),
        amount=row["amount_microcredits"],
        operation=row["operation"] or None,
        model=row["model"] or None,
        grace=None if percent is None else Grace(percent, row["grace_minutes"]),
        enforce=row["enforce"],
    )


def _said(limit: Limit | None) -> dict[str, object] | None:
    return None if limit is None else asdict(limit)
