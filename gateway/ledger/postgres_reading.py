"""The credit ledger, read: its lines, the grants as they stand, statements. When Postgres is down everything here
raises `PostgresUnavailable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.ledger.burning import GrantKind
from gateway.ledger.drafts import Kind, Line
from gateway.ledger.postgres_posting import SQL as POSTING
from gateway.ledger.postgres_posting import line_of
from gateway.stores.postgres import Postgres, Row
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.ledger", "reading.sql")


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A transaction and its lines. Microcredits."""

    id: int
    kind: Kind
    occurred_at: datetime
    recorded_at: datetime
    actor: str
    reason: str
    ref: str | None
    balance_after: int
    """As of when it was recorded."""
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class GrantStanding:
    """A grant as it stands. Microcredits."""

    grant_id: str
    org_id: str
    transaction_id: int
    kind: GrantKind
    amount: int
    left: int
    expired: int
    """What was not used before it expired."""
    priority: int
    expires_at: datetime | None
    created_at: datetime
    actor: str
    reason: str
    ref: str | None


@dataclass(frozen=True, slots=True)
class StatementLine:
    """All transactions of one kind."""

    kind: Kind
    microcredits: int
    """By how much they changed the balance."""
    transactions: int
    first_id: int
    last_id: int


@dataclass(frozen=True, slots=True)
class Statement:
    """opening + all lines = closing, of what came to pass in [start, end). Microcredits."""

    start: datetime
    end: datetime
    opening: int
    closing: int
    lines: Mapping[Kind, StatementLine]
    not_posted: int
    """Usage in this time that is on record and not in the ledger yet: some seconds' worth, for the latest month."""
    postpaid: int
    """Usage in this time that was not charged to the balance; it changes neither opening nor closing."""

    def of(self, *kinds: Kind) -> int:
        return sum(self.lines[kind].microcredits for kind in kinds if kind in self.lines)


class LedgerReading:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def entries(
        self,
        org_id: str,
        limit: int,
        before: int | None = None,
        *,
        kind: Kind | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[LedgerEntry]:
        """Newest first; ``since`` and ``until`` bound when they came to pass, [since, until)."""
        rows = await self._postgres.fetch(
            _SQL["entries"], org_id, before, kind and kind.value, since, until, limit
        )
        lines: dict[int, list[Line]] = {row["id"]: [] for row in rows}
        for line in await self._postgres.fetch(POSTING["lines_of"], list(lines)):
            lines[line["transaction_id"]].append(line_of(line))
        return [_entry(row, lines[row["id"]]) for row in rows]

    async def entry(self, org_id: str, transaction_id: int) -> LedgerEntry:
        """One that is there."""
        (found,) = await self.entries(org_id, 1, transaction_id + 1)
        return found

    async def grants(
        self, org_id: str, limit: int, before: int | None = None, *, alive_at: datetime | None = None
    ) -> list[GrantStanding]:
        """Newest first; ``before`` is a transaction id. ``alive_at``: only those with something to use then."""
        alive = alive_at is not None
        rows = await self._postgres.fetch(_SQL["grants"], org_id, before, None, alive, alive_at, limit)
        return [_grant(row) for row in rows]

    async def grant_of(self, org_id: str, transaction_id: int) -> GrantStanding | None:
        """The grant that a transaction made."""
        row = await self._postgres.fetch_one(_SQL["grants"], org_id, None, transaction_id, False, None, 1)
        return None if row is None else _grant(row)

    async def statement(self, org_id: str, start: datetime, end: datetime) -> Statement:
        """From one snapshot."""
        async with self._postgres.transaction("repeatable_read", readonly=True) as session:
            opening: int = await session.fetch_value(_SQL["balance_before"], org_id, start)
            rows = await session.fetch(_SQL["statement"], org_id, start, end)
            postpaid: int = await session.fetch_value(_SQL["postpaid"], org_id, start, end)
            not_posted: int = await session.fetch_value(_SQL["usage_not_posted"], org_id, start, end)
        lines = {
            Kind(row["kind"]): StatementLine(
                Kind(row["kind"]), row["microcredits"], row["transactions"], row["first_id"], row["last_id"]
            )
            for row in rows
        }
        closing = opening + sum(line.microcredits for line in lines.values())
        return Statement(start, end, opening, closing, lines, not_posted, postpaid)


def _entry(row: Row, lines: list[Line]) -> LedgerEntry:
    return LedgerEntry(
        id=row["id"],
        kind=Kind(row["kind"]),
        occurred_at=row["occurred_at"],
        recorded_at=row["recorded_at"],
        actor=row["actor"],
        reason=row["reason"],
        ref=row["ref"],
        balance_after=row["balance_after_microcredits"],
        lines=tuple(lines),
    )


def _grant(row: Row) -> GrantStanding:
    return GrantStanding(
        grant_id=row["grant_id"],
        org_id=row["org_id"],
        transaction_id=row["transaction_id"],
        kind=GrantKind(row["kind"]),
        amount=row["amount_microcredits"],
        left=row["left_microcredits"],
        expired=row["broken_microcredits"],
        priority=row["priority"],
        expires_at=row["expires_at"],
        created_at=row["created_at"],
        actor=row["actor"],
        reason=row["reason"],
        ref=row["ref"],
    )
