"""What was settled before: the usage stream has what is not yet written, Postgres the rest.

The stream is always read first. An entry leaves it only after its row is committed, so what it no longer shows the
table has.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from gateway.identity.roles import Reach
from gateway.ledger.row import UsageRow, microseconds
from gateway.live.settlement import Settlement
from gateway.live.spending import Cells, Stretch, quarter_of

SPAN_MAX = 100_000
"""Settlements of a partition, of whatever organisation, that are looked through for what one missed."""
MISSED_MAX = 2_000
"""Settlements told again at most. Who missed more is better off with fresh totals."""


class Unwritten(Protocol):
    """See `gateway.live.redis_settlements.RedisSettlements`."""

    async def position(self, partition: int) -> int: ...
    async def unwritten(self, partition: int, after: int) -> list[UsageRow]: ...


class Written(Protocol):
    """See `gateway.live.postgres_settlements.PostgresSettlements`."""

    async def between(
        self, partition: int, after: int, upto: int, orgs: Collection[str], most: int
    ) -> list[UsageRow]: ...
    async def cells(
        self, reach: Reach, partition: int, upto: int, stretch: Stretch, unwritten: Collection[str]
    ) -> tuple[Cells, frozenset[str]]: ...


class TooMuch(Exception):
    """More was missed than is told again."""


class Backlog:
    """Raises `PostgresUnavailable` or `StoreUnavailable` when a store does not answer."""

    def __init__(self, unwritten: Unwritten, written: Written) -> None:
        self._unwritten = unwritten
        self._written = written

    async def position(self, partition: int) -> int:
        """The number of the latest settlement; 0 before the first."""
        return await self._unwritten.position(partition)

    async def between(self, partition: int, after: int, upto: int, orgs: Collection[str]) -> list[Settlement]:
        """Settlements of ``orgs`` with numbers in (after, upto], in order. Raises `TooMuch`."""
        if after >= upto:
            return []
        if upto - after > SPAN_MAX:
            raise TooMuch
        found = {
            row.sequence: row
            for row in await self._unwritten.unwritten(partition, after)
            if row.sequence <= upto and row.org_id in orgs
        }
        if len(found) > MISSED_MAX:
            raise TooMuch
        for row in await self._written.between(partition, after, upto, orgs, MISSED_MAX + 1):
            found.setdefault(row.sequence, row)
        if len(found) > MISSED_MAX:
            raise TooMuch
        return [Settlement.of(found[sequence]) for sequence in sorted(found)]

    async def cells(self, reach: Reach, partition: int, upto: int, stretch: Stretch) -> Cells:
        """What settlements up to number ``upto`` within ``reach`` came to, of requests that started in ``stretch``."""
        unwritten = {
            row.request_id: row
            for row in await self._unwritten.unwritten(partition, 0)
            if row.sequence <= upto
            and row.org_id == reach.org_id
            and reach.covers(row.team_id, row.user_id, row.key_id)
            and microseconds(row.started_at) >= stretch.since_us
        }
        cells, recorded = await self._written.cells(reach, partition, upto, stretch, unwritten)
        for request_id, row in unwritten.items():
            if request_id not in recorded:
                quarter = quarter_of(microseconds(row.started_at))
                of_operation = cells.setdefault(row.operation, {})
                of_operation[quarter] = of_operation.get(quarter, 0) + row.credits_microcredits
        return cells
