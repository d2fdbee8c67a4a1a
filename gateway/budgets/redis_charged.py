"""What was charged before a settlement of a given number: what the ledger has, and the stream beyond it.

The stream is read first: what the ledger takes from it meanwhile, it names as recorded. When a store is down every
method raises `StoreUnavailable`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.budgets.keyspace import PartitionKeys
from gateway.budgets.model import Subject
from gateway.budgets.plan import Charge, counts
from gateway.budgets.ports import Ledger, SpentQuery
from gateway.budgets.redis_record import trusted_end_user
from gateway.stores.redis import RedisCalls

STREAM_PAGE = 1000


class ChargedBefore:
    """Asks both stores on behalf of counters that cannot say it themselves."""

    def __init__(self, redis: RedisCalls, ledger: Ledger) -> None:
        self._redis = redis
        self._ledger = ledger

    async def each(self, charges: Sequence[Charge], keys: PartitionKeys, sequence: int) -> list[int]:
        """Microcredits of each of ``charges``, by settlements up to ``sequence``, in their order."""
        unread = await self._unread(charges, keys, sequence)
        return [
            await self._one(charge, keys, sequence, costs)
            for charge, costs in zip(charges, unread, strict=True)
        ]

    async def _one(
        self, charge: Charge, keys: PartitionKeys, sequence: int, unread: Mapping[str, int]
    ) -> int:
        name = charge.name
        spent = await self._ledger.spent(
            SpentQuery(
                org=name.org,
                scope=name.scope,
                scope_id=name.scope_id,
                operation=name.operation,
                model=name.model,
                start_us=charge.interval.start_us,
                end_us=charge.interval.end_us,
                partition=keys.number,
                upto_sequence=sequence,
                end_user=name.end_user,
                unread=tuple(unread),
            )
        )
        return spent.microcredits + sum(
            cost for request_id, cost in unread.items() if request_id not in spent.recorded
        )

    async def _unread(
        self, charges: Sequence[Charge], keys: PartitionKeys, sequence: int
    ) -> list[dict[str, int]]:
        found: list[dict[str, int]] = [{} for _ in charges]
        start = b"-"
        while True:
            page = await self._redis.command("XRANGE", keys.stream, start, "+", "COUNT", STREAM_PAGE)
            for _entry_id, flat in page:
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                if int(fields[b"n"]) > sequence:
                    continue
                admission = orjson.loads(fields[b"a"])
                for costs, charge in zip(found, charges, strict=True):
                    if _entry_counts(charge, fields, admission):
                        costs[fields[b"id"].decode()] = int(fields[b"c"])
            if len(page) < STREAM_PAGE:
                return found
            start = b"(" + page[-1][0]


def _entry_counts(charge: Charge, fields: Mapping[bytes, Any], admission: Mapping[str, Any]) -> bool:
    subject = Subject(
        admission["org_id"],
        admission["team_id"],
        admission["user_id"],
        admission["key_id"],
        trusted_end_user(admission),
    )
    return counts(charge, subject, admission["operation"], admission["model"], int(fields[b"t"]))
