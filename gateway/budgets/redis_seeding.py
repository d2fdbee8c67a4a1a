"""Filling a counter that starts in the middle of its window, while requests go on.

Three steps, each safe to repeat by any gateway: attach (from here on Redis counts what settles, up to the
sequence number X everything else is on record), ask the ledger and the unread stream for what was charged up
to X, finish (add it and open the counter). No request that the counter applies to is admitted in between. A
gateway that dies half-way is taken over: attaching again starts from a new X.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable

from gateway.budgets.keyspace import PartitionKeys
from gateway.budgets.plan import Charge
from gateway.budgets.ports import Ledger
from gateway.budgets.redis_announcing import Announcer
from gateway.budgets.redis_charged import ChargedBefore
from gateway.budgets.redis_protecting import PROTECTED_US, protected
from gateway.budgets.redis_record import HoldRecord
from gateway.budgets.redis_scripts import ATTACH, FINISH
from gateway.stores.redis import RedisCalls

BUSY_WAIT_S = 0.02


class Seeder:
    """Seeds counters, each at most once at a time in this process."""

    def __init__(self, redis: RedisCalls, ledger: Ledger) -> None:
        self._redis = redis
        self._before = ChargedBefore(redis, ledger)
        self._announcer = Announcer(redis)
        self._running: dict[str, asyncio.Task[None]] = {}

    async def seed(self, charges: Iterable[Charge], keys: PartitionKeys) -> None:
        """Make the counters of ``charges`` usable, or wait a moment for whoever is doing so.

        Raises `StoreUnavailable` when Redis or the ledger does not answer.
        """
        for task in [self._begun(charge, keys) for charge in charges]:
            # Shielded: others wait for the same seeding, and half of one helps nobody.
            await asyncio.shield(task)

    def _begun(self, charge: Charge, keys: PartitionKeys) -> asyncio.Task[None]:
        task = self._running.get(charge.key)
        if task is None:
            task = self._running[charge.key] = asyncio.create_task(self._seed(charge, keys))
            task.add_done_callback(lambda done: self._ended(charge.key, done))
        return task

    async def close(self) -> None:
        """Let seedings under way end."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # whoever waited for it may have given up

    async def _seed(self, charge: Charge, keys: PartitionKeys) -> None:
        token = secrets.token_hex(8)
        held = await self._matching_holds(charge, keys)
        expiry = "" if charge.expiry_ms is None else charge.expiry_ms
        answer = await self._redis.run(
            ATTACH,
            (keys.holds, keys.sequence, keys.counter_index, charge.key),
            (token, charge.since_us, expiry, PROTECTED_US, *held),
        )
        if answer[0] == b"busy":
            await asyncio.sleep(BUSY_WAIT_S)
        if answer[0] != b"attached":
            return
        async with protected(self._redis, charge.key, token):
            (base,) = await self._before.each([charge], keys, int(answer[1]))
        # Lost: another gateway took over, and what it adds is right.
        answer = await self._redis.run(FINISH, (charge.key,), (token, base))
        if answer[0] == b"ok" and base:
            # What was spent before may be above a level, or all of the limit: then no settlement comes to tell.
            await self._announcer.reached(keys, charge)

    async def _matching_holds(self, charge: Charge, keys: PartitionKeys) -> list[bytes]:
        flat = await self._redis.command("HGETALL", keys.holds)
        return [
            request_id
            for request_id, record in zip(flat[::2], flat[1::2], strict=True)
            if HoldRecord.parse(record).counts_for(charge)
        ]
