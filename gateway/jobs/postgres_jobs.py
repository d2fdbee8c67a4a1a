"""Rows of jobs. When Postgres is down everything raises `PostgresUnavailable`, and nothing is lost: rows wait."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from gateway.jobs.job import Job, LeasedJob
from gateway.stores.postgres import Postgres, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.jobs", "jobs.sql")


class JobTable:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def plan(self, jobs: Iterable[Job], session: Session | None = None) -> None:
        """Take these down, each once. One that is there already is done at the time named now, unless it is done."""
        listed = list(jobs)
        await (session or self._postgres).execute(
            _SQL["plan"],
            [job.kind for job in listed],
            [job.org_id for job in listed],
            [job.period for job in listed],
            [job.run_at for job in listed],
        )

    async def lease(
        self, kinds: Collection[str], now: datetime, length: timedelta, limit: int
    ) -> list[LeasedJob]:
        """What is due and nobody is at, longest due first, as this caller's until ``now + length``."""
        token = secrets.token_hex(8)
        rows = await self._postgres.fetch(_SQL["lease"], now, now + length, token, sorted(kinds), limit)
        leased = [
            LeasedJob(
                Job(row["kind"], row["org_id"], row["period"], row["run_at"]),
                row["job_id"],
                token,
                row["attempts"],
            )
            for row in rows
        ]
        return sorted(leased, key=lambda one: (one.job.run_at, one.job_id))

    async def finish(self, session: Session, leased: LeasedJob, now: datetime) -> bool:
        """Mark it done; False if the lease was lost to somebody else."""
        return await session.fetch_value(_SQL["finish"], leased.job_id, leased.token, now) is not None

    async def fail(self, leased: LeasedJob, now: datetime, retry_at: datetime | None, reason: str) -> None:
        """Try again at ``retry_at``; None: give it up."""
        done_at = now if retry_at is None else None
        await self._postgres.execute(_SQL["fail"], leased.job_id, leased.token, retry_at, reason, done_at)

    async def postpone(self, leased: LeasedJob, run_at: datetime) -> None:
        """Nothing was done yet; do it then."""
        await self._postgres.execute(_SQL["postpone"], leased.job_id, leased.token, run_at)

    async def forget(self, before: datetime) -> None:
        """Remove what was done before that instant."""
        await self._postgres.execute(_SQL["forget"], before)
