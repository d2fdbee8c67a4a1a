"""What was spent and what expires, read for alerts from the sums and grants in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.alerts.digest import Digest, ModelSpend
from gateway.stores.postgres import Postgres
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.alerts", "spend.sql")


@dataclass(frozen=True, slots=True)
class ExpiringGrant:
    org_id: str
    grant_id: str
    expires_at: datetime
    left: int
    """Microcredits."""


class Spend:
    """Raises `PostgresUnavailable`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def digest(self, org: str, start: datetime, end: datetime) -> Digest:
        rows = await self._postgres.fetch(_SQL["by_model"], org, start, end)
        return Digest(tuple(ModelSpend(row["model"], row["spent"], row["requests"]) for row in rows))

    async def spenders(self, start: datetime, end: datetime, least: int) -> dict[str, int]:
        """What every org spent that spent at least ``least`` microcredits."""
        rows = await self._postgres.fetch(_SQL["spenders"], start, end, least)
        return {row["org_id"]: row["spent"] for row in rows}

    async def hours(self, org: str, starts: Sequence[datetime]) -> list[int]:
        """What was spent in these hours, without those from before the org's first usage."""
        rows = await self._postgres.fetch(_SQL["hours"], org, list(starts))
        return [
            row["spent"]
            for start, row in zip(starts, rows, strict=True)
            if row["first_usage"] is not None and start >= row["first_usage"]
        ]

    async def expiring(self, after: datetime, until: datetime) -> list[ExpiringGrant]:
        """Grants with credits left that expire in between."""
        rows = await self._postgres.fetch(_SQL["expiring"], after, until)
        return [ExpiringGrant(**row) for row in rows]
