"""Brings messages to their targets. Every gateway runs one courier for each channel.

A channel, or a target of it, that is slow or dead delays nothing else: channels have loops of their own, each delivery
is a task, no target and no organisation has more than a few under way, and whoever has fewest comes first. Whoever dies
with a message in its hands leaves a lease, which ends; the message is then sent again under the same id.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.alerts.delivery import Attempt, Channel, Delivery, Outcome
from gateway.alerts.postgres_deliveries import DeliveryTable
from gateway.alerts.postgres_webhooks import ENDPOINTS_MAX
from gateway.alerts.retrying import wait_after
from gateway.errors import StoreUnavailable, TollgateError

log = logging.getLogger("tollgate.alerts")


@dataclass(frozen=True, slots=True)
class Pace:
    poll_s: float = 1.0
    """How soon a message leaves at the latest, while all is well."""
    lease: timedelta = timedelta(minutes=2)
    """While it lasts nobody else sends the message."""
    attempt_s: float = 90.0
    """Less than the lease: a mail server may take its time for each of a dozen commands."""
    per_target: int = 4
    per_org: int = 2 * ENDPOINTS_MAX
    """So that each endpoint can have one under way, whatever the others have."""
    at_once: int = 64
    """Messages of one channel under way in this process: more than one organisation may have."""


async def _nothing(delivery: Delivery) -> None:
    return None


class Courier:
    """Of one channel. ``start`` and ``stop`` are idempotent; ``gone`` is told of targets that are no more."""

    def __init__(
        self,
        table: DeliveryTable,
        channel: Channel,
        now: Callable[[], datetime],
        *,
        pace: Pace | None = None,
        jitter: Callable[[], float] = random.random,
        gone: Callable[[Delivery], Awaitable[None]] = _nothing,
    ) -> None:
        self._table = table
        self._channel = channel
        self.channel = channel.name
        self._now = now
        self._pace = pace or Pace()
        self._jitter = jitter
        self._gone = gone
        self._under_way: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; Postgres does not have to be up."""
        if self._task is None:
            self._stopping = asyncio.Event()
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Begin nothing more, and wait for what is under way: as long as one attempt may take."""
        task, self._task = self._task, None
        if task is not None:
            self._stopping.set()
            await asyncio.wait([task])
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def turn(self) -> int:
        """Take what is due and wait until all of it was tried; how many. For those who have no loop running.

        Raises `StoreUnavailable`.
        """
        taken = await self._take()
        if taken:
            await asyncio.wait(taken)
        return len(taken)

    async def _take(self) -> list[asyncio.Task[None]]:
        room = self._pace.at_once - len(self._under_way)
        if room <= 0:
            return []
        pace = self._pace
        leased = await self._table.lease(
            self._channel.name,
            self._now(),
            pace.lease,
            per_target=pace.per_target,
            per_org=pace.per_org,
            limit=room,
        )
        tasks = [asyncio.create_task(self._attempt(delivery)) for delivery in leased]
        for task in tasks:
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return tasks

    async def _attempt(self, delivery: Delivery) -> None:
        started, clock = self._now(), time.perf_counter()
        try:
            async with asyncio.timeout(self._pace.attempt_s):
                attempt = await self._channel.send(delivery)
        except TimeoutError:
            attempt = Attempt(Outcome.FAILED, reason="it took too long")
        except Exception as error:  # a message that cannot even be tried must end like any other
            log.error("a delivery failed here", extra={"reason": type(error).__name__})
            attempt = Attempt(Outcome.FAILED, reason=f"not sent: {type(error).__name__}")
        duration_ms = int((time.perf_counter() - clock) * 1000)
        now = self._now()
        wait = wait_after(delivery.attempts, attempt.retry_after_s, self._jitter)
        try:
            await self._table.attempted(
                delivery, attempt, started=started, duration_ms=duration_ms, now=now,
                retry_at=None if wait is None else now + wait,
            )  # fmt: skip
            if attempt.outcome is Outcome.GONE:
                await self._gone(delivery)
        except StoreUnavailable as error:
            # The lease ends, and the message is sent again: twice is better than never.
            log.warning("a delivery was not written down", extra={"reason": error.code})

    async def _run(self) -> None:
        while not self._stopping.is_set():
            taken: list[asyncio.Task[None]] = []
            try:
                taken = await self._take()
            except TollgateError as error:
                log.warning("deliveries wait", extra={"channel": self._channel.name, "reason": error.code})
            except Exception:
                # The edge of a loop that a whole channel depends on: it goes on whatever happens.
                log.exception("taking deliveries failed; trying again")
            if taken:
                # What comes behind a message of the same subject may follow as soon as that one is through.
                await asyncio.wait(taken, timeout=self._pace.poll_s, return_when=asyncio.FIRST_COMPLETED)
                continue
            try:
                await asyncio.wait_for(self._stopping.wait(), self._pace.poll_s)
            except TimeoutError:
                pass
