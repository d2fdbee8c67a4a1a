"""Does what is due. Every gateway runs one; leases see to it that each job is done by one of them.

While Postgres is down nothing runs and nothing is lost. A gateway that dies in the middle of a job leaves its lease,
which ends; what the job wrote through its session was then not written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.errors import TollgateError
from gateway.jobs.job import LeasedJob, NotYet, Trade
from gateway.jobs.postgres_jobs import JobTable
from gateway.stores.postgres import Postgres

log = logging.getLogger("tollgate.jobs")


@dataclass(frozen=True, slots=True)
class Pace:
    poll_s: float = 5.0
    """How often rows are looked for; jobs are due at the minute, not at the second."""
    lease: timedelta = timedelta(minutes=5)
    """Longer than any job takes; so long does one wait whose gateway died in the middle of it."""
    batch: int = 16
    plan_every: timedelta = timedelta(minutes=1)
    retry_first: timedelta = timedelta(minutes=1)
    """Doubled with every failure, up to `retry_most`."""
    retry_most: timedelta = timedelta(hours=6)
    attempts_max: int = 12
    """Some 30 hours of trying; then the row says why it was given up."""
    kept: timedelta = timedelta(days=400)
    """How long done jobs are remembered: over a year, as monthly ones are named by month."""


class LeaseLost(TollgateError):
    """Somebody else does this job by now: its lease ended while it was being done."""

    code = "lease_lost"


class JobRunner:
    """``start`` and ``stop`` are idempotent; ``now`` answers aware instants in UTC."""

    def __init__(
        self,
        postgres: Postgres,
        trades: Sequence[Trade],
        now: Callable[[], datetime],
        pace: Pace | None = None,
    ) -> None:
        self.table = JobTable(postgres)
        self._postgres = postgres
        self._trades = {trade.kind: trade for trade in trades}
        self._now = now
        self._pace = pace or Pace()
        self._planned: datetime | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; Postgres does not have to be up."""
        if self._task is None:
            self._stopping = asyncio.Event()
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Let the job that runs end, and no other begin. Waits."""
        task, self._task = self._task, None
        if task is not None:
            self._stopping.set()
            await asyncio.wait([task])

    async def turn(self) -> int:
        """Plan what recurs and do what is due now; how many jobs were done. Raises `PostgresUnavailable`."""
        now = self._now()
        if self._planned is None or now - self._planned >= self._pace.plan_every:
            for trade in self._trades.values():
                await self._plan(trade, now)
            await self.table.forget(now - self._pace.kept)
            self._planned = now
        leased = await self.table.lease(self._trades, now, self._pace.lease, self._pace.batch)
        done = 0
        for one in leased:
            if self._stopping.is_set():
                break  # their leases end, and others do them
            done += await self._do(one)
        return done

    async def _plan(self, trade: Trade, now: datetime) -> None:
        if trade.schedule is None:
            return
        try:
            await self.table.plan(await trade.schedule.jobs(now))
        except TollgateError:
            raise
        except Exception:  # one schedule that fails must not keep the others from being kept
            log.exception("cannot plan jobs", extra={"kind": trade.kind})

    async def _do(self, leased: LeasedJob) -> bool:
        """Raises `PostgresUnavailable` if it is down, not if it gave up on this job: that one is tried again later."""
        try:
            async with self._postgres.transaction() as session:
                await self._trades[leased.job.kind].work(leased.job, session)
                if not await self.table.finish(session, leased, self._now()):
                    raise LeaseLost
        except NotYet as early:
            await self.table.postpone(leased, early.run_at)
            return False
        except Exception as error:  # one job that fails must not keep the others from being done
            ours = not isinstance(error, TollgateError | LeaseLost)
            reason = {"kind": leased.job.kind, "reason": type(error).__name__}
            log.error("job failed", exc_info=error if ours else None, extra=reason)
            if not isinstance(error, LeaseLost):
                await self._retry(leased, _said(error))
            return False
        return True

    async def _retry(self, leased: LeasedJob, reason: str) -> None:
        now, pace = self._now(), self._pace
        retry_at = None
        if leased.attempts < pace.attempts_max:
            retry_at = now + min(pace.retry_most, pace.retry_first * 2 ** (leased.attempts - 1))
        await self.table.fail(leased, now, retry_at, reason)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                done = await self.turn()
            except TollgateError as error:
                log.warning("jobs wait", extra={"reason": error.code})
                done = 0
            except Exception:
                # The edge of a loop that summaries and erasures depend on: it goes on whatever happens.
                log.exception("doing jobs failed; trying again")
                done = 0
            if done < self._pace.batch:
                try:
                    await asyncio.wait_for(self._stopping.wait(), self._pace.poll_s)
                except TimeoutError:
                    pass


def _said(error: Exception) -> str:
    """Its name and words, without characters that Postgres stores in no text."""
    words = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()
    return words.replace("\0", "\\0")[:500]
