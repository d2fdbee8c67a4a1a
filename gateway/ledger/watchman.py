"""Reconciles every few minutes while the gateway runs, on one gateway at a time, and reports the drift.

When a store is down the round is left out; the next one is due at the usual time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from gateway.errors import StoreUnavailable
from gateway.ledger.reconcile import Report
from gateway.stores.redis import RedisCalls

log = logging.getLogger("tollgate.ledger")

EVERY_S = 300.0
RECENT = timedelta(days=3)
"""How far back a round compares sums of usage; `tollgate reconcile` compares all, which takes minutes for a year."""
_TURN = "tg:reconcile:turn"


class Watchman:
    """``drift`` hears the microcredits that differ, after each round of this gateway. Start and stop are idempotent."""

    def __init__(
        self,
        redis: RedisCalls,
        reconcile: Callable[[], Awaitable[Report]],
        drift: Callable[[int], None],
        *,
        every_s: float = EVERY_S,
    ) -> None:
        self._redis = redis
        self._reconcile = reconcile
        self._drift = drift
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def round(self) -> Report | None:
        """Reconcile now, unless another gateway has done so within the interval."""
        taken = await self._redis.command("SET", _TURN, "1", "NX", "PX", int(self._every_s * 900))
        if taken is None:
            return None
        report = await self._reconcile()
        self._drift(report.drift_microcredits)
        if report.exit_code:
            log.error("counters and rows differ", extra={"drift_microcredits": report.drift_microcredits})
        return report

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.round()
            except StoreUnavailable as error:
                log.warning("could not reconcile", extra={"reason": str(error)})
            except Exception:
                # The edge of a loop that has to outlive everything: a table that is dropped just now, or rules of
                # another version, must not end it for good and without a word.
                log.exception("could not reconcile; the next round tries again")
