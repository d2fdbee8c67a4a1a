"""Jobs in a real Postgres: each is done once, whatever the number of gateways, and again when it failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta

import pytest

from gateway.jobs.job import Job, NotYet, Trade
from gateway.jobs.runner import JobRunner, Pace
from gateway.ledger.migrate import migrate
from gateway.stores.postgres import Postgres, Session

START = datetime(2026, 11, 22, 8, tzinfo=UTC)
ONCE = Pace(poll_s=0.01)


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time


class Diary:
    """Work that notes in Postgres what it did, and fails when told to."""

    def __init__(self) -> None:
        self.failures = 0
        self.tried = 0

    async def work(self, job: Job, session: Session) -> None:
        self.tried += 1
        await session.execute("INSERT INTO diary VALUES ($1)", job.period)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("not today")


@pytest.fixture
async def postgres(postgres_dsn: str) -> AsyncIterator[Postgres]:
    await migrate(postgres_dsn)
    pool = Postgres(postgres_dsn)
    await pool.start()
    await pool.execute("CREATE TABLE diary (period text)")
    yield pool
    await pool.stop()


async def written(postgres: Postgres) -> list[str]:
    return [row["period"] for row in await postgres.fetch("SELECT period FROM diary ORDER BY period")]


async def test_three_gateways_do_each_job_once(postgres: Postgres) -> None:
    diary, clock = Diary(), Clock()
    runners = [JobRunner(postgres, [Trade("note", diary.work)], clock, Pace(batch=7)) for _ in range(3)]
    jobs = [Job("note", "acme", f"{number:03}", START) for number in range(60)]
    await asyncio.gather(*(runner.table.plan(jobs) for runner in runners))
    for _ in range(4):
        await asyncio.gather(*(runner.turn() for runner in runners))
    assert await written(postgres) == [job.period for job in jobs]
    assert diary.tried == 60


async def test_a_job_is_not_done_before_its_time_and_not_again_after(postgres: Postgres) -> None:
    diary, clock = Diary(), Clock()
    runner = JobRunner(postgres, [Trade("note", diary.work)], clock)
    job = Job("note", "acme", "soon", START + timedelta(minutes=1))
    await runner.table.plan([job])
    assert await runner.turn() == 0
    clock.time += timedelta(minutes=1)
    assert await runner.turn() == 1
    await runner.table.plan([job])
    clock.time += timedelta(days=1)
    assert await runner.turn() == 0


async def test_a_job_is_done_at_the_time_that_was_named_last(postgres: Postgres) -> None:
    diary, clock = Diary(), Clock()
    diary.failures = 1
    runner = JobRunner(postgres, [Trade("note", diary.work)], clock)
    await runner.table.plan([Job("note", "acme", "p", START)])
    assert await runner.turn() == 0  # it fails, and waits to be tried again
    await runner.table.plan([Job("note", "acme", "p", START + timedelta(hours=2))])
    clock.time += timedelta(hours=1)
    assert await runner.turn() == 0
    clock.time += timedelta(hours=1)
    assert await runner.turn() == 1


async def test_work_that_comes_too_early_is_as_if_it_had_not_begun(postgres: Postgres) -> None:
    diary, clock = Diary(), Clock()
    later = START + timedelta(hours=1)

    async def work(job: Job, session: Session) -> None:
        await diary.work(job, session)
        if clock() < later:
            raise NotYet(later)

    runner = JobRunner(postgres, [Trade("note", work)], clock, Pace(attempts_max=1))
    await runner.table.plan([Job("note", "acme", "p", START)])
    assert await runner.turn() == 0
    assert (
        await postgres.fetch_value("SELECT count(*) FROM jobs WHERE lease_until IS NULL AND attempts = 0")
        == 1
    )
    clock.time += timedelta(minutes=59)
    assert await runner.turn() == 0
    assert diary.tried == 1
    clock.time = later
    assert await runner.turn() == 1
    assert await written(postgres) == ["p"]


async def test_what_a_failed_job_wrote_is_not_written_and_it_is_tried_again_later_and_later(
    postgres: Postgres,
) -> None:
    diary, clock = Diary(), Clock()
    diary.failures = 2
    runner = JobRunner(postgres, [Trade("note", diary.work)], clock)
    await runner.table.plan([Job("note", "acme", "p", START)])
    tried = []
    for _ in range(8):
        await runner.turn()
        tried.append(diary.tried)
        clock.time += timedelta(minutes=1)
    assert tried == [1, 2, 2, 3, 3, 3, 3, 3]
    assert await written(postgres) == ["p"]


async def test_a_job_that_always_fails_is_given_up_with_its_reason(postgres: Postgres) -> None:
    diary, clock = Diary(), Clock()
    diary.failures = 100
    runner = JobRunner(postgres, [Trade("note", diary.work)], clock, Pace(attempts_max=3))
    await runner.table.plan([Job("note", "acme", "p", START)])
    for _ in range(10):
        await runner.turn()
        clock.time += timedelta(hours=12)
    assert diary.tried == 3
    row = await postgres.fetch_one("SELECT failure, done_at FROM jobs")
    assert row is not None
    assert row["failure"] == "RuntimeError: not today"
    assert row["done_at"] is not None


async def test_a_job_whose_gateway_died_is_done_by_another_when_its_lease_ends(postgres: Postgres) -> None:
    diary, clock = Diary(), Clock()
    dead, alive = (JobRunner(postgres, [Trade("note", diary.work)], clock) for _ in range(2))
    await dead.table.plan([Job("note", "acme", "p", START)])
    assert len(await dead.table.lease(["note"], clock(), timedelta(minutes=5), 10)) == 1
    assert await alive.turn() == 0
    clock.time += timedelta(minutes=5)
    assert await alive.turn() == 1
    assert await written(postgres) == ["p"]


async def test_a_recurring_job_is_planned_by_its_schedule_and_the_loop_does_it(postgres: Postgres) -> None:
    done = asyncio.Event()

    class Hourly:
        async def jobs(self, now: datetime) -> Iterable[Job]:
            return [Job("note", "", f"{now:%Y-%m-%dT%H}", now.replace(minute=0))]

    async def work(job: Job, session: Session) -> None:
        done.set()

    runner = JobRunner(postgres, [Trade("note", work, Hourly())], Clock(), ONCE)
    await runner.start()
    await runner.start()
    await asyncio.wait_for(done.wait(), 10)
    await runner.stop()
    await runner.stop()
    assert await postgres.fetch_value("SELECT count(*) FROM jobs WHERE done_at IS NOT NULL") == 1


async def test_a_job_that_postgres_gives_up_on_keeps_no_other_from_being_done(postgres: Postgres) -> None:
    diary, clock = Diary(), Clock()

    async def too_slow(job: Job, session: Session) -> None:
        await session.execute("SET LOCAL statement_timeout = '1ms'")
        await session.execute("SELECT pg_sleep(60)")

    runner = JobRunner(postgres, [Trade("slow", too_slow), Trade("note", diary.work)], clock)
    await runner.table.plan([Job("slow", "", "p", START - timedelta(hours=1))])
    await runner.table.plan([Job("note", "", f"{number}", START) for number in range(3)])
    assert await runner.turn() == 3
    clock.time += timedelta(seconds=59)
    assert await runner.table.lease(["slow"], clock(), timedelta(minutes=5), 1) == []
    clock.time += timedelta(seconds=1)
    assert len(await runner.table.lease(["slow"], clock(), timedelta(minutes=5), 1)) == 1


async def test_a_job_that_was_begun_very_often_and_fails_is_given_up(postgres: Postgres) -> None:
    diary, clock = Diary(), Clock()
    diary.failures = 1
    runner = JobRunner(postgres, [Trade("note", diary.work)], clock)
    await runner.table.plan([Job("note", "acme", "p", START)])
    await postgres.execute("UPDATE jobs SET attempts = 2000")
    assert await runner.turn() == 0
    assert await postgres.fetch_value("SELECT done_at FROM jobs") is not None


async def test_a_reason_that_no_text_can_hold_keeps_no_job_from_being_done_or_given_up(
    postgres: Postgres,
) -> None:
    diary, clock, said = Diary(), Clock(), iter(["a \x00 in it", "half of a pair: \ud83d"])

    async def confused(job: Job, session: Session) -> None:
        raise ValueError(next(said))

    runner = JobRunner(
        postgres, [Trade("bad", confused), Trade("note", diary.work)], clock, Pace(attempts_max=2)
    )
    await runner.table.plan([Job("bad", "", "p", START - timedelta(hours=1))])
    await runner.table.plan([Job("note", "", f"{number}", START) for number in range(3)])
    assert await runner.turn() == 3
    clock.time += timedelta(minutes=1)
    assert await runner.turn() == 0
    failure = await postgres.fetch_value(
        "SELECT failure FROM jobs WHERE kind = 'bad' AND done_at IS NOT NULL"
    )
    assert failure == r"ValueError: half of a pair: \ud83d"


async def test_the_loop_goes_on_after_a_failure_that_nobody_foresaw(postgres: Postgres) -> None:
    done, clock, faults = asyncio.Event(), Clock(), iter([OverflowError("the clock is wrong")])

    def now() -> datetime:
        for fault in faults:
            raise fault
        return clock()

    async def work(job: Job, session: Session) -> None:
        done.set()

    runner = JobRunner(postgres, [Trade("note", work)], now, ONCE)
    await runner.table.plan([Job("note", "acme", "p", START)])
    await runner.start()
    await asyncio.wait_for(done.wait(), 10)
    await runner.stop()


async def test_a_schedule_that_fails_keeps_no_other_trade_from_its_work(postgres: Postgres) -> None:
    done = asyncio.Event()

    class Broken:
        async def jobs(self, now: datetime) -> Iterable[Job]:
            raise RuntimeError("no such zone")

    class Hourly:
        async def jobs(self, now: datetime) -> Iterable[Job]:
            return [Job("note", "", f"{now:%Y-%m-%dT%H}", now.replace(minute=0))]

    async def work(job: Job, session: Session) -> None:
        done.set()

    trades = [Trade("broken", work, Broken()), Trade("note", work, Hourly())]
    runner = JobRunner(postgres, trades, Clock(), ONCE)
    await runner.start()
    await asyncio.wait_for(done.wait(), 10)
    await runner.stop()
