"""Usage rows in Postgres. When Postgres is down everything here raises `PostgresUnavailable` and nothing was
done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from gateway.ledger.row import COLUMNS, Entry, UsageRow
from gateway.stores.postgres import DataRefused, Postgres
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.ledger", "usage.sql")
_CUTS = Queries.load("gateway.ledger", "cuts.sql")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry that no row could be made of, and why."""

    entry: Entry
    reason: str


class UsageTable:
    """Writes are idempotent: a row that is there already is left alone and counted in no sum."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._months: set[tuple[int, int]] = set()
        self._orgs: set[str] = set()

    async def ensure_partitions(self, now: datetime, months_ahead: int) -> int:
        """Make the partitions of this month and the next ones; returns how many were missing."""
        first = now.astimezone(UTC)
        months = [divmod(first.year * 12 + first.month - 1 + ahead, 12) for ahead in range(months_ahead + 1)]
        return await self._ensure({(year, month + 1) for year, month in months})

    async def _ensure(self, months: set[tuple[int, int]]) -> int:
        made = 0
        for year, month in sorted(months - self._months):
            # A transaction each, apart from the rows': schema locks must not be held while rows are written.
            made += bool(
                await self._postgres.fetch_value(
                    _SQL["ensure_partition"], datetime(year, month, 1, tzinfo=UTC)
                )
            )
            self._months.add((year, month))
        return made

    async def _ensure_calendars(self, orgs: set[str]) -> None:
        """Every org has a calendar before its usage is cut by one, so that a change of it has a row to lock."""
        new = sorted(orgs - self._orgs)
        if new:
            await self._postgres.execute(_CUTS["add_calendars"], new)
            self._orgs.update(new)

    async def write(self, rows: Sequence[UsageRow]) -> int:
        """Write the rows and their sums in one transaction; returns how many were new.

        Raises `DataRefused` if any of them is not acceptable; none was written then.
        """
        months = {(row.started_at.year, row.started_at.month) for row in rows}
        await self._ensure(months)
        await self._ensure_calendars({row.org_id for row in rows})
        try:
            return await self._write(rows)
        except DataRefused as error:
            if error.constraint is not None:
                raise
            # The table of a month that nobody keeps may have been dropped since it was made.
            self._months -= months
            await self._ensure(months)
        return await self._write(rows)

    async def _write(self, rows: Sequence[UsageRow]) -> int:
        async with self._postgres.session() as session:
            await session.execute(_SQL["create_stage"])
            async with session.transaction():
                # Plain tuples: a named one is indexed, for each column, through a method call.
                await session.copy_in("usage_stage", COLUMNS, map(tuple, rows))
                new: int = await session.fetch_value(_SQL["move_stage"])
        return new

    async def write_staged(self, stage: str, args: Sequence[object]) -> int:
        """Like `write`, of rows that the statement ``stage`` puts into usage_stage; their months must be there."""
        async with self._postgres.session() as session:
            await session.execute(_SQL["create_stage"])
            async with session.transaction():
                await session.execute(stage, *args)
                new: int = await session.fetch_value(_SQL["move_stage"])
        return new

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep what could not be written, for someone to mend. Idempotent."""
        async with self._postgres.transaction() as session:
            for letter in letters:
                fields = {
                    name.decode("latin-1"): value.decode("latin-1")
                    for name, value in letter.entry.fields.items()
                }
                request_id = (
                    letter.entry.fields.get(b"id", b"").decode("utf-8", "replace").replace("\0", "\ufffd")
                )
                await session.execute(
                    _SQL["bury"],
                    letter.entry.stream,
                    letter.entry.entry_id,
                    request_id,
                    letter.reason.replace("\0", "\ufffd"),
                    orjson.dumps(fields),
                )

    async def recorded(self, request_ids: Sequence[str]) -> frozenset[str]:
        """Which of these are committed."""
        rows = await self._postgres.fetch(_SQL["recorded"], list(request_ids))
        return frozenset(row["request_id"] for row in rows)
