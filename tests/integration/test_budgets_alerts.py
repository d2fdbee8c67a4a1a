"""What is announced of limits and balances, on both implementations: in memory and in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from gateway.budgets.balances import BalanceChange
from gateway.budgets.crossing import Crossing, CrossingKind
from gateway.budgets.directory import Directory, OrgRules
from gateway.budgets.keyspace import partition_keys, partition_of
from gateway.budgets.levels import OrgAlerts
from gateway.budgets.memory import MemoryHolds
from gateway.budgets.model import Grace, Limit, Scope, Window
from gateway.budgets.ports import EmptyLedger, Spent, SpentQuery
from gateway.budgets.redis_holds import RedisHolds
from gateway.budgets.settled_message import SettledMessage
from gateway.errors import BalanceExhausted, BudgetExceeded
from gateway.stores.redis import RedisStore
from tests.unit.budgets.making import ADA, ask_for, directory_of, key_limit, limit_on

KEYS = partition_keys(partition_of("acme", 4))


@dataclass
class Setup:
    holds: MemoryHolds | RedisHolds
    crossings: Callable[[], Awaitable[list[Crossing]]]
    grant_credits: Callable[[BalanceChange], Awaitable[bool]]

    async def spend(self, amount: int) -> None:
        ask = ask_for(amount)
        await self.holds.settle(await self.holds.hold(ask), ask, amount, b"{}")

    async def told(self) -> list[tuple[str, int, tuple[int, ...], int]]:
        """What was announced so far: kind, limit, levels, settled."""
        return [(c.kind.value, c.limit, c.levels, c.settled) for c in await self.crossings()]


Start = Callable[..., Awaitable[Setup]]


@pytest.fixture(params=["memory", "redis"])
def url_of_redis(request: pytest.FixtureRequest) -> str | None:
    """None: in memory."""
    return str(request.getfixturevalue("redis_url")) if request.param == "redis" else None


@pytest.fixture
async def start(url_of_redis: str | None) -> AsyncIterator[Start]:
    closing: list[Callable[[], Awaitable[None]]] = []

    async def in_memory(directory: Directory, hold_ttl_s: float = 60.0) -> Setup:
        holds = MemoryHolds(directory, hold_ttl_s=hold_ttl_s)

        async def crossings() -> list[Crossing]:
            return holds.crossings

        async def grant(change: BalanceChange) -> bool:
            return await holds.change_balance("acme", change)

        return Setup(holds, crossings, grant)

    async def in_redis(directory: Directory, hold_ttl_s: float = 60.0) -> Setup:
        assert url_of_redis is not None
        store = RedisStore(url_of_redis)
        holds = RedisHolds(store, directory, EmptyLedger(), partitions=4, hold_ttl_s=hold_ttl_s)
        closing.extend([holds.close, store.close])
        await holds.start()

        async def crossings() -> list[Crossing]:
            await holds.close()  # refusals are announced in the background
            return await crossings_of(store)

        async def grant(change: BalanceChange) -> bool:
            return await holds.balances.change("acme", change)

        return Setup(holds, crossings, grant)

    yield in_memory if url_of_redis is None else in_redis
    for close in closing:
        await close()


async def crossings_of(store: RedisStore) -> list[Crossing]:
    entries = await store.command("XRANGE", KEYS.alerts, "-", "+")
    return [
        Crossing.parse(KEYS, dict(zip(flat[::2], flat[1::2], strict=True))) for _entry_id, flat in entries
    ]


# ------------------------------------------------------------------ levels


async def test_each_level_is_announced_once_by_the_settlement_that_comes_to_it(start: Start) -> None:
    setup = await start(directory_of([key_limit(1000)]))
    for amount in (740, 9, 1, 100, 49, 1, 90, 10):
        await setup.spend(amount)
    assert await setup.told() == [
        ("level", 1000, (75,), 750),
        ("level", 1000, (90,), 900),
        ("level", 1000, (100,), 1000),
    ]


async def test_one_jump_over_several_levels_is_one_announcement_that_names_them_all(start: Start) -> None:
    setup = await start(directory_of([key_limit(1000)]))
    await setup.spend(990)
    assert await setup.told() == [("level", 1000, (75, 90), 990)]


async def test_an_announcement_says_whose_limit_and_which_call_it_was(start: Start) -> None:
    setup = await start(directory_of([limit_on(Scope.TEAM, "research", 100, Window.MONTH)]))
    await setup.spend(80)
    (crossing,) = await setup.crossings()
    assert crossing.counter is not None
    assert (crossing.org, crossing.counter.scope, crossing.counter.scope_id) == (
        "acme",
        Scope.TEAM,
        "research",
    )
    assert crossing.epoch == crossing.counter.start_us > 0
    assert b'"user_id":"ada"' in crossing.admission


async def test_ten_thousand_settlements_at_once_announce_three_levels(start: Start) -> None:
    setup = await start(directory_of([limit_on(Scope.ORG, "acme", 10_000, Window.DAY)]))
    if isinstance(setup.holds, MemoryHolds):
        await setup.spend(5_000)  # what is kept there grows with the square of the calls
        await asyncio.gather(*(setup.spend(50) for _ in range(100)))
    else:
        await asyncio.gather(*(setup.spend(1) for _ in range(10_000)))
    assert await setup.told() == [
        ("level", 10_000, (75,), 7_500),
        ("level", 10_000, (90,), 9_000),
        ("level", 10_000, (100,), 10_000),
    ]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (Limit(Scope.KEY, ADA.key, Window.DAY, 1000, alerts=(50, 80)), [(50, 80)]),
        (Limit(Scope.KEY, ADA.key, Window.DAY, 1000, alerts=()), []),
        (Limit(Scope.KEY, ADA.key, Window.DAY, 1000), [(10,)]),
    ],
)
async def test_levels_are_those_of_the_limit_else_of_the_org(
    start: Start, limit: Limit, expected: list[tuple[int, ...]]
) -> None:
    rules = OrgRules("acme", limits=[limit], alerts=OrgAlerts(levels=(10, 99)), version=1)
    setup = await start(Directory({"acme": rules}))
    await setup.spend(850)
    assert [levels for _, _, levels, _ in await setup.told()] == expected


async def test_a_limit_that_only_watches_is_announced_and_says_so(start: Start) -> None:
    setup = await start(directory_of([key_limit(100, enforce=False)]))
    await setup.spend(130)
    (crossing,) = await setup.crossings()
    assert (crossing.levels, crossing.enforced) == ((75, 90, 100), False)


async def test_a_raised_limit_announces_its_levels_anew_and_a_lowered_one_at_once(start: Start) -> None:
    setup = await start(directory_of([key_limit(1000)]))
    await setup.spend(800)
    await setup.holds.set_directory(directory_of([key_limit(2000)], version=2))
    await setup.spend(100)
    await setup.spend(700)
    await setup.holds.set_directory(directory_of([key_limit(1700)], version=3))
    await setup.spend(1)
    assert await setup.told() == [
        ("level", 1000, (75,), 800),
        ("level", 2000, (75,), 1600),
        ("level", 1700, (75, 90), 1601),
    ]


async def test_what_the_reaper_charges_comes_to_levels_too(start: Start) -> None:
    setup = await start(directory_of([key_limit(100)]), hold_ttl_s=0)
    await setup.holds.hold(ask_for(80))
    assert await setup.holds.reap() == 1
    assert await setup.told() == [("level", 100, (75,), 80)]


async def test_holds_and_releases_come_to_no_level(start: Start) -> None:
    setup = await start(directory_of([key_limit(100)]))
    ask = ask_for(50)
    grant = await setup.holds.hold(ask)
    assert await setup.holds.extend(grant, ask, 45, 45) == 45
    await setup.holds.release(ask.request_id, "acme")
    assert await setup.told() == []


# ------------------------------------------------------------------ grace and refusals


async def test_grace_is_announced_when_it_begins_with_its_end(start: Start) -> None:
    limit = limit_on(Scope.KEY, ADA.key, 1000, Window.DAY, grace=Grace(percent=10, minutes=60))
    setup = await start(directory_of([limit]))
    await setup.spend(980)
    for _ in range(2):
        await setup.spend(30)
    found = await setup.crossings()
    assert [(c.kind.value, c.settled) for c in found] == [("level", 980), ("level", 1010), ("grace", 1010)]
    until_us = found[-1].grace_until_us
    assert until_us is not None
    assert 0 < until_us - found[-1].at_us <= 3_600_000_000


async def test_the_first_refusal_by_a_limit_that_is_used_up_is_announced_once(start: Start) -> None:
    setup = await start(directory_of([key_limit(100)]))
    await setup.spend(70)
    for _ in range(3):
        with pytest.raises(BudgetExceeded):
            await setup.holds.hold(ask_for(40))
    assert await setup.told() == [("stop", 100, (), 70)]


async def test_a_limit_lowered_below_what_is_spent_is_announced_by_the_first_refusal(start: Start) -> None:
    setup = await start(directory_of([key_limit(1000)]))
    await setup.spend(500)
    await setup.holds.set_directory(directory_of([key_limit(400)], version=2))
    with pytest.raises(BudgetExceeded):
        await setup.holds.hold(ask_for(1))
    assert await setup.told() == [("level", 400, (75, 90, 100), 500), ("stop", 400, (), 500)]


# ------------------------------------------------------------------ balances


def prepaid(low_balance: int | None = None) -> Directory:
    rules = OrgRules("acme", balance_required=True, alerts=OrgAlerts(low_balance=low_balance), version=1)
    return Directory({"acme": rules})


async def test_a_balance_is_announced_by_what_is_used_of_it(start: Start) -> None:
    setup = await start(prepaid())
    await setup.grant_credits(BalanceChange(1, 0, 1000, ""))
    for amount in (740, 10, 240, 10):
        await setup.spend(amount)
    assert await setup.told() == [
        ("level", 1000, (75,), 250),
        ("level", 1000, (90,), 10),
        ("level", 1000, (100,), 0),
    ]
    assert {c.counter for c in await setup.crossings()} == {None}


async def test_low_balance_notifications_come_once_and_anew_after_a_top_up(start: Start) -> None:
    setup = await start(prepaid(low_balance=300))
    await setup.grant_credits(BalanceChange(1, 0, 500, ""))
    for amount in (200, 10):
        await setup.spend(amount)
    await setup.grant_credits(BalanceChange(2, 1, 500, ""))
    await setup.spend(10)
    await setup.spend(500)
    low = [c for c in await setup.crossings() if c.kind is CrossingKind.LOW]
    assert [(c.low, c.settled, c.epoch) for c in low] == [(300, 300, 500), (300, 280, 1000)]


async def test_an_empty_balance_that_refuses_is_announced(start: Start) -> None:
    setup = await start(prepaid())
    await setup.grant_credits(BalanceChange(1, 0, 100, ""))
    for _ in range(2):
        with pytest.raises(BalanceExhausted):
            await setup.holds.hold(ask_for(200))
    assert await setup.told() == [("stop", 100, (), 100)]


# ------------------------------------------------------------------ in Redis alone


class SpentBefore:
    async def spent(self, query: SpentQuery) -> Spent:
        return Spent(950)


async def test_a_counter_that_begins_above_a_level_is_announced(redis_url: str) -> None:
    store = RedisStore(redis_url)
    holds = RedisHolds(store, directory_of(), SpentBefore(), partitions=4)
    await holds.start()
    warm = ask_for(1)
    await holds.settle(await holds.hold(warm), warm, 1, b"{}")
    await holds.set_directory(directory_of([limit_on(Scope.ORG, "acme", 1000, Window.DAY)], version=2))
    with pytest.raises(BudgetExceeded):
        await holds.hold(ask_for(100))
    await holds.close()
    assert [(c.kind.value, c.levels) for c in await crossings_of(store)] == [
        ("level", (75, 90)),
        ("stop", ()),
    ]
    await store.close()


async def test_an_entry_says_whether_the_balance_was_charged(redis_url: str) -> None:
    store = RedisStore(redis_url)
    for version, required in enumerate((False, True), start=1):
        rules = OrgRules("acme", balance_required=required, version=version)
        holds = RedisHolds(store, Directory({"acme": rules}), EmptyLedger(), partitions=4)
        await holds.start()
        await holds.balances.change("acme", BalanceChange(1, 0, 100, ""))
        ask = ask_for(10)
        await holds.settle(await holds.hold(ask), ask, 10, b"{}")
        await holds.close()
    entries = await store.command("XRANGE", KEYS.stream, "-", "+")
    assert [dict(zip(flat[::2], flat[1::2], strict=True))[b"p"] for _, flat in entries] == [b"", b"1"]
    await store.close()


async def test_each_settlement_is_published_as_it_happens(redis_url: str) -> None:
    store = RedisStore(redis_url)
    async with Redis.from_url(redis_url).pubsub() as channel:
        await channel.subscribe(KEYS.live)
        assert (await channel.get_message(timeout=5) or {})["type"] == "subscribe"
        holds = RedisHolds(store, prepaid(), EmptyLedger(), partitions=4)
        await holds.start()
        await holds.balances.change("acme", BalanceChange(1, 0, 100, ""))
        ask = ask_for(10)
        grant = await holds.hold(ask)
        await holds.settle(grant, ask, 7, b'{"status":"ok"}')
        message = SettledMessage.parse((await channel.get_message(timeout=5) or {})["data"])
    assert (message.request_id, message.started_at_us) == (ask.request_id, grant.started_at_us)
    assert (message.cost, message.balance_charged, message.balance_left) == (7, True, 93)
    assert (message.admission, message.result) == (ask.admission, b'{"status":"ok"}')
    (entry,) = await store.command("XRANGE", KEYS.stream, "-", "+")
    fields = dict(zip(entry[1][::2], entry[1][1::2], strict=True))
    assert (message.sequence, message.finished_at_us) == (int(fields[b"n"]), int(fields[b"f"]))
    await holds.close()
    await store.close()
