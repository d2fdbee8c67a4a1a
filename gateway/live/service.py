"""Everything of live events in one process: the hub that listeners join, and the telling of calls in flight."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from gateway.budgets.directory import OrgRules
from gateway.budgets.holding import Holding
from gateway.live.backlog import Backlog
from gateway.live.hub import Balances, LiveHub
from gateway.live.in_flight import InFlightTeller
from gateway.live.postgres_settlements import PostgresSettlements
from gateway.live.redis_feed import RedisFeed
from gateway.live.redis_settlements import RedisSettlements
from gateway.stores.postgres import Postgres
from gateway.stores.redis import RedisStore


class Live:
    """`start` and `stop` are idempotent. ``stop`` ends every listener: call it before waiting for open requests."""

    def __init__(
        self,
        redis: RedisStore,
        postgres: Postgres,
        balances: Balances,
        rules: Callable[[str], OrgRules],
        holdings: Callable[[], Iterable[Holding]],
        *,
        gateway_id: str,
        partitions: int,
        now: Callable[[], datetime],
    ) -> None:
        """``rules``: of an organisation, as they are now. ``holdings``: the open holds of this process."""
        self.backlog = Backlog(RedisSettlements(redis), PostgresSettlements(postgres))
        self.hub = LiveHub(RedisFeed(redis), self.backlog, balances, rules, now=now, partitions=partitions)
        self._teller = InFlightTeller(redis, holdings, gateway_id)

    async def start(self) -> None:
        await self.hub.start()
        await self._teller.start()

    async def stop(self) -> None:
        await self.hub.stop()
        await self._teller.stop()
