"""Books are compared again and again, whatever came in between."""

from __future__ import annotations

import asyncio

from gateway.ledger.reconcile import Report
from gateway.ledger.watchman import Watchman
from gateway.stores.postgres import PostgresError
from gateway.stores.redis import RedisStore


async def test_a_round_that_fails_in_any_way_is_not_the_last_one(redis_url: str) -> None:
    redis, told, failures = RedisStore(redis_url), asyncio.Event(), [PostgresError(), ValueError()]

    async def reconcile() -> Report:
        if failures:
            raise failures.pop()
        return Report((), 0, 0, 0, 0)

    watchman = Watchman(redis, reconcile, lambda _: told.set(), every_s=0.02)
    await watchman.start()
    async with asyncio.timeout(10):
        await told.wait()
    await watchman.stop()
    await redis.close()
