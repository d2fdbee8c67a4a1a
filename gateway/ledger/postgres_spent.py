"""What Postgres knows was spent. When it is down everything here raises `PostgresUnavailable`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.budgets.balances import BalanceBooks, BalanceQuery
from gateway.budgets.ports import Spent, SpentQuery
from gateway.budgets.selection import plain
from gateway.ledger.row import EPOCH, instant
from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.ledger", "usage.sql")
_CUTS = Queries.load("gateway.ledger", "cuts.sql")
_BALANCES = Queries.load("gateway.ledger", "balances.sql")
_QUERIES_AT_ONCE = 1000
_COMPARISONS = {
    "sums by the quarter of an hour, against rows": _SQL["rollup_differences"],
    "sums by the day": _CUTS["day_differences"],
    "sums by the hour": _CUTS["hour_differences"],
    "conversations": _CUTS["nameless_conversations"],
}
STAGES = len(_COMPARISONS) + 2
"""How many stages `PostgresLedger` tells of in a whole reconciliation."""
QUARTER = timedelta(minutes=15)
COMPARISON_TIMEOUT_S = 3600.0
"""Comparing all sums of ten million requests takes minutes."""


@dataclass(frozen=True, slots=True)
class Books:
    """What Postgres says of many counters, all from one snapshot."""

    spent_microcredits: tuple[int, ...]
    """One for each query, in their order."""
    recorded: frozenset[str]
    """Which of the request ids asked about have a row."""
    rollup_differences: tuple[Row, ...]
    """Where rollups are not the sums of their rows."""
    cut_differences: tuple[Row, ...] = ()
    """Where days or hours are not the sums of their rollups."""
    nameless_conversations: tuple[Row, ...] = ()
    """Conversations of rows that are not listed."""


class PostgresLedger:
    """Implements `gateway.budgets.ports.Ledger`. ``stage`` hears what is compared next, in a few words."""

    def __init__(self, postgres: Postgres, stage: Callable[[str], None] = lambda what: None) -> None:
        self._postgres = postgres
        self._stage = stage

    async def spent(self, query: SpentQuery) -> Spent:
        async with self._postgres.transaction("repeatable_read", readonly=True) as session:
            (microcredits,) = await _spent(session, [query])
            return Spent(microcredits, await _recorded(session, query.unread))

    async def balance(self, query: BalanceQuery) -> BalanceBooks:
        (books,) = await self.balances([query])
        return books

    async def balances(self, queries: Sequence[BalanceQuery]) -> list[BalanceBooks]:
        """Answers to all ``queries``, from one snapshot."""
        async with self._postgres.transaction("repeatable_read", readonly=True) as session:
            rows = await session.fetch(
                _BALANCES["books"],
                [query.org for query in queries],
                [query.partition for query in queries],
                [query.upto_sequence for query in queries],
                [query.upto_change for query in queries],
            )
            recorded = await _recorded(session, [id_ for query in queries for id_ in query.unread])
        return [
            BalanceBooks(
                granted=row["granted"],
                spent=row["spent"],
                change_id=row["change_id"],
                rungs=row["rungs"],
                reference=row["reference"],
                recorded=recorded.intersection(query.unread),
            )
            for query, row in zip(queries, rows, strict=True)
        ]

    async def differences(self) -> list[Row]:
        """Where the credit ledger is not what it is made of: rows of what, expected and found."""
        self._stage("ledger and balances")
        async with self._postgres.session() as session:
            return await session.fetch(_BALANCES["differences"], timeout_s=COMPARISON_TIMEOUT_S)

    async def books(
        self, queries: Sequence[SpentQuery], unread: Sequence[str], since: datetime | None = None
    ) -> Books:
        """Answers to all ``queries`` (whose own ``unread`` is ignored), and whether the sums of usage hold: all of
        them, or those of ``since`` and later."""
        quarter = None if since is None else since - (since - EPOCH) % QUARTER
        async with self._postgres.transaction("repeatable_read", readonly=True) as session:
            self._stage("counters")
            spent: list[int] = []
            for start in range(0, len(queries), _QUERIES_AT_ONCE):
                spent += await _spent(session, queries[start : start + _QUERIES_AT_ONCE])
            recorded = await _recorded(session, unread)
            await session.fetch(_CUTS["tune"])
            found = []
            for what, statement in _COMPARISONS.items():
                self._stage(what)
                found.append(await session.fetch(statement, quarter, timeout_s=COMPARISON_TIMEOUT_S))
            differences, days, hours, nameless = found
        return Books(tuple(spent), recorded, tuple(differences), (*days, *hours), tuple(nameless))


async def _spent(session: Session, queries: Sequence[SpentQuery]) -> list[int]:
    rows = await session.fetch(
        _SQL["spent"],
        [query.org for query in queries],
        [query.scope.value for query in queries],
        [query.scope_id for query in queries],
        [query.operation for query in queries],
        [None if query.model is None else like_pattern(query.model) for query in queries],
        [instant(query.start_us) for query in queries],
        [None if query.end_us is None else instant(query.end_us) for query in queries],
        [query.partition for query in queries],
        [query.upto_sequence for query in queries],
        [query.end_user for query in queries],
    )
    return [row["microcredits"] for row in rows]


async def _recorded(session: Session, request_ids: Sequence[str]) -> frozenset[str]:
    if not request_ids:
        return frozenset()
    rows = await session.fetch(_SQL["recorded"], list(request_ids))
    return frozenset(row["request_id"] for row in rows)


def like_pattern(wildcard: str) -> str:
    """The LIKE pattern of a model pattern, in which ``*`` alone is special, for names made plain."""
    escaped = plain(wildcard).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")
