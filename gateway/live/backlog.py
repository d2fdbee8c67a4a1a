"""What was settled before: the usage stream has what is not yet written, Postgres the rest.

The stream is always read first. An entry leaves it only after its row is committed, so what it no longer shows the
table has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from gateway.budgets.rules import Balance
from gateway.identity.roles import Reach
from gateway.ledger.row import UsageRow, microseconds
from gateway.live.settlement import Settlement
from gateway.live.spending import QUARTER_US

SPAN_MAX = 100_000
"""Settlements of a partition, of whatever organisation, that are looked through for what one missed."""
MISSED_MAX = 2_000
"""Settlements told again at most. Who missed more is better off with fresh totals."""


class Unwritten(Protocol):
    """See `gateway.live.redis_settlements.RedisSettlements`."""

    async def position(self, partition: int) -> int: ...
    async def balances(self, orgs: Collection[str]) -> Mapping[str, Balance | None]: ...
    async def unwritten(self, partition: int, after: int) -> list[UsageRow]: ...


class Written(Protocol):
    """See `gateway.live.postgres_settlements.PostgresSettlements`."""

    async def between(
        self, partition: int, after: int, upto: int, orgs: Collection[str], most: int
    ) -> list[UsageRow]: ...
    async def quarters(
        self, reach: Reach, partition: int, upto: int, since_us: int, unwritten: Collection[str]
    ) -> tuple[dict[int, int], frozenset[str]]: ...


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

    async def balances(self, orgs: Collection[str]) -> Mapping[str, Balance | None]:
        """Prepaid balances as they are now; None for who never had credits."""
        return await self._unwritten.balances(orgs)

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

    async def quarters(self, reach: Reach, partition: int, upto: int, since_us: int) -> dict[int, int]:
        """What settlements up to number ``upto`` within ``reach`` came to, by quarter (us) since ``since_us``."""
        unwritten = {
            row.request_id: row
            for row in await self._unwritten.unwritten(partition, 0)
            if row.sequence <= upto
            and row.org_id == reach.org_id
            and reach.covers(row.team_id, row.user_id, row.key_id)
            and microseconds(row.started_at) >= since_us
        }
        sums, recorded = await self._written.quarters(reach, partition, upto, since_us, unwritten)
        for request_id, row in unwritten.items():
            if request_id not in recorded:
                started_us = microseconds(row.started_at)
                quarter = started_us - started_us % QUARTER_US
                sums[quarter] = sums.get(quarter, 0) + row.credits_microcredits
        return sums
