"""What Redis is still to be told of balances. When Postgres is down everything here raises `PostgresUnavailable`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.budgets.balances import BalanceChange
from gateway.stores.postgres import Postgres, Row
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.ledger", "balances.sql")


class BalanceOutbox:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def due(
        self, org_id: str | None, count: int, without: Sequence[str] = ()
    ) -> list[tuple[str, BalanceChange]]:
        """The oldest changes that were not delivered, of one organisation or of all but ``without``."""
        return [_change(row) for row in await self._postgres.fetch(_SQL["due"], org_id, count, list(without))]

    async def latest(self) -> list[tuple[str, BalanceChange]]:
        """The last change of each organisation that has none due."""
        return [_change(row) for row in await self._postgres.fetch(_SQL["latest"])]

    async def delivered(self, change_id: int, now: datetime) -> None:
        await self._postgres.execute(_SQL["delivered"], change_id, now)

    async def prune(self, before: datetime) -> None:
        """Forget what was delivered before, but for what the next changes build on."""
        await self._postgres.execute(_SQL["prune"], before)


def _change(row: Row) -> tuple[str, BalanceChange]:
    return row["org_id"], BalanceChange(
        row["id"],
        row["after_id"],
        row["granted_microcredits"],
        row["rungs"],
        row["reference_microcredits"],
    )
