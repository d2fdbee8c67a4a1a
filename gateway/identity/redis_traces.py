"""What Redis keeps of one user. When it is down everything raises `StoreUnavailable`."""

from __future__ import annotations

from gateway.budgets.keyspace import partition_keys, partition_of
from gateway.budgets.model import Scope
from gateway.budgets.redis_books import RedisBooks
from gateway.stores.redis import RedisCalls


class UserTraces:
    def __init__(self, redis: RedisCalls, *, partitions: int) -> None:
        self._redis = redis
        self._partitions = partitions
        self._books = RedisBooks(redis, partitions=partitions)

    async def has_open_calls(self, org: str, user: str) -> bool:
        """Whether something that this user began is still to be settled."""
        return any([hold.subject.user == user async for hold in self._books.open_holds(org)])

    async def remove_counters(self, org: str, user: str) -> int:
        """Drop what was counted for the user alone; returns how many counters. The sums of the organisation, its
        teams and its keys are counters of their own and stay as they are. Nobody counts for the user any more, so
        none comes back: settling does not make a counter again that is gone.
        """
        keys = partition_keys(partition_of(org, self._partitions))
        removed = 0
        for key in await self._redis.command("ZRANGE", keys.counter_index, 0, -1):
            name = keys.counter_name(key.decode())
            if (name.org, name.scope, name.scope_id) == (org, Scope.USER, user):
                await self._redis.command("DEL", key)
                await self._redis.command("ZREM", keys.counter_index, key)
                removed += 1
        return removed
