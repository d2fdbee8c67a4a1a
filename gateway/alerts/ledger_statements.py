"""The lines of a monthly statement, from the credit ledger."""

from __future__ import annotations

from datetime import datetime

from gateway.alerts.digest import StatementLine
from gateway.ledger.drafts import Kind
from gateway.ledger.postgres_reading import LedgerReading

_CHANGES = (
    ("purchases", (Kind.PURCHASE,)),
    ("credits given", (Kind.PROMOTION,)),
    ("refunds", (Kind.REFUND,)),
    ("adjustments", (Kind.ADJUSTMENT,)),
    ("usage", (Kind.USAGE,)),
    ("expired", (Kind.EXPIRY, Kind.EXPIRY_REVERSAL)),
)


class LedgerStatements:
    """Implements `gateway.alerts.digest.Statements`. Raises `PostgresUnavailable`."""

    def __init__(self, reading: LedgerReading) -> None:
        self._reading = reading

    async def lines(self, org: str, start: datetime, end: datetime) -> list[StatementLine]:
        """Opening, by how much each kind changed the balance, closing; none of them when nothing changed it.

        Then what was used and not taken from it.
        """
        statement = await self._reading.statement(org, start, end)
        changes = [StatementLine(name, statement.of(*kinds)) for name, kinds in _CHANGES]
        lines = [
            StatementLine("opening balance", statement.opening),
            *(line for line in changes if line.microcredits),
            StatementLine("closing balance", statement.closing),
        ]
        beside = StatementLine("used without the balance", statement.postpaid)
        return [*(lines if statement.lines else []), *([beside] if beside.microcredits else [])]
