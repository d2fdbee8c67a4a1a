"""From the stream to the table: every gateway runs one writer, which takes its share of each partition's
entries.

An entry is acknowledged only when its row is committed, and a row is written only if it is not there, so a
crash between any two steps leaves an entry that is written again to no effect. While Postgres or Redis is
down the entries stay where they are and the writer tries again; only what Postgres refuses because of its
content is put aside, so that it does not block what stands behind it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from gateway.errors import TollgateError
from gateway.ledger.backoff import Backoff
from gateway.ledger.postgres_usage import DeadLetter
from gateway.ledger.row import Entry, Unreadable, UsageRow, merge
from gateway.stores.postgres import DataRefused

log = logging.getLogger(__name__)


class Stream(Protocol):
    """See `gateway.ledger.redis_stream.UsageStream`."""

    @property
    def partition(self) -> int: ...
    @property
    def name(self) -> str: ...
    async def own(self, count: int) -> list[Entry]: ...
    async def read(self, count: int, block_ms: int | None) -> list[Entry]: ...
    async def take_over(self, idle_ms_min: int, count: int) -> list[Entry]: ...
    async def acknowledge(self, entries: Sequence[Entry]) -> None: ...
    async def length(self) -> int: ...
    async def leave(self) -> None: ...


class Table(Protocol):
    """See `gateway.ledger.postgres_usage.UsageTable`."""

    async def ensure_partitions(self, now: datetime, months_ahead: int) -> int: ...
    async def write(self, rows: Sequence[UsageRow]) -> int: ...
    async def bury(self, letters: Sequence[DeadLetter]) -> None: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How the writer batches. A row is at most about ``linger_ms`` behind its call while all is well."""

    batch_max: int = 1000
    """Bounds memory and the length of a transaction (some 50 ms on a small machine)."""
    linger_ms: int = 200
    """How long a batch waits to fill, from its first entry on."""
    block_ms: int = 1000
    """How long one read waits for a first entry; also how often a quiet partition is looked after."""
    take_over_idle_ms: int = 15_000
    """An entry held unacknowledged for so long is taken over: twice what a slow commit takes. One that is taken from a
    gateway that lives is written by both, and counts once."""
    take_over_every_s: float = 5
    partitions_ahead_months: int = 3
    partitions_every_s: float = 3600
    flush_deadline_s: float = 10
    """On stop: how long to go on writing what is in the stream."""


def _ignore(*_: object) -> None:
    return None


@dataclass(frozen=True, slots=True)
class WriterHooks:
    """Called as things happen, for metrics; must not block or raise."""

    batch: Callable[[int, int, int], None] = _ignore
    """(partition, entries in the batch, rows that were new)"""
    lag: Callable[[int, int], None] = _ignore
    """(partition, entries in the stream whose rows are not committed)"""
    dead_letters: Callable[[int, int], None] = _ignore
    """(partition, how many were put aside)"""
    failure: Callable[[int, Exception], None] = _ignore
    """(partition, what Redis or Postgres failed with; it is tried again)"""


@dataclass(slots=True)
class UsageWriter:
    """``start`` and ``stop`` are idempotent and may alternate; ``stop`` flushes and waits."""

    streams: Sequence[Stream]
    table: Table
    pace: Pace = field(default_factory=Pace)
    hooks: WriterHooks = field(default_factory=WriterHooks)
    backoff: Callable[[], Backoff] = Backoff
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list, init=False)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _turning: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def start(self) -> None:
        """Begin to write. Needs neither Redis nor Postgres to be up."""
        async with self._turning:
            if self._tasks:
                return
            self._stopping = asyncio.Event()
            runs = [self._partitions_ahead(self._stopping)]
            runs += [PartitionWriter(self, stream, self._stopping).run() for stream in self.streams]
            self._tasks = [asyncio.ensure_future(run) for run in runs]

    async def stop(self) -> None:
        """Write what is in the streams, for at most ``flush_deadline_s``; leave the rest to others."""
        async with self._turning:
            if not self._tasks:
                return
            self._stopping.set()
            _done, late = await asyncio.wait(self._tasks, timeout=self.pace.flush_deadline_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._tasks = []

    async def _partitions_ahead(self, stopping: asyncio.Event) -> None:
        """Tables for the months to come exist before the first row of a month needs one."""
        backoff = self.backoff()
        while not stopping.is_set():
            try:
                await self.table.ensure_partitions(self.clock(), self.pace.partitions_ahead_months)
                backoff.reset()
                delay_s = self.pace.partitions_every_s
            except TollgateError as error:
                log.warning("cannot make usage partitions ahead of time: %s", error)
                delay_s = backoff.next_s()
            await wait_for(stopping, delay_s)


class PartitionWriter:
    """The loop over one partition's stream."""

    def __init__(self, writer: UsageWriter, stream: Stream, stopping: asyncio.Event) -> None:
        self._stream = stream
        self._table = writer.table
        self._pace = writer.pace
        self._hooks = writer.hooks
        self._stopping = stopping
        self._backoff = writer.backoff()
        self._take_over_at_s = 0.0
        self._resuming = True

    async def run(self) -> None:
        """Until told to stop, and then until the stream is empty. Cancelled, it leaves the rest in the
        stream.
        """
        while not self._stopping.is_set():
            await self._tried(self._turn)
        try:
            await self._flush()
            await self._stream.leave()
        # The edge again: whatever it is, the entries are still in the stream, and stopping has to go on.
        except Exception as error:
            self._report("usage of %s is left to other gateways", error)

    async def _turn(self) -> None:
        entries = await self._gather()
        if entries:
            await self._record(entries)
        self._hooks.lag(self._stream.partition, await self._stream.length())

    async def _gather(self) -> list[Entry]:
        """The next batch: what is left from before, what others left behind, else what is new."""
        pace = self._pace
        if self._resuming:
            entries = await self._stream.own(pace.batch_max)
            self._resuming = bool(entries)
            if entries:
                return entries
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._take_over_at_s:
            entries = await self._stream.take_over(pace.take_over_idle_ms, pace.batch_max)
            if entries:
                return entries
            self._take_over_at_s = now_s + pace.take_over_every_s
        entries = await self._stream.read(pace.batch_max, pace.block_ms)
        if entries and len(entries) < pace.batch_max:
            await wait_for(self._stopping, pace.linger_ms / 1000)
            # If this read fails, the entries in hand are this consumer's own and come again with `own`.
            entries += await self._stream.read(pace.batch_max - len(entries), None)
        return entries

    async def _flush(self) -> None:
        while entries := await self._stream.own(self._pace.batch_max) or await self._stream.read(
            self._pace.batch_max, None
        ):
            await self._record(entries)

    async def _record(self, entries: Sequence[Entry]) -> None:
        """Write the rows of the entries or put them aside, then acknowledge them."""
        rows: list[tuple[Entry, UsageRow]] = []
        dead: list[DeadLetter] = []
        for entry in entries:
            try:
                rows.append((entry, merge(entry)))
            except Unreadable as error:
                dead.append(DeadLetter(entry, str(error)))
        new = await self._write(rows, dead)
        if dead:
            await self._table.bury(dead)
            ids = [letter.entry.entry_id for letter in dead[:10]]
            log.error("%d entries of %s are dead letters, e.g. %s", len(dead), self._stream.name, ids)
        await self._stream.acknowledge(entries)
        if dead:
            self._hooks.dead_letters(self._stream.partition, len(dead))
        self._hooks.batch(self._stream.partition, len(entries), new)

    async def _write(self, rows: Sequence[tuple[Entry, UsageRow]], dead: list[DeadLetter]) -> int:
        """Write all rows; where Postgres refuses a batch, halve it until the refused ones stand alone."""
        if not rows:
            return 0
        try:
            return await self._table.write([row for _entry, row in rows])
        except DataRefused as error:
            if len(rows) == 1:
                dead.append(DeadLetter(rows[0][0], str(error)))
                return 0
        middle = len(rows) // 2
        return await self._write(rows[:middle], dead) + await self._write(rows[middle:], dead)

    async def _tried(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
            self._backoff.reset()
        # The edge of a loop that has to outlive everything: without it this partition's usage would pile up
        # in Redis, be the reason Redis, Postgres, missing tables or a fault of ours.
        except Exception as error:
            # What was read is still this consumer's: begin with it.
            self._resuming = True
            self._report("usage of %s waits", error)
            await wait_for(self._stopping, self._backoff.next_s())

    def _report(self, what: str, error: Exception) -> None:
        self._hooks.failure(self._stream.partition, error)
        expected = isinstance(error, TollgateError)
        log.warning(f"{what}: %s", self._stream.name, error, exc_info=not expected)


async def wait_for(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether ``event`` was set within ``timeout_s``."""
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return False
    return True
