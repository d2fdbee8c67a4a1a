"""Calls whose client went away, or whose settlement could not be written yet.

They are finished here: drained for their usage where stopping the provider would lose it, settled, and retried
while the store is down. Every one of them still has its hold, renewed as long as this gateway lives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

from gateway.errors import StoreUnavailable
from gateway.metering.conclusion import Ending
from gateway.proxy.exchange import End
from gateway.proxy.flight import ENDINGS, Charge, Flight

log = logging.getLogger("tollgate.proxy")

DRAIN_S_MAX = 600.0
"""A reply that nobody waits for is read for its usage this long: as long as SDKs wait for one."""

RETRY_S_FIRST = 0.1
RETRY_S_MAX = 5.0


class Afterlife:
    """Finishes what clients left. ``settled`` hears of every charge that is made here."""

    def __init__(self, settled: Callable[[Flight, Charge], None]) -> None:
        self._settled = settled
        self._tasks: dict[asyncio.Task[None], Flight] = {}
        self._stopping = asyncio.Event()

    def __len__(self) -> int:
        return len(self._tasks)

    def client_left(self, flight: Flight) -> None:
        """Take over a call whose client is gone."""
        exchange = flight.exchange
        relayed = exchange.relayed
        if flight.worth_draining and exchange.sent and exchange.end is None:
            exchange.unlisten()
        else:
            exchange.stop()
        self._adopt(flight, self._see_out(flight, relayed=relayed))

    def settle_later(self, flight: Flight, ending: Ending) -> None:
        """Take over a call that is over, and whose settlement failed because the store was down."""
        self._adopt(flight, self._settle(flight, ending))

    async def close(self, timeout_s: float) -> None:
        """Let everything end within ``timeout_s``, then stop the providers and settle what there is."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        self._stopping.set()
        for flight in self._tasks.values():
            flight.exchange.stop()
        if self._tasks:
            _, unsettled = await asyncio.wait(self._tasks, timeout=RETRY_S_MAX)
            for task in unsettled:
                task.cancel()  # the reaper settles these at the held amount
            await asyncio.gather(*unsettled, return_exceptions=True)

    def _adopt(self, flight: Flight, work: Coroutine[None, None, None]) -> None:
        if flight.body_share is not None:
            flight.body_share.hand_over()
        task = asyncio.create_task(work)
        self._tasks[task] = flight
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        flight = self._tasks.pop(task)
        if flight.body_share is not None:
            flight.body_share.give_back()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a call could not be finished", exc_info=error, extra={"request_id": flight.request_id})
            flight.hold.give_up()

    async def _see_out(self, flight: Flight, *, relayed: bool) -> None:
        exchange = flight.exchange
        # Many leave once they were told so, before the provider's side has ended: they got all of it.
        answered = relayed and exchange.says_its_end()
        drained = exchange.end is None
        if drained:
            try:
                async with asyncio.timeout(DRAIN_S_MAX):
                    await exchange.finished
            except TimeoutError:
                exchange.stop()
                await self._settle(flight, Ending.TIMEOUT)
                return
        ending = ENDINGS[exchange.end or End.STOPPED]
        if answered:
            ending = Ending.COMPLETE
        elif ending is Ending.COMPLETE:
            ending = Ending.CLIENT_GONE
        await self._settle(flight, ending)

    async def _settle(self, flight: Flight, ending: Ending) -> None:
        delay_s = RETRY_S_FIRST
        while True:
            try:
                charge = await flight.settle(ending)
            except StoreUnavailable:
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_S_MAX)
            else:
                self._settled(flight, charge)
                return
