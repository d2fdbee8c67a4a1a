"""Settlements that are on the usage stream. When Redis is down every method raises `StoreUnavailable`."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.budgets.keyspace import partition_keys
from gateway.ledger.row import Entry, Unreadable, UsageRow, merge
from gateway.stores.redis import RedisCalls

PAGE = 1000


class RedisSettlements:
    """Implements `gateway.live.backlog.Unwritten`."""

    def __init__(self, redis: RedisCalls) -> None:
        self._redis = redis

    async def position(self, partition: int) -> int:
        """The number of the latest settlement; 0 before the first."""
        found = await self._redis.command("GET", partition_keys(partition).sequence)
        return int(found or 0)

    async def unwritten(self, partition: int, after: int) -> list[UsageRow]:
        """What the stream has with numbers above ``after``, newest first: entries are added in their order."""
        stream = partition_keys(partition).stream
        found: list[UsageRow] = []
        end = b"+"
        while True:
            page = await self._redis.command("XREVRANGE", stream, end, "-", "COUNT", PAGE)
            for row in _rows(stream, partition, page):
                if row.sequence <= after:
                    return found
                found.append(row)
            if len(page) < PAGE:
                return found
            end = b"(" + page[-1][0]


def _rows(stream: str, partition: int, page: Sequence[Sequence[bytes]]) -> list[UsageRow]:
    """Entries that no row can be made of are left out: the writer buries them and says so."""
    rows = []
    for entry_id, flat in page:
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        try:
            rows.append(merge(Entry(stream, entry_id.decode(), partition, fields)))  # type: ignore[arg-type]
        except Unreadable:
            continue
    return rows
