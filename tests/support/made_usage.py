"""A database with made-up usage, for tests that read it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal

from gateway.identity.roles import Reach
from gateway.ledger.generated_usage import MadeOrg, plan
from gateway.ledger.migrate import migrate
from gateway.ledger.postgres_generated import GeneratedUsage
from gateway.reports.desk import Snapshot
from gateway.reports.postgres_usage_reading import UsageReader
from gateway.stores.postgres import Postgres
from pricing.book import PriceBook

UNTIL = date(2026, 11, 23)
PRICED_AT = datetime(2026, 11, 22, tzinfo=UTC)


async def make_usage(dsn: str, orgs: Sequence[MadeOrg], rows: int, days: int, *, until: date = UNTIL) -> None:
    """Migrate and write ``rows`` requests over the ``days`` before ``until``."""
    await migrate(dsn)
    postgres = Postgres(dsn)
    await postgres.start()
    try:
        usage = GeneratedUsage(postgres, PriceBook.parse(None, Decimal("0.01")), PRICED_AT)
        await usage.prepare(orgs)
        await usage.write_all(plan(orgs, rows, until, days), 2, lambda *_: None)
    finally:
        await postgres.stop()


@asynccontextmanager
async def snapshot_of(dsn: str, org: str, reach: Reach | None = None) -> AsyncIterator[Snapshot]:
    """One moment of an org's usage."""
    postgres = Postgres(dsn, connections_max=2)
    await postgres.start()
    try:
        async with UsageReader(postgres).snapshot() as reading:
            yield Snapshot(reading, org, reach or Reach(org), await reading.calendar(org))
    finally:
        await postgres.stop()
