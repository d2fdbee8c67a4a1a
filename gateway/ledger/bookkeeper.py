"""Keeps the credit ledger up while the gateway runs: posts usage, breaks off what expired, tells Redis.

Every gateway runs one; each step is taken once by whichever comes first, and taken again to no effect. While a store
is down nothing is lost: what could not be done is found again in the next round.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

from gateway.budgets.balances import BalanceChange, BalanceReading
from gateway.errors import StoreUnavailable, TollgateError
from gateway.ledger.backoff import Backoff
from gateway.ledger.postgres_outbox import BalanceOutbox
from gateway.ledger.postgres_poster import LedgerPoster
from gateway.stores.redis import CommandFailed

log = logging.getLogger("tollgate.ledger")

ROUND_S = 10.0
"""A busy organisation gets some 8,600 usage transactions a day. Balances in Redis do not wait for them."""
DELIVER_S = 1.0
"""Whoever grants delivers at once; this is for what was left by one who could not."""
TROUBLE_S = 30.0
"""How long it waits at most when a store is down."""
ASSURED_EVERY = timedelta(minutes=5)
"""How long a balance that went back in time may stay so."""
CHANGES_AT_ONCE = 500
KEPT = timedelta(days=1)
"""A busy organisation whose credits expire makes some 8,600 changes a day."""


class Balances(Protocol):
    """See `gateway.budgets.redis_balances.RedisBalances`."""

    async def change(self, org: str, change: BalanceChange) -> bool: ...
    async def read(self, org: str) -> BalanceReading: ...


class BalanceRelay:
    """From the outbox to Redis, in order. A change that Redis has already is not applied again."""

    def __init__(self, outbox: BalanceOutbox, balances: Balances, now: Callable[[], datetime]) -> None:
        self._outbox = outbox
        self._balances = balances
        self._now = now

    async def deliver(self, org_id: str | None = None) -> int:
        """Deliver what is due, of one organisation or of all; returns how many changes. Raises `StoreUnavailable`;
        what was not delivered is due again. A balance that Redis refuses to change holds up no other.
        """
        delivered, refused = 0, dict[str, CommandFailed]()
        while changes := await self._outbox.due(org_id, CHANGES_AT_ONCE, [*refused]):
            for org, change in changes:
                if org in refused:
                    continue
                try:
                    await self._balances.change(org, change)
                except CommandFailed as error:
                    refused[org] = error
                    continue
                await self._outbox.delivered(change.id, self._now())
                delivered += 1
        if refused:
            raise next(iter(refused.values()))
        return delivered

    async def assure(self) -> None:
        """Tell Redis the last change of every balance once more: one that went back in time, with a Redis that was
        restored from an older state, is built anew. Raises `StoreUnavailable`.
        """
        for org, change in await self._outbox.latest():
            try:
                await self._balances.change(org, change)
            except CommandFailed as error:
                log.warning("a balance cannot be looked at", extra={"org": org, "reason": str(error)})

    async def tell(self, org_id: str) -> None:
        """Deliver what was written for ``org_id`` just now; if a store is down, it is delivered later."""
        try:
            await self.deliver(org_id)
        except StoreUnavailable as error:
            log.warning("a balance is told later", extra={"org": org_id, "reason": str(error)})


class Bookkeeper:
    """Start and stop are idempotent."""

    def __init__(
        self,
        poster: LedgerPoster,
        relay: BalanceRelay,
        outbox: BalanceOutbox,
        now: Callable[[], datetime],
        *,
        round_s: float = ROUND_S,
        deliver_s: float = DELIVER_S,
    ) -> None:
        self._poster = poster
        self._relay = relay
        self._outbox = outbox
        self._now = now
        self._round_s = round_s
        self._deliver_s = deliver_s
        self._assured: datetime | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._repeat("cannot post to the ledger", self.round, self._round_s)),
                asyncio.create_task(self._repeat("cannot tell balances", self._deliver, self._deliver_s)),
            ]

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def round(self) -> None:
        """Post all usage that is known, then what expired, and tell Redis. Raises `StoreUnavailable`."""
        await self._poster.post_all(self._now())
        await self._poster.run_expiry(self._now())
        await self._deliver()
        now = self._now()
        if self._assured is None or now - self._assured >= ASSURED_EVERY:
            await self._relay.assure()
            await self._outbox.prune(now - KEPT)
            self._assured = now

    async def _deliver(self) -> None:
        await self._relay.deliver()

    async def _repeat(self, trouble: str, step: Callable[[], Awaitable[None]], every_s: float) -> None:
        backoff = Backoff(first_s=every_s, most_s=max(every_s, TROUBLE_S))
        while True:
            try:
                await step()
                backoff.reset()
                delay_s = every_s
            except TollgateError as error:
                log.warning(trouble, extra={"reason": str(error)})
                delay_s = backoff.next_s()
            # The edge of a loop that has to outlive everything: without it the ledger would fall behind for good.
            except Exception:
                log.exception(trouble)
                delay_s = backoff.next_s()
            await asyncio.sleep(delay_s)
