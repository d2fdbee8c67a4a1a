"""Keeps this gateway's holds alive, and ends those of gateways that died.

When the store is down holds cannot be renewed, and their deadlines pass. ``lost`` hears of each hold that is gone or
past its deadline, so that its request can be ended before it costs more than was held: when its deadline comes, not at
the round after. What it came to may be known all the same, so its hold is renewed again until it is settled; and
nothing is reaped until the store has answered for as long as a hold lives, in which all who live have renewed theirs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from gateway.budgets.holding import Holding
from gateway.budgets.model import Holds
from gateway.errors import StoreUnavailable

log = logging.getLogger("tollgate.budgets")

RENEWALS_PER_TTL = 4
"""Three renewals in a row may fail before a deadline passes."""
RENEWED_AT_ONCE = 1000
REAPED_AT_ONCE = 100


def _ignore(holding: Holding) -> None:
    del holding


class Keeper:
    """The `gateway.budgets.holding.Registry` of a gateway. Start and stop are idempotent."""

    def __init__(self, holds: Holds, *, hold_ttl_s: float, lost: Callable[[Holding], None] = _ignore) -> None:
        self._holds = holds
        self._hold_ttl_s = hold_ttl_s
        self._lost = lost
        self._open: dict[str, tuple[Holding, float]] = {}
        self._overdue: dict[str, Holding] = {}
        """Past their deadlines: their requests were ended, their settlements may still come."""
        self._unresolved: dict[str, Holding] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        """That of the first call: a process has one."""
        self._stopping = asyncio.Event()
        self._loops: tuple[asyncio.Task[None], ...] = ()
        self._watch: asyncio.TimerHandle | None = None
        """Rings at a deadline that was the earliest when it was set: renewals push deadlines out meanwhile."""
        self.reaped = 0
        """How many holds of dead gateways this one has settled."""
        self._rounds_answered = 0
        """How many rounds of reaping in a row the store has answered."""

    def __len__(self) -> int:
        return len(self._open) + len(self._overdue)

    def holdings(self) -> list[Holding]:
        """Holds of this process whose requests may go on."""
        return [holding for holding, _ in self._open.values()]

    def track(self, holding: Holding) -> None:
        deadline_s = self._now_s() + self._hold_ttl_s
        self._open[holding.ask.request_id] = (holding, deadline_s)
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_at(deadline_s, self._expire)

    def untrack(self, holding: Holding) -> None:
        self._open.pop(holding.ask.request_id, None)
        self._overdue.pop(holding.ask.request_id, None)
        self._unresolved.pop(holding.ask.request_id, None)

    def resolve_later(self, holding: Holding) -> None:
        self._unresolved[holding.ask.request_id] = holding

    async def start(self) -> None:
        """Begin to renew and to reap."""
        if not self._loops:
            self._stopping.clear()
            interval_s = self._hold_ttl_s / RENEWALS_PER_TTL
            self._loops = (
                asyncio.create_task(self._repeat(self.keep, interval_s)),
                asyncio.create_task(self._repeat(self.reap, interval_s)),
            )

    async def stop(self) -> None:
        """Finish the round under way, and try once more to end what could not be ended."""
        self._stopping.set()
        if self._loops:
            await asyncio.wait(self._loops)
            self._loops = ()
        await self._end_unresolved()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def keep(self) -> None:
        """One round: end what could not be ended before, and push all deadlines out."""
        await self._end_unresolved()
        kept = [*(holding for holding, _ in self._open.values()), *self._overdue.values()]
        for start in range(0, len(kept), RENEWED_AT_ONCE):
            batch = [
                (each.ask.subject.org, each.ask.request_id) for each in kept[start : start + RENEWED_AT_ONCE]
            ]
            asked_s = self._now_s()
            try:
                gone = await self._holds.renew(batch)
            except StoreUnavailable:
                self._rounds_answered = 0
                continue  # those whose deadline comes before the next round are ended when it comes
            self._report(gone)
            for request_id in gone:
                self._overdue.pop(request_id, None)
            for _, request_id in batch:
                if request_id not in gone and request_id in self._open:
                    self._open[request_id] = (self._open[request_id][0], asked_s + self._hold_ttl_s)

    async def reap(self) -> None:
        """One round: settle every hold that has outlived its deadline, whoever's it was; while the store has not
        answered for long enough, none, to see only whether it does.
        """
        at_once = REAPED_AT_ONCE if self._rounds_answered >= RENEWALS_PER_TTL else 0
        try:
            while reaped := await self._holds.reap(at_once):
                self.reaped += reaped
                log.warning("holds outlived their deadline and were charged in full", extra={"holds": reaped})
        except StoreUnavailable:
            self._rounds_answered = 0
        else:
            self._rounds_answered += 1

    def _expire(self) -> None:
        """End what is past its deadline: from then on anybody may charge it, so its call must not go on."""
        now_s = self._now_s()
        past = {request_id for request_id, (_, deadline_s) in self._open.items() if deadline_s <= now_s}
        self._overdue |= self._report(past)
        next_s = min(
            (deadline_s for _, deadline_s in self._open.values() if deadline_s > now_s), default=None
        )
        loop = asyncio.get_running_loop()
        self._watch = None if next_s is None else loop.call_at(next_s, self._expire)

    def _report(self, gone: set[str]) -> dict[str, Holding]:
        """Say that these are lost; returns those that were open, by request id."""
        reported: dict[str, Holding] = {}
        for request_id in gone:
            holding, _ = self._open.get(request_id, (None, 0.0))
            # One that is just being resolved is gone because of that.
            if holding is not None and not holding.resolving:
                del self._open[request_id]
                reported[request_id] = holding
                self._lost(holding)
        return reported

    async def _end_unresolved(self) -> None:
        unresolved = list(self._unresolved.values())
        for start in range(0, len(unresolved), RENEWED_AT_ONCE):
            batch = unresolved[start : start + RENEWED_AT_ONCE]
            failures = await asyncio.gather(*(each.abandon() for each in batch), return_exceptions=True)
            for holding, failure in zip(batch, failures, strict=True):
                if failure is not None and not isinstance(failure, StoreUnavailable):
                    # Neither this round nor another hold may fail for it: no longer renewed, it is the reaper's.
                    log.error(
                        "a hold cannot be ended",
                        exc_info=failure,
                        extra={"request_id": holding.ask.request_id},
                    )
                    self.untrack(holding)
            if all(isinstance(failure, StoreUnavailable) for failure in failures):
                return

    async def _repeat(self, work: Callable[[], Awaitable[None]], interval_s: float) -> None:
        while not self._stopping.is_set():
            try:
                await work()
            except Exception:
                # The edge of supervision: one bad round must not end all later ones, or holds would die with
                # it.
                log.exception("a round of keeping holds failed; the next one tries again")
            try:
                async with asyncio.timeout(interval_s):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    def _now_s(self) -> float:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop.time()
