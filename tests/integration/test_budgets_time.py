"""What depends on the clock, shown on a real Redis by setting what it remembers rather than by waiting."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from gateway.budgets import redis_holds
from gateway.budgets.model import Grace, Scope, Window
from gateway.budgets.ports import EmptyLedger
from gateway.budgets.redis_books import RedisBooks
from gateway.budgets.redis_holds import RedisHolds
from gateway.budgets.windows import Calendar
from gateway.errors import BudgetExceeded, RateLimited
from gateway.stores.redis import RedisStore
from tests.unit.budgets.making import ADA, ask_for, directory_of, key_limit, limit_on


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    made = RedisStore(redis_url)
    yield made
    await made.close()


async def key_of(store: RedisStore, window: Window) -> str:
    keys = [
        name.decode()
        for name in await store.command("ZRANGE", "tg:{p0}:ci", 0, -1)
        if b"|key|" in name and window.value.encode() in name
    ]
    assert len(keys) == 1
    return keys[0]


async def test_when_grace_has_run_out_the_limit_alone_stands(store: RedisStore) -> None:
    limit = limit_on(Scope.KEY, ADA.key, 1000, Window.DAY, grace=Grace(percent=10, minutes=60))
    holds = RedisHolds(store, directory_of([limit]), EmptyLedger())
    await holds.start()
    ask = ask_for(990)
    await holds.settle(await holds.hold(ask), ask, 990, b"{}")
    assert (await holds.hold(ask_for(20))).grace
    began_us = time.time_ns() // 1000 - 61 * 60 * 1_000_000
    await store.command("HSET", await key_of(store, Window.DAY), "g", began_us)
    with pytest.raises(BudgetExceeded, match=r"0\.00099 of 0\.001 credits"):
        await holds.hold(ask_for(20))
    await holds.close()


async def test_requests_older_than_a_minute_no_longer_count(store: RedisStore) -> None:
    holds = RedisHolds(store, directory_of(), EmptyLedger())
    await holds.start()
    log = holds.keys("acme").admissions("acme", ADA.key)
    await holds.hold(ask_for(1, requests_per_minute=2))
    await holds.hold(ask_for(1, requests_per_minute=2))
    with pytest.raises(RateLimited):
        await holds.hold(ask_for(1, requests_per_minute=2))
    await store.command("LSET", log, 0, time.time_ns() // 1000 - 60_000_001)
    await holds.hold(ask_for(1, requests_per_minute=2))
    with pytest.raises(RateLimited):
        await holds.hold(ask_for(1, requests_per_minute=2))
    assert await store.command("LLEN", log) == 2
    await holds.close()


@pytest.mark.parametrize("skew_days", [-40, -1, 1, 40])
async def test_a_gateway_with_a_wrong_clock_charges_the_windows_of_redis(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, skew_days: int
) -> None:
    class Skewed:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def time_ns() -> int:
            return time.time_ns() + skew_days * 86_400 * 1_000_000_000

    monkeypatch.setattr(redis_holds, "time", Skewed)
    holds = RedisHolds(store, directory_of([key_limit(1000, Window.DAY)]), EmptyLedger())
    await holds.start()
    grant = await holds.hold(ask_for(10))
    (counter,) = [c async for c in RedisBooks(store).counters() if c.scope is Scope.KEY]
    assert counter.end_us is not None
    assert counter.start_us <= grant.started_at_us < counter.end_us
    assert Calendar("Europe/Paris").around(grant.started_at_us).day.start_us == counter.start_us
    await holds.close()


async def test_counters_of_past_windows_expire_after_everything_that_could_still_charge_them(
    store: RedisStore,
) -> None:
    holds = RedisHolds(store, directory_of([key_limit(1000, Window.DAY)]), EmptyLedger())
    await holds.start()
    await holds.hold(ask_for(10))
    left_s = await store.command("TTL", await key_of(store, Window.DAY))
    assert 9 * 86_400 <= left_s <= 10 * 86_400 + 3600
    assert await store.command("TTL", (await store.command("ZRANGE", "tg:{p0}:ci", -1, -1))[0]) == -1
    await holds.close()
