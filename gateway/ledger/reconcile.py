"""Proves that the counters in Redis, the rows in Postgres and the rollups agree, while traffic runs.

Settlements in a partition are numbered. A counter is read together with the number of the latest settlement
that it contains; then the stream is read, then Postgres in one snapshot. What the counter contains is either
still in the stream or committed by then, so up to that number both sides count the same settlements, and
whatever comes later is left out of both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from gateway.budgets.model import Scope
from gateway.budgets.ports import CounterReading, SpentQuery
from gateway.budgets.selection import selects
from gateway.ledger.held import OpenHold, held_by_nobody
from gateway.ledger.postgres_spent import Books
from gateway.ledger.row import Entry, Unreadable, UsageRow, merge, microseconds


class Stream(Protocol):
    """See `gateway.ledger.redis_stream.UsageStream`."""

    def everything(self) -> AsyncIterator[Entry]: ...


class Ledger(Protocol):
    """See `gateway.ledger.postgres_spent.PostgresLedger`."""

    async def books(
        self, queries: Sequence[SpentQuery], unread: Sequence[str], since: datetime | None = None
    ) -> Books: ...


@dataclass(frozen=True, slots=True)
class Difference:
    """Two numbers that should be equal and are not."""

    what: str
    expected_microcredits: int
    found_microcredits: int

    @property
    def drift_microcredits(self) -> int:
        return abs(self.found_microcredits - self.expected_microcredits)


@dataclass(frozen=True, slots=True)
class Report:
    differences: tuple[Difference, ...]
    counters: int
    """How many were compared."""
    unseeded: int
    """Counters whose base is still being read from the ledger; they are not compared."""
    unread: int
    """Settlements that were still in the stream."""
    unreadable: int
    """Entries in the stream that no row can be made of."""
    balances: int = 0
    """How many prepaid balances were compared, see `gateway.ledger.reconcile_balances`."""
    faults: tuple[str, ...] = ()
    """What is wrong without an amount to it, such as a rollup whose token counts are not those of its rows.
    """

    @property
    def drift_microcredits(self) -> int:
        return sum(difference.drift_microcredits for difference in self.differences)

    @property
    def exit_code(self) -> int:
        return 1 if self.differences or self.faults else 0

    def lines(self) -> Iterator[str]:
        """The table for people; its last line is ``drift 0`` if all agree."""
        yield (
            f"{self.counters} counters and {self.balances} balances compared, {self.unseeded} not seeded yet, "
            f"{self.unread} settlements still in the stream, {self.unreadable} of them unreadable"
        )
        if self.differences:
            width = max(len(difference.what) for difference in self.differences)
            yield f"{'':{width}}  {'expected':>20}  {'found':>20}  {'difference':>20}"
            for found in self.differences:
                expected, actual = found.expected_microcredits, found.found_microcredits
                yield f"{found.what:{width}}  {expected:>20,}  {actual:>20,}  {actual - expected:>+20,}"
        yield from self.faults
        if self.differences:
            yield f"drift {self.drift_microcredits} microcredits"
        else:
            yield f"drift of counts in {len(self.faults)} places" if self.faults else "drift 0"


async def reconcile(
    counters: Callable[[], AsyncIterator[CounterReading]],
    holds: Callable[[], AsyncIterator[OpenHold]],
    streams: Iterable[Stream],
    ledger: Ledger,
    since: datetime | None = None,
    *,
    open_calls_off: Callable[[], Awaitable[Sequence[tuple[str, int, int]]]],
) -> Report:
    """Compare everything; sums of usage only of ``since`` and later, if given.

    The order of the three reads is what makes the comparison exact.

    Raises `gateway.errors.StoreUnavailable` when Redis or Postgres does not answer.
    """
    readings = [reading async for reading in counters()]
    entries = [entry for stream in streams async for entry in stream.everything()]
    rows, unreadable = _rows(entries)
    books = await ledger.books(
        [_query(reading) for reading in readings], [row.request_id for row in rows], since
    )
    report = compare(readings, rows, books, unreadable)
    off = (await held_by_nobody(counters, holds)).values()
    held = [
        Difference(f"held in {_name(reading)}", expected.microcredits, reading.held)
        for reading, expected in off
        if reading.held != expected.microcredits
    ]
    counted = [
        f"open calls in {_name(reading)}: {expected.calls} hold something, {reading.open_holds} are counted"
        for reading, expected in off
        if expected.calls is not None and reading.open_holds != expected.calls
    ]
    counted += [
        f"open calls of key {reference}: {by_holds} hold something, {count} are counted"
        for reference, by_holds, count in await open_calls_off()
    ]
    return replace(report, differences=(*report.differences, *held), faults=(*report.faults, *counted))


def compare(
    readings: Sequence[CounterReading], stream: Sequence[UsageRow], books: Books, unreadable: int
) -> Report:
    """The comparison itself. ``stream``: rows of the entries that are in the stream, committed or not."""
    unread = _once([row for row in stream if row.request_id not in books.recorded])
    differences: list[Difference] = []
    unseeded = 0
    for reading, spent in zip(readings, books.spent_microcredits, strict=True):
        if reading.unseeded:
            unseeded += 1
            continue
        expected = spent + sum(row.credits_microcredits for row in unread if counts(reading, row))
        if expected != reading.settled:
            differences.append(Difference(f"settled in {_name(reading)}", expected, reading.settled))
    faults: list[str] = []
    for row in books.rollup_differences:
        where = f"rollup {row['org_id']} {row['key_id']} {row['model']} {row['quarter_start']:%Y-%m-%d %H:%M}"
        if row["of_rows"] != row["of_rollups"]:
            differences.append(Difference(where, row["of_rows"], row["of_rollups"]))
        else:
            faults.append(f"{where}: requests, tokens or cost are not those of its rows")
    for row in books.cut_differences:
        where = f"{row['org_id']} {row['cut']} {row['key_id']} {row['model']}"
        if row["of_rollups"] != row["of_cut"]:
            differences.append(Difference(where, row["of_rollups"], row["of_cut"]))
        else:
            faults.append(f"{where}: requests, tokens or cost are not those of its rollups")
    faults += [
        f"conversation {row['conversation_id']} of {row['org_id']} has requests and is not listed"
        for row in books.nameless_conversations
    ]
    return Report(
        differences=tuple(differences),
        counters=len(readings) - unseeded,
        unseeded=unseeded,
        unread=len(unread),
        unreadable=unreadable,
        faults=tuple(faults),
    )


def counts(reading: CounterReading, row: UsageRow) -> bool:
    """Whether the counter contains this settlement."""
    scope_id = {
        Scope.ORG: row.org_id,
        Scope.TEAM: row.team_id,
        Scope.USER: row.user_id,
        Scope.KEY: row.key_id,
    }[reading.scope]
    started_at_us = microseconds(row.started_at)
    return (
        row.partition == reading.partition
        and row.sequence <= reading.sequence
        and row.org_id == reading.org
        and scope_id == reading.scope_id
        and (reading.end_user is None or (row.end_user_trusted and row.end_user == reading.end_user))
        and reading.start_us <= started_at_us
        and (reading.end_us is None or started_at_us < reading.end_us)
        and selects(reading.operation, reading.model, row.operation, row.model)
    )


def _rows(entries: Iterable[Entry]) -> tuple[list[UsageRow], int]:
    rows: list[UsageRow] = []
    unreadable = 0
    for entry in entries:
        try:
            rows.append(merge(entry))
        except Unreadable:
            unreadable += 1
    return rows, unreadable


def _once(rows: Iterable[UsageRow]) -> list[UsageRow]:
    return list({(row.request_id, row.started_at): row for row in rows}.values())


def _query(reading: CounterReading) -> SpentQuery:
    return SpentQuery(
        org=reading.org,
        scope=reading.scope,
        scope_id=reading.scope_id,
        operation=reading.operation,
        model=reading.model,
        start_us=reading.start_us,
        end_us=reading.end_us,
        partition=reading.partition,
        upto_sequence=reading.sequence,
        end_user=reading.end_user,
    )


def _name(reading: CounterReading) -> str:
    selectors = [part for part in (reading.operation, reading.model) if part is not None]
    whose = f"{reading.org} {reading.scope} {reading.scope_id}"
    if reading.end_user is not None:
        whose = f"{whose} end user {reading.end_user}"
    return " ".join([whose, reading.window, f"from {reading.start_us // 1_000_000}", *selectors])
