"""Reconcile: counters, stream, rows and rollups agree to the microcredit, or the report says where not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from redis.asyncio import Redis

from gateway.budgets.keyspace import partition_keys
from gateway.budgets.model import Scope, Subject, Window
from gateway.budgets.ports import CounterReading, EmptyLedger, SpentQuery
from gateway.budgets.redis_books import RedisBooks
from gateway.budgets.redis_holds import RedisHolds
from gateway.ledger.held import held_by_nobody
from gateway.ledger.migrate import migrate
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.reconcile import Report, reconcile
from gateway.ledger.redis_stream import StreamKeys, UsageStream
from gateway.ledger.row import merge
from gateway.stores.postgres import Postgres
from gateway.stores.redis import RedisStore
from tests.support.usage_events import ADMISSION, JANUARY_US, entry, stream_fields
from tests.unit.budgets.making import ask_for, directory_of, key_limit

KEYS = StreamKeys.of(0)
DAY_US = 24 * 3600 * 1_000_000
MIDNIGHT_US = JANUARY_US - DAY_US // 2

TOTAL = CounterReading(
    org="acme",
    scope=Scope.ORG,
    scope_id="acme",
    operation=None,
    model=None,
    window=Window.TOTAL,
    start_us=0,
    end_us=None,
    settled=0,
    held=0,
    open_holds=0,
    grace_start_us=None,
    unseeded=False,
    partition=0,
    sequence=10**9,
)


@dataclass
class Hold:
    amount: int
    started_at_us: int = JANUARY_US
    subject: Subject = field(default_factory=lambda: Subject("acme", "research", "ada", "ada-laptop"))
    operation: str = "chat"
    model: str = "gpt-5"


@dataclass
class Place:
    store: RedisStore
    redis: Redis
    postgres: Postgres

    @property
    def books(self) -> RedisBooks:
        return RedisBooks(self.store)

    async def commit(self, *requests: tuple[str, int, int], **rest: object) -> None:
        """Rows of (request id, sequence, microcredits)."""
        rows = [
            merge(entry(name, sequence=sequence, charged_microcredits=amount, **rest))
            for name, sequence, amount in requests
        ]
        await UsageTable(self.postgres).write(rows)

    async def settle(self, name: str, sequence: int, amount: int) -> None:
        """An entry on the stream."""
        fields = stream_fields(name, sequence=sequence, charged_microcredits=amount)
        await self.redis.xadd(KEYS.stream, fields)  # type: ignore[arg-type]

    async def report(self, *readings: CounterReading, holds: Sequence[Hold] = ()) -> Report:
        async def counters() -> AsyncIterator[CounterReading]:
            for reading in readings:
                yield reading

        async def open_holds() -> AsyncIterator[Hold]:
            for hold in holds:
                yield hold

        stream = UsageStream(self.redis, self.store, KEYS, "reconcile")
        ledger = PostgresLedger(self.postgres)
        return await reconcile(
            counters, open_holds, [stream], ledger, open_calls_off=self.books.open_calls_off
        )

    async def spent(self, *queries: SpentQuery) -> Sequence[int]:
        return [(await PostgresLedger(self.postgres).spent(query)).microcredits for query in queries]


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str) -> AsyncIterator[Place]:
    await migrate(postgres_dsn)
    client, postgres = Redis.from_url(redis_url), Postgres(postgres_dsn)
    await postgres.start()
    store = RedisStore(redis_url)
    yield Place(store, client, postgres)
    await store.close()
    await postgres.stop()
    await client.aclose()


async def test_a_counter_equals_its_rows_and_what_is_still_in_the_stream(place: Place) -> None:
    await place.commit(("a", 1, 100), ("b", 2, 20))
    await place.settle("c", 3, 3)
    report = await place.report(replace(TOTAL, settled=123, sequence=3))
    assert list(report.lines())[-1] == "drift 0"
    assert (report.exit_code, report.counters, report.unread) == (0, 1, 1)


async def test_an_entry_that_was_committed_but_not_acknowledged_counts_once(place: Place) -> None:
    await place.commit(("a", 1, 100))
    await place.settle("a", 1, 100)
    assert (await place.report(replace(TOTAL, settled=100, sequence=1))).exit_code == 0


async def test_what_was_settled_after_the_counter_was_read_is_left_out(place: Place) -> None:
    await place.commit(("a", 1, 100), ("later", 3, 999))
    await place.settle("b", 2, 20)
    await place.settle("latest", 4, 999)
    assert (await place.report(replace(TOTAL, settled=120, sequence=2))).exit_code == 0


async def test_drift_names_the_counter_and_the_amount(place: Place) -> None:
    await place.commit(("a", 1, 100))
    report = await place.report(
        replace(TOTAL, settled=90), replace(TOTAL, org="gone", scope_id="gone", settled=7)
    )
    lines = list(report.lines())
    assert lines[-1] == "drift 17 microcredits"
    assert report.exit_code == 1
    assert "acme org acme total" in lines[2]
    assert lines[2].split()[-3:] == ["100", "90", "-10"]


async def test_what_is_held_by_no_open_call_is_drift(place: Place) -> None:
    holds = [Hold(5), Hold(70, subject=Subject("acme", None, None, "service"))]
    both, of_team = (
        replace(TOTAL, held=75, open_holds=2),
        replace(TOTAL, scope=Scope.TEAM, scope_id="research"),
    )
    assert (await place.report(both, replace(of_team, held=5, open_holds=1), holds=holds)).exit_code == 0
    report = await place.report(both, replace(of_team, held=6, open_holds=1), holds=holds)
    assert [(found.expected_microcredits, found.found_microcredits) for found in report.differences] == [
        (5, 6)
    ]


async def test_open_calls_that_are_counted_and_are_none_are_found(place: Place) -> None:
    holds = RedisHolds(place.store, directory_of([key_limit(1000)]), EmptyLedger())
    await holds.start()
    await holds.hold(ask_for(10))
    keys = partition_keys(0)

    async def faults() -> list[str]:
        readings = [reading async for reading in place.books.counters()]
        held = [hold async for hold in place.books.open_holds()]
        report = await place.report(*readings, holds=held)
        assert report.differences == ()
        return [fault.rpartition(": ")[2] for fault in report.faults]

    assert await faults() == []
    await place.store.command("HINCRBY", keys.open_calls, "acme:ada-laptop", 4)
    await place.store.command("HINCRBY", keys.open_calls, "acme:nobody", 2)
    assert sorted(await faults()) == [
        "0 hold something, 2 are counted",
        "1 hold something, 5 are counted",
    ]
    await place.store.command("DEL", keys.open_calls)
    assert await faults() == ["1 hold something, 0 are counted"]
    await place.store.command("HSET", keys.open_calls, "acme:ada-laptop", 1)
    (counter, *_) = await place.store.command("ZRANGE", keys.counter_index, 0, -1)
    await place.store.command("HINCRBY", counter, "o", 99)
    assert await faults() == ["1 hold something, 100 are counted"]
    await holds.close()


async def test_calls_that_come_and_go_between_the_reads_are_not_drift() -> None:
    held = iter([10, 20, 30])

    async def counters() -> AsyncIterator[CounterReading]:
        yield replace(TOTAL, held=next(held))

    async def holds() -> AsyncIterator[Hold]:
        yield Hold(5)

    assert await held_by_nobody(counters, holds) == {}


async def test_a_counter_that_is_still_being_seeded_is_not_compared(place: Place) -> None:
    report = await place.report(replace(TOTAL, settled=5, unseeded=True))
    assert (report.exit_code, report.counters, report.unseeded) == (0, 0, 1)


async def test_a_rollup_that_was_tampered_with_is_found(place: Place) -> None:
    await place.commit(("a", 1, 100))
    await place.postgres.execute("UPDATE usage_rollups SET credits_microcredits = 99")
    report = await place.report(replace(TOTAL, settled=100))
    # The hour and the day that the quarter is part of do not agree with it either.
    assert report.drift_microcredits == 3
    await place.postgres.execute("UPDATE usage_rollups SET credits_microcredits = 100, requests = 2")
    report = await place.report(replace(TOTAL, settled=100))
    assert (report.drift_microcredits, report.exit_code) == (0, 1)
    assert list(report.lines())[-1] == "drift of counts in 3 places"


@pytest.mark.parametrize("lost", ["true", "request_id = 'old'"])
async def test_rows_that_are_gone_from_a_month_that_is_kept_are_found(place: Place, lost: str) -> None:
    await place.commit(("old", 1, 100))
    await place.commit(("new", 2, 10), started_at_us=JANUARY_US + 40 * DAY_US)
    await place.postgres.execute(f"DELETE FROM usage_events WHERE {lost}")
    report = await place.report()
    assert report.drift_microcredits == (110 if lost == "true" else 100)
    await place.postgres.execute("INSERT INTO usage_kept_since VALUES ('acme', '2026-03-01')")
    assert (await place.report()).exit_code == 0, "they were removed on purpose"


async def test_rollups_that_outlived_their_events_are_not_drift(place: Place) -> None:
    await place.commit(("old", 1, 100))
    await place.commit(("new", 2, 10), started_at_us=JANUARY_US + 40 * DAY_US)
    await place.postgres.execute("DROP TABLE usage_events_2026_01")
    assert (await place.report(replace(TOTAL, settled=110))).exit_code == 0


async def test_counters_select_rows_by_scope_window_operation_and_model(place: Place) -> None:
    await place.commit(("a", 1, 1), started_at_us=MIDNIGHT_US - 1)
    await place.commit(("b", 2, 10), started_at_us=MIDNIGHT_US)
    await place.commit(("c", 3, 100), admission=replace(ADMISSION, operation="image", model="gpt_image%1"))
    await place.commit(
        ("d", 4, 1000), admission=replace(ADMISSION, team_id=None, user_id=None, key_id="service")
    )
    await place.commit(("e", 5, 10_000), admission=replace(ADMISSION, org_id="other"))
    await place.commit(("f", 6, 100_000), started_at_us=MIDNIGHT_US + DAY_US)
    path = "publishers/google/models/"
    await place.commit(("F", 7, 1_000_000), admission=replace(ADMISSION, model=f"{path}Gemini-2.5-Pro"))
    day = replace(TOTAL, window=Window.DAY, start_us=MIDNIGHT_US, end_us=MIDNIGHT_US + DAY_US)
    expected = [
        (TOTAL, 1_101_111),
        (day, 1_001_110),
        (replace(day, scope=Scope.TEAM, scope_id="research"), 1_000_110),
        (replace(day, scope=Scope.USER, scope_id="ada"), 1_000_110),
        (replace(day, scope=Scope.KEY, scope_id="service"), 1000),
        (replace(day, operation="image"), 100),
        (replace(day, operation="image", model="gpt-5"), 0),
        (replace(day, model="gpt-*"), 1010),
        (replace(day, model="gpt_*"), 100),
        (replace(day, model="*%*"), 100),
        (replace(day, model="gemini-2.5-pro"), 1_000_000),
        (replace(day, model="models/GEMINI-*"), 1_000_000),
    ]
    report = await place.report(*(replace(reading, settled=amount) for reading, amount in expected))
    assert list(report.lines())[-1] == "drift 0"
    for name, sequence, amount in (("g", 8, 5), ("h", 9, 6)):
        await place.settle(name, sequence, amount)
    matching = [replace(reading, settled=amount + 11) for reading, amount in expected[:4]]
    assert (await place.report(*matching)).exit_code == 0


async def test_seeding_sees_rows_up_to_a_settlement_and_which_entries_are_rows(place: Place) -> None:
    await place.commit(("a", 1, 100), ("b", 2, 20), ("c", 3, 3))
    query = SpentQuery("acme", Scope.ORG, "acme", None, None, 0, None, 0, 2, ("b", "unknown"))
    answer = await PostgresLedger(place.postgres).spent(query)
    assert (answer.microcredits, answer.recorded) == (120, frozenset({"b"}))
    other_partition = replace(query, partition=1, upto_sequence=0)
    assert await place.spent(replace(query, upto_sequence=0), other_partition) == [0, 123]


async def test_counters_of_end_users_are_sums_of_the_rows_that_count_towards_them(place: Place) -> None:
    zoe = replace(ADMISSION, end_user="zoe", end_user_trusted=True)
    claimed = replace(ADMISSION, end_user="zoe")
    await place.commit(("a", 1, 100), ("b", 2, 20), admission=zoe)
    await place.commit(("c", 3, 3), admission=claimed)
    await place.commit(("d", 4, 4))
    await place.commit(("e", 9, 500), admission=zoe)
    reading = replace(TOTAL, settled=120, sequence=5, end_user="zoe")
    of_team = replace(reading, scope=Scope.TEAM, scope_id="research")
    of_other = replace(reading, scope=Scope.TEAM, scope_id="sales", settled=0)
    nobody = replace(reading, end_user="yan", settled=0)
    everybody = replace(TOTAL, settled=127, sequence=5)
    report = await place.report(reading, of_team, of_other, nobody, everybody)
    assert list(report.lines())[-1] == "drift 0"


async def test_what_an_end_user_spent_is_looked_for_in_the_stream_too(place: Place) -> None:
    zoe = replace(ADMISSION, end_user="zoe", end_user_trusted=True)
    for name, sequence, admission in (("a", 1, zoe), ("b", 2, ADMISSION)):
        fields = stream_fields(name, sequence=sequence, charged_microcredits=7, admission=admission)
        await place.redis.xadd(KEYS.stream, fields)  # type: ignore[arg-type]
    held = [Hold(5), Hold(6, subject=Subject("acme", "research", "ada", "ada-laptop", "zoe"))]
    reading = replace(TOTAL, settled=7, held=6, open_holds=1, end_user="zoe")
    assert (await place.report(reading, holds=held)).exit_code == 0
