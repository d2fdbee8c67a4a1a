"""The writer: each settled request becomes one row, whatever fails in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreUnavailable
from gateway.ledger.backoff import Backoff
from gateway.ledger.migrate import migrate
from gateway.ledger.postgres_usage import DeadLetter, UsageTable
from gateway.ledger.redis_stream import DONE_MARKER_S, GROUP, StreamKeys, UsageStream
from gateway.ledger.row import Entry, UsageRow
from gateway.ledger.writer import Pace, UsageWriter, WriterHooks
from gateway.stores.postgres import Postgres, PostgresUnavailable
from gateway.stores.redis import RedisStore
from tests.support.servers import TestRedis
from tests.support.usage_events import ADMISSION, JANUARY_US, RESULT, stream_fields

KEYS = StreamKeys.of(0)
QUICK = Pace(batch_max=50, linger_ms=1, block_ms=20, take_over_idle_ms=0, take_over_every_s=0.02)
MINUTE_US = 60_000_000


def no_wait() -> Backoff:
    return Backoff(first_s=0.005, most_s=0.02)


@dataclass
class Place:
    """Redis, Postgres, and what a test wants of both."""

    redis: Redis
    store: RedisStore
    postgres: Postgres

    def stream(self, consumer: str = "g1") -> UsageStream:
        return UsageStream(self.redis, self.store, KEYS, consumer)

    def writer(
        self, table: Any = None, *, consumer: str = "g1", stream: Any = None, pace: Pace = QUICK, **hooks: Any
    ) -> UsageWriter:
        return UsageWriter(
            [stream or self.stream(consumer)],
            table or UsageTable(self.postgres),
            pace,
            WriterHooks(**hooks),
            backoff=no_wait,
        )

    async def settle(self, request_id: str, **rest: Any) -> None:
        fields = stream_fields(request_id, **rest)
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.set(KEYS.done_marker(request_id), "settled")
            pipe.xadd(KEYS.stream, fields)  # type: ignore[arg-type]
            await pipe.execute()

    async def settle_many(self, count: int) -> int:
        """``count`` requests over two months; returns what they were charged."""
        for number in range(count):
            started_at_us = JANUARY_US + number * MINUTE_US + (number % 2) * 31 * 24 * 60 * MINUTE_US
            await self.settle(
                f"r{number}", started_at_us=started_at_us, sequence=number + 1, charged_microcredits=number
            )
        return sum(range(count))

    async def totals(self) -> tuple[int, int, int, int]:
        """Rows, their credits, and the same by rollups."""
        row = await self.postgres.fetch_one(
            "SELECT (SELECT count(*) FROM usage) AS rows, "
            "(SELECT coalesce(sum(credits_microcredits), 0)::bigint FROM usage) AS credits, "
            "(SELECT coalesce(sum(requests), 0)::bigint FROM usage_rollups) AS rolled_rows, "
            "(SELECT coalesce(sum(credits_microcredits), 0)::bigint FROM usage_rollups) AS rolled_credits"
        )
        assert row is not None
        return row["rows"], row["credits"], row["rolled_rows"], row["rolled_credits"]

    async def backlog(self) -> tuple[int, int]:
        """Entries in the stream, and those given out and not acknowledged."""
        pending = await self.redis.xpending(KEYS.stream, GROUP)
        return await self.redis.xlen(KEYS.stream), int(pending["pending"])


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str) -> AsyncIterator[Place]:
    await migrate(postgres_dsn)
    client = Redis.from_url(redis_url)
    store = RedisStore(redis_url)
    postgres = Postgres(postgres_dsn)
    await postgres.start()
    yield Place(client, store, postgres)
    await postgres.stop()
    await store.close()
    await client.aclose()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_entries_are_read_in_either_protocol_and_those_that_are_gone_left_out(
    place: Place, redis_url: str, protocol: int
) -> None:
    await place.settle_many(3)
    client = Redis.from_url(redis_url, protocol=protocol)
    try:
        stream = UsageStream(client, place.store, KEYS, "g1")
        read = await stream.read(10, None)
        assert [entry.fields[b"id"] for entry in read] == [b"r0", b"r1", b"r2"]
        assert await stream.read(10, 1) == []
        await place.redis.xdel(KEYS.stream, read[1].entry_id)
        assert await stream.own(10) == [read[0], read[2]]
    finally:
        await client.aclose()


class Counted:
    """Signals when the entries seen by the ``batch`` hook reach a number."""

    def __init__(self, expected: int) -> None:
        self.entries = self.new = 0
        self.reached = asyncio.Event()
        self._expected = expected

    def __call__(self, _partition: int, entries: int, new: int) -> None:
        self.entries += entries
        self.new += new
        if self.entries >= self._expected:
            self.reached.set()


async def test_every_entry_becomes_a_row_and_counts_once_in_the_rollups(place: Place) -> None:
    charged = await place.settle_many(120)
    counted = Counted(120)
    lags: list[int] = []
    writer = place.writer(batch=counted, lag=lambda _partition, lag: lags.append(lag))
    await writer.start()
    await counted.reached.wait()
    await writer.stop()
    assert await place.totals() == (120, charged, 120, charged)
    assert await place.backlog() == (0, 0)
    assert lags[-1] == 0
    assert 0 < await place.redis.ttl(KEYS.done_marker("r5")) <= DONE_MARKER_S


async def test_a_row_keeps_the_cost_exactly(place: Place) -> None:
    await place.settle("dear", result=replace(RESULT, cost_femtousd=10**24 + 1))
    await place.settle("cheap", result=replace(RESULT, cost_femtousd=1), sequence=2)
    writer = place.writer()
    await writer.start()
    await writer.stop()
    rows = await place.postgres.fetch("SELECT cost_usd FROM usage ORDER BY cost_usd")
    assert [row["cost_usd"] for row in rows] == [Decimal("1e-15"), Decimal("1000000000.000000000000001")]
    assert await place.postgres.fetch_value("SELECT sum(cost_usd) FROM usage_rollups") == Decimal(
        "1000000000.000000000000002"
    )


async def test_what_is_in_the_stream_is_flushed_on_stop(place: Place) -> None:
    await place.settle_many(130)
    writer = place.writer(pace=replace(QUICK, linger_ms=60_000, block_ms=60_000))
    await writer.start()
    await writer.stop()
    assert (await place.totals())[0] == 130
    assert await place.backlog() == (0, 0)


async def test_an_entry_that_is_delivered_again_changes_nothing(place: Place) -> None:
    await place.settle("twice")
    await place.settle("twice")
    writer = place.writer()
    await writer.start()
    await writer.stop()
    await place.settle("twice")
    await writer.start()
    await writer.stop()
    assert await place.totals() == (1, 12_346, 1, 12_346)


async def test_two_gateways_share_a_stream_without_doubling_or_losing(place: Place) -> None:
    counted = Counted(400)
    # With nothing too young to be taken over, they also snatch entries from each other all the time.
    writers = [place.writer(consumer=name, batch=counted) for name in ("g1", "g2")]
    for writer in writers:
        await writer.start()
    charged = await place.settle_many(400)
    await counted.reached.wait()
    for writer in writers:
        await writer.stop()
    assert await place.totals() == (400, charged, 400, charged)
    assert counted.new == 400
    assert await place.backlog() == (0, 0)


class DiesBetween:
    """A stream whose gateway dies after the commit and before the acknowledgement."""

    def __init__(self, stream: UsageStream) -> None:
        self._stream = stream
        self.dead = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def acknowledge(self, entries: Sequence[Entry]) -> None:
        self.dead.set()
        await asyncio.Event().wait()


async def test_a_gateway_that_dies_between_commit_and_acknowledgement_doubles_nothing(place: Place) -> None:
    charged = await place.settle_many(30)
    dying = DiesBetween(place.stream("g1"))
    first = place.writer(stream=dying, pace=replace(QUICK, flush_deadline_s=0))
    await first.start()
    await dying.dead.wait()
    await first.stop()
    assert (await place.totals())[0] == 30
    assert await place.backlog() == (30, 30)

    counted = Counted(30)
    second = place.writer(consumer="g2", batch=counted)
    await second.start()
    await counted.reached.wait()
    await second.stop()
    assert await place.totals() == (30, charged, 30, charged)
    assert counted.new == 0
    assert await place.backlog() == (0, 0)


async def test_a_gateway_that_comes_back_under_its_name_begins_with_what_it_was_given(place: Place) -> None:
    await place.settle_many(10)
    await place.stream("g1").read(10, None)
    counted = Counted(10)
    writer = place.writer(batch=counted, pace=replace(QUICK, take_over_idle_ms=3_600_000))
    await writer.start()
    await counted.reached.wait()
    await writer.stop()
    assert counted.new == 10


async def test_only_what_is_idle_is_taken_over(place: Place) -> None:
    await place.settle_many(3)
    await place.stream("dead").read(10, None)
    assert await place.stream("g1").take_over(3_600_000, 10) == []
    assert len(await place.stream("g1").take_over(0, 10)) == 3


@dataclass
class Unsteady:
    """A table whose Postgres is down for the first tries."""

    table: UsageTable
    failures_left: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.table, name)

    async def write(self, rows: Sequence[UsageRow]) -> int:
        if self.failures_left:
            self.failures_left -= 1
            raise PostgresUnavailable
        return await self.table.write(rows)


async def test_while_postgres_is_down_the_stream_waits_and_then_nothing_is_missing(place: Place) -> None:
    charged = await place.settle_many(60)
    counted = Counted(60)
    failures: list[Exception] = []
    writer = place.writer(
        Unsteady(UsageTable(place.postgres), 5),
        batch=counted,
        failure=lambda _p, error: failures.append(error),
    )
    await writer.start()
    await counted.reached.wait()
    await writer.stop()
    assert len(failures) == 5
    assert await place.totals() == (60, charged, 60, charged)


async def test_a_stop_while_postgres_is_down_leaves_the_entries_to_others(place: Place) -> None:
    await place.settle_many(5)
    tried = asyncio.Event()
    writer = place.writer(
        Unsteady(UsageTable(place.postgres), 10**9), failure=lambda *_: tried.set(), pace=replace(QUICK)
    )
    await writer.start()
    await tried.wait()
    await writer.stop()
    assert await place.backlog() == (5, 5)


async def test_entries_that_no_row_can_be_made_of_do_not_hold_up_the_others(place: Place) -> None:
    charged = await place.settle_many(20)
    await place.redis.xadd(KEYS.stream, {"id": "garbage\0"})
    await place.settle("negative", charged_microcredits=-1)
    await place.settle("huge", result=replace(RESULT, input_tokens=2**63))
    await place.settle("ancient", started_at_us=1)
    await place.settle("fine", charged_microcredits=7, sequence=99)
    buried: list[int] = []
    writer = place.writer(dead_letters=lambda _partition, count: buried.append(count))
    await writer.start()
    await writer.stop()
    assert await place.totals() == (21, charged + 7, 21, charged + 7)
    assert sum(buried) == 4
    letters = await place.postgres.fetch(
        "SELECT request_id, reason FROM usage_dead_letters ORDER BY entry_id"
    )
    assert [row["request_id"] for row in letters] == ["garbage\ufffd", "negative", "huge", "ancient"]
    assert all(row["reason"] for row in letters)
    assert await place.backlog() == (0, 0)


async def test_burying_twice_is_burying_once(place: Place) -> None:
    table = UsageTable(place.postgres)
    letter = DeadLetter(Entry(KEYS.stream, "1-1", 0, {b"id": b"\xff\0"}), "because\0")
    await table.bury([letter])
    await table.bury([letter])
    assert await place.postgres.fetch_value("SELECT count(*) FROM usage_dead_letters") == 1


async def test_start_and_stop_in_any_order_lose_nothing(place: Place) -> None:
    writer = place.writer()
    await writer.stop()
    moves: list[Callable[[], Any]] = [writer.start, writer.stop, writer.stop, writer.start, writer.start]
    charged = 0
    for turn in range(30):
        await place.settle(f"r{turn}", charged_microcredits=turn, sequence=turn + 1)
        charged += turn
        await asyncio.gather(*(move() for move in (moves[turn % 5], moves[(turn * 3) % 5])))
    await writer.start()
    await writer.stop()
    assert await place.totals() == (30, charged, 30, charged)
    assert await place.backlog() == (0, 0)
    assert await place.redis.xinfo_consumers(KEYS.stream, GROUP) == []


async def test_usage_of_any_zone_day_can_be_summed_from_quarters(place: Place) -> None:
    await place.settle("before", started_at_us=JANUARY_US - 1, sequence=1, charged_microcredits=1)
    await place.settle("at", started_at_us=JANUARY_US, sequence=2, charged_microcredits=10)
    await place.settle(
        "last", started_at_us=JANUARY_US + 15 * MINUTE_US - 1, sequence=3, charged_microcredits=100
    )
    nobody = replace(ADMISSION, team_id=None, user_id=None)
    await place.settle(
        "service", started_at_us=JANUARY_US, sequence=4, charged_microcredits=1000, admission=nobody
    )
    writer = place.writer()
    await writer.start()
    await writer.stop()
    rows = await place.postgres.fetch(
        "SELECT to_char(quarter_start AT TIME ZONE 'UTC', 'HH24:MI') AS at, user_id, credits_microcredits "
        "AS credits FROM usage_rollups ORDER BY 1, 2"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("11:45", "ada", 1),
        ("12:00", "", 1000),
        ("12:00", "ada", 110),
    ]


async def test_redis_down_is_waited_out(private_redis: TestRedis, postgres_dsn: str) -> None:
    await migrate(postgres_dsn)
    client = Redis.from_url(private_redis.url)
    store = RedisStore(private_redis.url)
    postgres = Postgres(postgres_dsn)
    await postgres.start()
    place = Place(client, store, postgres)
    failed = asyncio.Event()
    counted = Counted(1)
    writer = place.writer(batch=counted, failure=lambda _p, error: failed.set())
    await writer.start()
    await asyncio.to_thread(private_redis.kill)
    await failed.wait()
    with pytest.raises(StoreUnavailable):
        await place.stream().length()
    await asyncio.to_thread(private_redis.start)
    await place.settle("late")
    await counted.reached.wait()
    await writer.stop()
    assert (await place.totals())[0] == 1
    await postgres.stop()
    await store.close()
    await client.aclose()
