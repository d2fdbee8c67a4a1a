"""What audiences had been charged before they came together, read from the books a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from gateway.budgets.windows import Calendar
from gateway.errors import StoreUnavailable
from gateway.ledger.row import microseconds
from gateway.live.audience import Audience
from gateway.live.backlog import Backlog
from gateway.live.spending import Stretch
from gateway.stores.postgres import PostgresError

WAIT_S = 3.0
"""How long totals wait for their sums; without them they say null."""
RETRY_S = 2.0
AT_ONCE = 2
"""Queries at once: the pool of connections is small, and the ledger's writer needs it more."""


class Bases:
    def __init__(
        self, backlog: Backlog, calendar: Callable[[str], Calendar], now: Callable[[], datetime]
    ) -> None:
        self._backlog = backlog
        self._calendar = calendar
        self._now = now
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def need(self, audience: Audience, partition: int, position: int) -> None:
        """Have the base of a new audience read; ``position``: what it is told begins after this settlement."""
        if audience.loading is None:
            self.read(audience, partition, position)

    def read(self, audience: Audience, partition: int, position: int) -> None:
        """Read it, anew if it was read or is being read."""
        self.drop(audience)
        audience.loading = task = asyncio.create_task(self._read(audience, partition, position))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def known(self, audience: Audience) -> None:
        """Wait until the base is known, or long enough."""
        if audience.loading is not None:
            await asyncio.wait([audience.loading], timeout=WAIT_S)

    def drop(self, audience: Audience) -> None:
        """Nobody needs it any more."""
        if audience.loading is not None:
            audience.loading.cancel()

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _read(self, audience: Audience, partition: int, position: int) -> None:
        assert audience.reach.org_id is not None
        calendar = self._calendar(audience.reach.org_id)
        while True:
            stretch = Stretch.of(calendar, microseconds(self._now()))
            try:
                async with self._turns:
                    cells = await self._backlog.cells(audience.reach, partition, position, stretch)
            except (StoreUnavailable, PostgresError):
                await asyncio.sleep(RETRY_S)
                continue
            audience.spending.set_base(cells)
            audience.changed = True
            return
