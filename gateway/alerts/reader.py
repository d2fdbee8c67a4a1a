"""From the alert streams in Redis to the book in Postgres. Every gateway runs one.

A stream is read by one gateway at a time, from its beginning, under a lock of the transaction that records: so
crossings are recorded in their order, whichever gateway dies when. What is recorded is then deleted from the stream;
if that does not happen it is read again, and recorded once all the same. While Redis or Postgres is down, crossings
stay where they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.alerts.notice import Notice, of_crossing
from gateway.alerts.postgres_book import AlertBook
from gateway.budgets.crossing import Crossing
from gateway.budgets.keyspace import PartitionKeys, partition_keys
from gateway.budgets.windows import Calendar
from gateway.errors import TollgateError
from gateway.stores.postgres import DataRefused, Postgres
from gateway.stores.redis import RedisCalls

log = logging.getLogger("tollgate.alerts")

BATCH = 100
"""Crossings recorded in one transaction. There are a handful for each limit and window."""
POLL_S = 1.0
"""How soon a crossing is recorded at the latest, while all is well."""
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('tollgate.alerts'), $1)"


class AlertReader:
    """``calendar``: of an org, for the ends of its windows. ``start`` and ``stop`` are idempotent."""

    def __init__(
        self,
        redis: RedisCalls,
        postgres: Postgres,
        book: AlertBook,
        calendar: Callable[[str], Calendar],
        *,
        partitions: int = 1,
        poll_s: float = POLL_S,
    ) -> None:
        self._redis = redis
        self._postgres = postgres
        self._book = book
        self._calendar = calendar
        self._partitions = partitions
        self._poll_s = poll_s
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; neither store has to be up."""
        if self._task is None:
            self._stopping = asyncio.Event()
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Waits until what is being recorded is recorded."""
        task, self._task = self._task, None
        if task is not None:
            self._stopping.set()
            await asyncio.wait([task])

    async def turn(self) -> int:
        """Record what there is, of partitions that no other gateway is at; how many entries were read.

        Raises `StoreUnavailable`.
        """
        every = [partition_keys(number) for number in range(self._partitions)]
        lengths = await asyncio.gather(*(self._redis.command("XLEN", keys.alerts) for keys in every))
        read = 0
        for keys, length in zip(every, lengths, strict=True):
            if length:
                read += await self._partition(keys)
        return read

    async def _partition(self, keys: PartitionKeys) -> int:
        try:
            return await self._recorded(keys, BATCH, [])
        except DataRefused:
            # One of them is refused, and the others must not wait behind it: they go one by one from here.
            return await self._first_alone(keys)

    async def _first_alone(self, keys: PartitionKeys) -> int:
        tried: list[bytes] = []
        try:
            return await self._recorded(keys, 1, tried)
        except DataRefused as error:
            log.error("an announcement cannot be recorded", extra={"reason": error.code})
            await self._redis.command("XDEL", keys.alerts, *tried)
            return len(tried)

    async def _recorded(self, keys: PartitionKeys, at_most: int, tried: list[bytes]) -> int:
        """Adds the ids of what it tries to record to ``tried``. Raises `DataRefused`: then nothing was recorded."""
        async with self._postgres.transaction() as session:
            if not await session.fetch_value(_LOCK, keys.number):
                return 0
            entries = await self._redis.command("XRANGE", keys.alerts, "-", "+", "COUNT", at_most)
            tried += [entry_id for entry_id, _ in entries]
            notices = [notice for _, flat in entries for notice in self._notices(keys, flat)]
            recorded = await self._book.record(session, notices)
        if entries:
            await self._redis.command("XDEL", keys.alerts, *(entry_id for entry_id, _ in entries))
        await self._book.announce(recorded)
        return len(entries)

    def _notices(self, keys: PartitionKeys, flat: list[bytes]) -> list[Notice]:
        try:
            crossing = Crossing.parse(keys, dict(zip(flat[::2], flat[1::2], strict=True)))
            return of_crossing(crossing, self._calendar(crossing.org))
        except (ValueError, KeyError) as error:
            # Written by a gateway of another version; one that cannot be read must not hold up the others.
            log.error("an announcement cannot be read", extra={"reason": type(error).__name__})
            return []

    async def _run(self) -> None:
        while not self._stopping.is_set():
            read = 0
            try:
                read = await self.turn()
            except TollgateError as error:
                log.warning("alerts wait", extra={"reason": error.code})
            except Exception:
                # The edge of a loop that people's alerts depend on: it goes on whatever happens.
                log.exception("reading alerts failed; trying again")
            if read == 0:
                try:
                    await asyncio.wait_for(self._stopping.wait(), self._poll_s)
                except TimeoutError:
                    pass
