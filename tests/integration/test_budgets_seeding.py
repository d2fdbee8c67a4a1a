"""Counters that start in the middle of their window begin with what was spent, whoever else is at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import redis

from gateway.budgets.directory import Directory
from gateway.budgets.keyspace import partition_keys
from gateway.budgets.model import Scope, Window
from gateway.budgets.ports import CounterReading, Spent, SpentQuery
from gateway.budgets.redis_books import RedisBooks
from gateway.budgets.redis_holds import RedisHolds
from gateway.errors import BudgetExceeded, StoreUnavailable
from gateway.stores.redis import RedisStore
from tests.unit.budgets.making import ask_for, directory_of, key_limit, limit_on


class RecordedLedger:
    """A ledger that has committed what a test moved into it, as the real one does from the stream."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self.rows: dict[str, tuple[int, int]] = {}
        self.queries: list[SpentQuery] = []
        self.down = False
        self.before_answer: asyncio.Event | None = None
        self.asked = asyncio.Event()

    def commit(self, count: int | None = None) -> None:
        """Take the oldest entries off the stream for good."""
        stream = partition_keys(0).stream
        for entry_id, fields in self._client.xrange(stream, count=count):
            self.rows[fields[b"id"].decode()] = (int(fields[b"n"]), int(fields[b"c"]))
            self._client.xdel(stream, entry_id)

    async def spent(self, query: SpentQuery) -> Spent:
        self.queries.append(query)
        self.asked.set()
        if self.before_answer is not None:
            await self.before_answer.wait()
        if self.down:
            raise StoreUnavailable("Postgres is down.")
        total = sum(cost for sequence, cost in self.rows.values() if sequence <= query.upto_sequence)
        return Spent(total, frozenset(self.rows) & frozenset(query.unread))

    def close(self) -> None:
        self._client.close()


class Gateway:
    def __init__(self, url: str, directory: Directory, ledger: RecordedLedger) -> None:
        self.store = RedisStore(url)
        self.holds = RedisHolds(self.store, directory, ledger)
        self.books = RedisBooks(self.store)

    async def spend(self, amount: int) -> None:
        ask = ask_for(amount)
        await self.holds.settle(await self.holds.hold(ask), ask, amount, b"{}")

    async def counter(self, scope: Scope, window: Window = Window.TOTAL) -> CounterReading:
        found = [c async for c in self.books.counters() if (c.scope, c.window) == (scope, window)]
        assert len(found) == 1
        return found[0]

    async def close(self) -> None:
        await self.holds.close()
        await self.store.close()


class Fleet:
    """Gateways on one Redis and one ledger."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ledger = RecordedLedger(url)
        self.gateways: list[Gateway] = []

    async def gateway(self, directory: Directory, ledger: RecordedLedger | None = None) -> Gateway:
        made = Gateway(self.url, directory, ledger or self.ledger)
        self.gateways.append(made)
        await made.holds.start()
        return made

    def empty_redis(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()


@pytest.fixture
async def fleet(redis_url: str) -> AsyncIterator[Fleet]:
    made = Fleet(redis_url)
    yield made
    for gateway in made.gateways:
        await gateway.close()
    made.ledger.close()


NEW_DAY_LIMIT = directory_of([key_limit(1000, Window.DAY)], version=2)


@pytest.mark.parametrize("committed", [0, 1, 2, None])
async def test_a_new_limit_starts_from_rows_and_unread_stream_wherever_each_request_is(
    fleet: Fleet, committed: int | None
) -> None:
    gateway = await fleet.gateway(directory_of())
    for amount in (100, 200, 300):
        await gateway.spend(amount)
    if committed != 0:
        fleet.ledger.commit(committed)
    await gateway.holds.set_directory(NEW_DAY_LIMIT)
    grant = await gateway.holds.hold(ask_for(50))
    assert grant.remaining == 350
    assert (await gateway.counter(Scope.KEY, Window.DAY)).settled == 600


async def test_a_request_in_flight_counts_once_when_it_settles_during_seeding(fleet: Fleet) -> None:
    gateway = await fleet.gateway(directory_of())
    ask = ask_for(400)
    grant = await gateway.holds.hold(ask)
    await gateway.spend(100)
    await gateway.holds.set_directory(NEW_DAY_LIMIT)
    fleet.ledger.asked.clear()
    fleet.ledger.before_answer = asyncio.Event()
    newcomer = asyncio.create_task(gateway.holds.hold(ask_for(50)))
    await fleet.ledger.asked.wait()
    await gateway.holds.settle(grant, ask, 250, b"{}")
    fleet.ledger.commit()
    fleet.ledger.before_answer.set()
    assert (await newcomer).remaining == 1000 - 100 - 250 - 50
    counter = await gateway.counter(Scope.KEY, Window.DAY)
    assert (counter.settled, counter.held, counter.unseeded) == (350, 50, False)


async def test_an_empty_redis_is_rebuilt_from_the_ledger(fleet: Fleet) -> None:
    gateway = await fleet.gateway(directory_of([key_limit(1000, Window.DAY)]))
    await gateway.spend(700)
    fleet.ledger.commit()
    fleet.empty_redis()
    with pytest.raises(BudgetExceeded):
        await gateway.holds.hold(ask_for(301))
    assert (await gateway.holds.hold(ask_for(300))).remaining == 0
    assert (await gateway.counter(Scope.ORG)).settled == 700


async def test_every_gateway_notices_that_redis_was_emptied(fleet: Fleet) -> None:
    directory = directory_of([key_limit(1000, Window.DAY)])
    first, second = await fleet.gateway(directory), await fleet.gateway(directory)
    await second.spend(700)
    fleet.ledger.commit()
    fleet.empty_redis()
    await first.holds.hold(ask_for(0))
    with pytest.raises(BudgetExceeded):
        await second.holds.hold(ask_for(301))


async def test_a_hold_that_redis_lost_is_charged_by_its_settlement(fleet: Fleet) -> None:
    gateway = await fleet.gateway(directory_of([key_limit(1000, Window.DAY)]))
    ask = ask_for(200)
    grant = await gateway.holds.hold(ask)
    fleet.empty_redis()
    await gateway.holds.hold(ask_for(0))
    settled = await gateway.holds.settle(grant, ask, 150, b"{}")
    assert settled.remaining == 850
    assert (await gateway.counter(Scope.KEY, Window.DAY)).settled == 150
    fleet.ledger.commit()
    assert fleet.ledger.rows[ask.request_id][1] == 150


async def test_gateways_that_seed_the_same_counter_at_once_count_it_once(fleet: Fleet) -> None:
    gateways = [await fleet.gateway(directory_of()) for _ in range(3)]
    await gateways[0].spend(400)
    fleet.ledger.commit()
    await gateways[0].holds.set_directory(NEW_DAY_LIMIT)
    asks = [(gateway, ask_for(10)) for gateway in gateways for _ in range(20)]
    grants = await asyncio.gather(*(gateway.holds.hold(ask) for gateway, ask in asks))
    assert min(grant.remaining or 0 for grant in grants) == 1000 - 400 - 600
    counter = await gateways[0].counter(Scope.KEY, Window.DAY)
    assert (counter.settled, counter.held) == (400, 600)


async def test_a_seeding_whose_gateway_died_is_taken_over(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.budgets.redis_seeding.PROTECTED_US", 0)
    dying, living = await fleet.gateway(directory_of()), await fleet.gateway(directory_of())
    await dying.spend(400)
    await dying.holds.set_directory(NEW_DAY_LIMIT)
    fleet.ledger.asked.clear()
    fleet.ledger.before_answer = asyncio.Event()
    stuck = asyncio.create_task(dying.holds.hold(ask_for(1)))
    await fleet.ledger.asked.wait()
    fleet.ledger.before_answer, never = None, fleet.ledger.before_answer
    assert (await living.holds.hold(ask_for(100))).remaining == 500
    never.set()
    await stuck
    assert (await living.counter(Scope.KEY, Window.DAY)).settled == 400


async def test_gateways_do_not_take_a_seeding_from_each_other_while_the_ledger_is_slow(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.budgets.redis_seeding.PROTECTED_US", 200_000)
    monkeypatch.setattr("gateway.budgets.redis_protecting.PROTECT_EVERY_S", 0.02)
    monkeypatch.setattr("gateway.budgets.redis_holds.HOLD_ATTEMPTS_S", 1.0)
    first, second = await fleet.gateway(directory_of()), await fleet.gateway(directory_of())
    await first.spend(400)
    await first.holds.set_directory(NEW_DAY_LIMIT)
    fleet.ledger.asked.clear()
    fleet.ledger.queries.clear()
    fleet.ledger.before_answer = answer = asyncio.Event()
    seeding = asyncio.create_task(first.holds.hold(ask_for(1)))
    await fleet.ledger.asked.wait()
    with pytest.raises(StoreUnavailable):  # five times as long as one protects who is not heard of
        await second.holds.hold(ask_for(1))
    asked = len(fleet.ledger.queries)
    answer.set()
    assert (await first.holds.hold(ask_for(100))).remaining is not None
    assert asked == 1
    with suppress(StoreUnavailable):  # it waited as long as the second one
        await seeding
    assert (await second.counter(Scope.KEY, Window.DAY)).settled == 400


async def test_when_the_ledger_is_down_nothing_is_admitted_on_an_unknown_counter(fleet: Fleet) -> None:
    gateway = await fleet.gateway(directory_of())
    await gateway.spend(400)
    await gateway.holds.set_directory(NEW_DAY_LIMIT)
    fleet.ledger.down = True
    with pytest.raises(StoreUnavailable):
        await gateway.holds.hold(ask_for(1))
    fleet.ledger.down = False
    assert (await gateway.holds.hold(ask_for(100))).remaining == 500


async def test_a_gateway_that_the_ledger_does_not_answer_keeps_no_other_from_seeding(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.budgets.redis_holds.HOLD_ATTEMPTS_S", 0.2)
    cut_off = RecordedLedger(fleet.url)
    cut_off.down = True
    alone, other = await fleet.gateway(directory_of()), await fleet.gateway(directory_of(), cut_off)
    await alone.spend(400)
    await alone.holds.set_directory(NEW_DAY_LIMIT)
    with pytest.raises(StoreUnavailable):
        await other.holds.hold(ask_for(1))
    fleet.ledger.asked.clear()
    fleet.ledger.queries.clear()
    fleet.ledger.before_answer = answer = asyncio.Event()
    seeding = asyncio.create_task(alone.holds.hold(ask_for(100)))
    async with asyncio.timeout(1):
        await fleet.ledger.asked.wait()
    with pytest.raises(StoreUnavailable):
        await other.holds.hold(ask_for(1))
    answer.set()
    with suppress(StoreUnavailable):  # it waited as long as the other one
        await seeding
    assert (await alone.holds.hold(ask_for(100))).remaining is not None
    assert len(fleet.ledger.queries) == 1
    cut_off.close()


async def test_a_limit_that_comes_back_counts_what_was_spent_without_it(fleet: Fleet) -> None:
    gateway = await fleet.gateway(directory_of([key_limit(1000, Window.DAY)]))
    await gateway.spend(100)
    await gateway.holds.set_directory(directory_of(version=2))
    await gateway.spend(200)
    await gateway.holds.set_directory(directory_of([key_limit(1000, Window.DAY)], version=3))
    assert (await gateway.holds.hold(ask_for(50))).remaining == 650


async def test_another_time_zone_means_other_windows_with_their_own_past(fleet: Fleet) -> None:
    limits = [limit_on(Scope.ORG, "acme", 1000, Window.MONTH)]
    gateway = await fleet.gateway(directory_of(limits, time_zone="Asia/Kolkata"))
    await gateway.spend(100)
    await gateway.holds.set_directory(directory_of(limits, version=2, time_zone="America/St_Johns"))
    await gateway.holds.hold(ask_for(50))
    latest = [c async for c in gateway.books.counters() if c.window is Window.MONTH][-1]
    assert latest.held == 50
    assert fleet.ledger.queries[-1].start_us == latest.start_us


async def test_the_highest_version_wins_on_all_gateways(fleet: Fleet) -> None:
    old = await fleet.gateway(directory_of([key_limit(100)], version=1))
    new = await fleet.gateway(directory_of([key_limit(900)], version=2))
    assert (await old.holds.hold(ask_for(500))).remaining == 400
    late = await fleet.gateway(directory_of([key_limit(100)], version=1))
    assert (await late.holds.hold(ask_for(300))).remaining == 100
    assert (await new.holds.limits("acme")).version == 2


async def test_equal_content_under_a_new_version_changes_that_alone(fleet: Fleet) -> None:
    first = await fleet.gateway(directory_of([key_limit(100)], version=1))
    key = first.holds.keys("acme").rules("acme")
    flat = await first.store.command("HGETALL", key)
    await fleet.gateway(directory_of([key_limit(100)], version=7))
    before, after = (
        dict(zip(all_of_it[::2], all_of_it[1::2], strict=True))
        for all_of_it in (flat, await first.store.command("HGETALL", key))
    )
    assert (before.pop(b"v"), after.pop(b"v")) == (b"1", b"7")
    assert after == before


async def test_a_fresh_window_needs_no_ledger(fleet: Fleet) -> None:
    """Only the org's total is asked for; a day that begins after the limit was published starts at zero."""
    gateway = await fleet.gateway(directory_of([key_limit(100, Window.DAY)]))
    keys = gateway.holds.keys("acme")
    published = await gateway.store.command("HGETALL", keys.rules("acme"))
    for field in published[::2]:
        if field.startswith(b"i:"):
            await gateway.store.command("HSET", keys.rules("acme"), field, 1)
    reloaded = await fleet.gateway(directory_of([key_limit(100, Window.DAY)]))
    await reloaded.holds.hold(ask_for(10))
    assert [(query.scope, query.end_us) for query in fleet.ledger.queries] == [(Scope.ORG, None)]


async def test_settlements_carry_growing_sequence_numbers_even_over_an_empty_redis(fleet: Fleet) -> None:
    gateway = await fleet.gateway(directory_of())
    for _ in range(3):
        await gateway.spend(1)
    fleet.ledger.commit()
    before = [sequence for sequence, _ in fleet.ledger.rows.values()]
    assert before == list(range(before[0], before[0] + 3))
    fleet.empty_redis()
    await gateway.spend(1)
    fleet.ledger.commit()
    assert max(sequence for sequence, _ in fleet.ledger.rows.values()) > max(before)


async def test_the_counter_of_a_limit_that_was_taken_away_says_nothing_until_it_is_seeded_anew(
    fleet: Fleet,
) -> None:
    gateway = await fleet.gateway(directory_of([key_limit(1000)]))
    await gateway.spend(100)
    await gateway.holds.set_directory(directory_of(version=2))
    await gateway.spend(50)  # counted by nobody but the org's total
    assert [c.scope async for c in gateway.books.counters()] == [Scope.ORG]
    await gateway.holds.set_directory(directory_of([key_limit(1000)], version=3))
    assert [c.scope async for c in gateway.books.counters()] == [Scope.ORG]
    await gateway.spend(7)
    assert (await gateway.counter(Scope.KEY)).settled == 157
