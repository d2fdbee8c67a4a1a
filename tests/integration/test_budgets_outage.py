"""Redis away for longer than holds live: who lives is charged what was used, who died what was held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.budgets.holding import Holding, Holdings
from gateway.budgets.keeper import RENEWALS_PER_TTL, Keeper
from gateway.budgets.keyspace import partition_keys
from gateway.budgets.model import Outcome
from gateway.budgets.ports import EmptyLedger
from gateway.budgets.redis_holds import RedisHolds
from gateway.errors import StoreUnavailable
from gateway.stores.redis import RedisStore
from tests.support.servers import TestRedis
from tests.unit.budgets.making import ask_for, directory_of

SHORT_S = 0.2
LONG_S = 60.0


@asynccontextmanager
async def connected(url: str, *, hold_ttl_s: float) -> AsyncIterator[RedisHolds]:
    """A gateway's holds, over a connection of its own."""
    store = RedisStore(url)
    await store.command("CONFIG", "SET", "appendfsync", "always")
    holds = RedisHolds(store, directory_of(), EmptyLedger(), hold_ttl_s=hold_ttl_s)
    await holds.start()
    try:
        yield holds
    finally:
        await holds.close()
        await store.close()


async def charged(url: str) -> dict[str, int]:
    """What stands on the stream: microcredits by request id."""
    store = RedisStore(url)
    entries = await store.command("XRANGE", partition_keys(0).stream, "-", "+")
    await store.close()
    rows = [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in entries]
    return {row[b"id"].decode(): int(row[b"c"]) for row in rows}


async def rounds(keeper: Keeper, count: int) -> None:
    for _ in range(count):
        await keeper.reap()


async def test_a_gateway_that_lives_through_a_long_outage_settles_what_was_used(
    private_redis: TestRedis,
) -> None:
    url, overdue = private_redis.url, asyncio.Event()

    def lost(_holding: Holding) -> None:
        overdue.set()

    async with connected(url, hold_ttl_s=SHORT_S) as holds, connected(url, hold_ttl_s=LONG_S) as renewing:
        living = Keeper(renewing, hold_ttl_s=SHORT_S, lost=lost)
        dead = Keeper(holds, hold_ttl_s=LONG_S)
        reaper = Keeper(holds, hold_ttl_s=SHORT_S)
        await rounds(reaper, RENEWALS_PER_TTL)
        used, orphan = await Holdings(holds, living).take(ask_for(5000)), ask_for(700)
        used.forwarded()
        await Holdings(holds, dead).take(orphan)
        await asyncio.to_thread(private_redis.kill)
        await overdue.wait()
        with pytest.raises(StoreUnavailable):
            await used.settle(10, b"{}")
        await rounds(reaper, 1)
        await asyncio.to_thread(private_redis.start)
        await rounds(reaper, RENEWALS_PER_TTL)
        assert await charged(url) == {}, "all have as long as a hold lives to say that they do"
        await living.keep()
        await rounds(reaper, 1)
        assert await charged(url) == {orphan.request_id: 700}
        assert (await used.settle(10, b"{}")).outcome is Outcome.DONE
        assert await charged(url) == {orphan.request_id: 700, used.ask.request_id: 10}
        assert len(living) == 0
