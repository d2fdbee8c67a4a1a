"""Retention: single requests go when an organisation no longer keeps them, sums stay, and the books still agree."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.identity.retention import Retention, since
from gateway.ledger.migrate import migrate
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.row import instant, merge, microseconds
from gateway.stores.postgres import Postgres
from tests.support.usage_events import ADMISSION, RESULT, entry

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
async def postgres(postgres_dsn: str) -> AsyncIterator[Postgres]:
    await migrate(postgres_dsn)
    postgres = Postgres(postgres_dsn)
    await postgres.start()
    yield postgres
    await postgres.stop()


async def use(postgres: Postgres, org: str, *days: tuple[int, int], table: UsageTable | None = None) -> None:
    """One request on each (month, day) of 2026, written by a gateway that has just started, or by ``table``'s."""
    rows = []
    for month, day in days:
        at_us = microseconds(datetime(2026, month, day, 12, tzinfo=UTC))
        admission = replace(ADMISSION, org_id=org)
        result = replace(RESULT, finished_at_us=at_us + 1)
        request_id = f"{org}-{month}-{day}"
        rows.append(merge(entry(request_id, started_at_us=at_us, admission=admission, result=result)))
    await (table or UsageTable(postgres)).write(rows)


async def kept(postgres: Postgres) -> list[str]:
    rows = await postgres.fetch("SELECT request_id FROM usage_events ORDER BY org_id, started_at")
    return [row["request_id"] for row in rows]


async def run(
    postgres: Postgres, months: Mapping[str, int], now: datetime = NOW
) -> tuple[tuple[str, ...], int]:
    async def kept_months() -> Mapping[str, int]:
        return months

    removed = await Retention(postgres, kept_months).run(now)
    assert removed.postponed == ()
    return removed.tables, removed.rows


async def agree(postgres: Postgres) -> bool:
    return (await PostgresLedger(postgres).books([], [])).rollup_differences == ()


async def test_a_month_that_nobody_keeps_is_dropped_whole_and_its_sums_stay(postgres: Postgres) -> None:
    for org in ("acme", "other"):
        await use(postgres, org, (7, 31), (8, 1), (11, 20))
    assert await run(postgres, {"acme": 3, "other": 2}) == (("usage_events_2026_07",), 1)
    assert await kept(postgres) == ["acme-8-1", "acme-11-20", "other-11-20"]
    assert await postgres.fetch_value("SELECT sum(requests)::int FROM usage_rollups") == 6
    assert await postgres.fetch_value("SELECT sum(requests)::int FROM usage_days") == 6
    assert await agree(postgres)


async def test_an_organisation_that_said_nothing_keeps_everything(postgres: Postgres) -> None:
    await use(postgres, "acme", (1, 1), (11, 20))
    await use(postgres, "other", (1, 1))
    assert await run(postgres, {"other": 1}) == ((), 1)
    assert await kept(postgres) == ["acme-1-1", "acme-11-20"]
    assert await agree(postgres)


async def test_again_it_removes_nothing_more(postgres: Postgres) -> None:
    await use(postgres, "acme", (1, 1), (11, 20))
    await run(postgres, {"acme": 3})
    assert await run(postgres, {"acme": 3}) == ((), 0)


async def test_what_arrives_late_for_a_removed_month_is_removed_by_the_next_run(postgres: Postgres) -> None:
    await use(postgres, "acme", (1, 1), (11, 20))
    await run(postgres, {"acme": 3})
    await use(postgres, "acme", (1, 2))
    assert await agree(postgres)
    assert await run(postgres, {"acme": 3}) == (("usage_events_2026_01",), 0)
    assert await agree(postgres)


async def test_a_gateway_that_made_the_month_itself_still_writes_what_arrives_late(
    postgres: Postgres,
) -> None:
    running = UsageTable(postgres)
    await use(postgres, "acme", (7, 31), (11, 20), table=running)
    assert await run(postgres, {"acme": 3}) == (("usage_events_2026_07",), 0)
    await use(postgres, "acme", (7, 30), table=running)
    assert await postgres.fetch_value("SELECT sum(requests)::int FROM usage_rollups") == 3
    assert await run(postgres, {"acme": 3}) == (("usage_events_2026_07",), 0)
    assert await agree(postgres)


async def test_a_lost_event_that_should_be_kept_still_shows(postgres: Postgres) -> None:
    await use(postgres, "acme", (1, 1), (11, 20), (11, 21))
    await run(postgres, {"acme": 3})
    await postgres.execute("DELETE FROM usage_events WHERE request_id = 'acme-11-21'")
    assert not await agree(postgres)


@pytest.mark.parametrize(
    ("now", "months", "begins"),
    [
        (datetime(2026, 11, 1, tzinfo=UTC), 3, datetime(2026, 8, 1, tzinfo=UTC)),
        (datetime(2026, 11, 30, 23, 59, tzinfo=UTC), 3, datetime(2026, 8, 1, tzinfo=UTC)),
        (datetime(2026, 2, 1, tzinfo=UTC), 12, datetime(2025, 2, 1, tzinfo=UTC)),
        (datetime(2026, 1, 1, tzinfo=UTC), 1, datetime(2025, 12, 1, tzinfo=UTC)),
        (instant(microseconds(NOW)), -1, datetime(2026, 12, 1, tzinfo=UTC)),
    ],
)
def test_months_are_counted_from_the_beginning_of_this_one(
    now: datetime, months: int, begins: datetime
) -> None:
    assert since(now, months) == begins
