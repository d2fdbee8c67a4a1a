"""Keeping a counter or a balance that this gateway is filling from the ledger, for as long as the ledger takes.

Without it gateways that wait for a slow ledger would take it from each other, and none would ever be done. One that
fails leaves it to anybody at once, or it would keep all others away with every attempt of its own. When Redis does not
answer nothing is kept; who takes over then adds what is right.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from gateway.budgets.redis_scripts import PROTECT
from gateway.errors import StoreUnavailable
from gateway.stores.redis import RedisCalls

PROTECTED_US = 5_000_000
"""How long nobody else takes over from one who was not heard of; a ledger query takes milliseconds."""
PROTECT_EVERY_S = 1.0


@asynccontextmanager
async def protected(redis: RedisCalls, key: str, token: str) -> AsyncIterator[None]:
    """While the block runs ``key`` stays with whoever marked it with ``token``; if it fails, with nobody."""
    task = asyncio.create_task(_protect(redis, key, token))
    try:
        yield
    except Exception:
        task.cancel()  # before it says the contrary
        with suppress(StoreUnavailable):
            await redis.run(PROTECT, (key,), (token, "0"))
        raise
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _protect(redis: RedisCalls, key: str, token: str) -> None:
    while True:
        await asyncio.sleep(PROTECT_EVERY_S)
        try:
            answer = await redis.run(PROTECT, (key,), (token, "1"))
        except StoreUnavailable:
            continue
        if answer[0] != b"ok":
            return
