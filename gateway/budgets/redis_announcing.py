"""Announcements that no settlement makes: of a counter that was seeded, of a limit that begins to refuse.

They are news, not accounts: when Redis does not answer, the next settlement or refusal makes up for it.
"""

from __future__ import annotations

import asyncio

from gateway.budgets.keyspace import PartitionKeys
from gateway.budgets.plan import Charge
from gateway.budgets.redis_scripts import ANNOUNCE
from gateway.errors import StoreUnavailable
from gateway.stores.redis import RedisCalls

REMEMBERED_MAX = 10_000
"""Refusals remembered, to spare Redis a call for each: counters in use at once, by far. Emptied when full."""


class Announcer:
    """Tells the alert stream, once for each counter and limit, whatever the number of gateways."""

    def __init__(self, redis: RedisCalls) -> None:
        self._redis = redis
        self._refused: set[tuple[str, str]] = set()
        self._running: set[asyncio.Task[None]] = set()

    async def reached(self, keys: PartitionKeys, charge: Charge) -> None:
        """Announce the levels that a counter has come to. Raises `StoreUnavailable`."""
        if charge.ladder is not None:
            await self._redis.run(
                ANNOUNCE, (charge.key, keys.alerts), (charge.ladder.limit, charge.ladder.text, "", b"")
            )

    def refused(
        self, keys: PartitionKeys, key: str, limit: int, charge: Charge | None, admission: bytes
    ) -> None:
        """Announce, in the background, that what is settled leaves no room. ``charge`` None: in a balance."""
        if (key, str(limit)) in self._refused:
            return
        if len(self._refused) >= REMEMBERED_MAX:
            self._refused.clear()
        self._refused.add((key, str(limit)))
        ladder = charge.ladder.text if charge is not None and charge.ladder is not None else ""
        task = asyncio.create_task(self._announce(keys, key, limit, ladder, admission))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Wait until what is under way is told. Idempotent."""
        await asyncio.gather(*self._running)

    async def _announce(
        self, keys: PartitionKeys, key: str, limit: int, ladder: str, admission: bytes
    ) -> None:
        try:
            await self._redis.run(ANNOUNCE, (key, keys.alerts), (limit, ladder, "1", admission))
        except StoreUnavailable:
            self._refused.discard((key, str(limit)))
