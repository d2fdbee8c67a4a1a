"""Removing single requests that an organisation no longer keeps. Their sums (quarters of an hour, days) stay.

Whole UTC months go, once the asked number of whole months has passed since: of an organisation that keeps 3, on any
day in November the events from before August. A month that nobody keeps is dropped as a table; from one that others
keep, rows are deleted in batches. All of it may be repeated and interrupted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.stores.postgres import Postgres, PostgresUnavailable
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.identity", "retention.sql")
BATCH = 5_000


@dataclass(frozen=True, slots=True)
class Removed:
    tables: tuple[str, ...]
    """Months that were dropped whole."""
    rows: int
    """Deleted from months that others keep."""
    postponed: tuple[str, ...]
    """Months whose table was in use for too long; the next run tries again."""


class Retention:
    """``kept_months``: of every organisation that does not keep its events for ever."""

    def __init__(self, postgres: Postgres, kept_months: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        self._postgres = postgres
        self._kept_months = kept_months

    async def run(self, now: datetime) -> Removed:
        """Raises `PostgresUnavailable`."""
        kept_since = {org: since(now, months) for org, months in (await self._kept_months()).items()}
        tables, rows, postponed = [], 0, []
        for found in await self._postgres.fetch(_SQL["months"]):
            table, next_month = found["name"], since(found["month"], -1)
            if table != f"usage_events_{found['month'].astimezone(UTC):%Y_%m}":
                continue
            here = await self._postgres.fetch(_sql("orgs_of_month", table))
            over = [row["org_id"] for row in here if kept_since.get(row["org_id"], EVER) >= next_month]
            if not over:
                continue
            for org in over:
                await self._postgres.execute(_SQL["keep_since"], org, next_month)
            if len(over) < len(here):
                rows += sum([await self._delete(table, org) for org in over])
            elif await self._drop(table, over):
                tables.append(table)
            else:
                postponed.append(table)
        return Removed(tuple(tables), rows, tuple(postponed))

    async def _delete(self, table: str, org: str) -> int:
        deleted = 0
        while batch := await self._postgres.fetch(_sql("remove_batch", table), org, BATCH):
            deleted += len(batch)
        return deleted

    async def _drop(self, table: str, orgs: list[str]) -> bool:
        """False if the table could not be had, or somebody else's events came into it."""
        try:
            async with self._postgres.transaction() as session:
                await session.execute(_SQL["lock_timeout"])
                await session.execute(_sql("detach", table))
                if not await session.fetch_value(_sql("empty_for_others", table), orgs):
                    raise _InUse
                await session.execute(_sql("drop", table))
        except (_InUse, PostgresUnavailable):
            return False
        return True


class _InUse(Exception):
    """Undoes a detachment."""


EVER = datetime.min.replace(tzinfo=UTC)


def since(now: datetime, months: int) -> datetime:
    """The beginning of the UTC month that lies ``months`` before that of ``now``."""
    at = now.astimezone(UTC)
    year, month = divmod(at.year * 12 + at.month - 1 - months, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)


def _sql(name: str, table: str) -> str:
    """``table`` is from the catalogue and has the shape that `run` checked."""
    return _SQL[name].replace("{month}", f'"{table}"')
