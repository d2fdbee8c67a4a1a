"""What is read of single requests: splits, pages and chains of a few rows that are known by heart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from gateway.ledger.migrate import migrate
from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.row import UsageRow, merge, microseconds
from gateway.reports.period import Granularity
from gateway.reports.question import Dimension
from gateway.stores.postgres import Postgres
from tests.support.made_usage import snapshot_of
from tests.support.usage_events import ADMISSION, entry

DAY = date(2026, 3, 10)
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
async def postgres(postgres_dsn: str) -> AsyncIterator[Postgres]:
    await migrate(postgres_dsn)
    postgres = Postgres(postgres_dsn)
    await postgres.start()
    yield postgres
    await postgres.stop()


def tagged(name: str, microcredits: int, tags: dict[str, str]) -> UsageRow:
    admission = replace(ADMISSION, tags=tags)
    at_us = microseconds(NOON)
    return merge(entry(name, started_at_us=at_us, charged_microcredits=microcredits, admission=admission))


async def test_an_empty_tag_is_none_so_that_pages_by_tag_lose_nothing(
    postgres: Postgres, postgres_dsn: str
) -> None:
    rows = [
        tagged("a", 1, {"feature": ""}),
        tagged("b", 10, {}),
        tagged("c", 100, {"feature": "x"}),
    ]
    await UsageTable(postgres).write(rows)
    found: list[tuple[tuple[str | None, ...], int]] = []
    async with snapshot_of(postgres_dsn, "acme") as snapshot:
        period = snapshot.calendar.days(DAY, DAY + timedelta(days=1))
        question = snapshot.question(period, Granularity.NONE, [Dimension.TAG], tag="feature")
        place = None
        while page := await snapshot.reading.groups(question, snapshot.calendar, 1, place):
            found += [(group.names, group.sums.credits_microcredits) for group in page]
            place = page[-1].place
    assert found == [((None,), 11), (("x",), 100)]
