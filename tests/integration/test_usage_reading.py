"""What is read of single requests: splits, pages and chains of a few rows that are known by heart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import orjson
import pytest

from gateway.identity.roles import Reach
from gateway.ledger.migrate import migrate
from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.row import UsageRow, merge, microseconds
from gateway.reports.desk import CONNECTIONS_MAX, CONNECTIONS_OF_ONE_MAX, ReportDesk
from gateway.reports.json_report import report_json
from gateway.reports.period import Granularity, ReportPeriod
from gateway.reports.question import Dimension
from gateway.stores.postgres import Postgres
from pricing.book import PriceBook
from pricing.price import Price
from tests.support.made_usage import PRICED_AT, snapshot_of
from tests.support.usage_events import ADMISSION, RESULT, entry

DAY = date(2026, 3, 10)
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
async def postgres(postgres_dsn: str) -> AsyncIterator[Postgres]:
    await migrate(postgres_dsn)
    postgres = Postgres(postgres_dsn)
    await postgres.start()
    yield postgres
    await postgres.stop()


class Nobody:
    async def of(self, org: str, users: Iterable[str]) -> dict[str, str]:
        return {}


async def test_an_organisation_with_many_charts_open_leaves_a_connection_to_others(
    postgres: Postgres, postgres_dsn: str
) -> None:
    async def balance_of(org: str) -> None:
        return None

    desk = ReportDesk(postgres_dsn, Nobody(), balance_of)
    await desk.start()
    opened, enough = asyncio.Semaphore(0), asyncio.Event()

    async def chart() -> None:
        async with desk.snapshot("acme", Reach("acme")):
            opened.release()
            await enough.wait()

    charts = [asyncio.create_task(chart()) for _ in range(2 * CONNECTIONS_MAX)]
    for _ in range(CONNECTIONS_OF_ONE_MAX):
        await opened.acquire()
    async with desk.snapshot("globex", Reach("globex")):
        pass
    assert await desk.conversations.page("globex", Reach("globex"), 10) == []
    enough.set()
    await asyncio.gather(*charts)
    await desk.stop()


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


BOOK = PriceBook.parse(None, Decimal("0.01"))


class Prices:
    exchange = BOOK.exchange

    def price(self, provider: str, model: str) -> Price:
        return BOOK.price(provider, provider, model, int(PRICED_AT.timestamp()))


def said(name: str, minute: int, input_tokens: int, cached: int = 0, written: int = 0) -> UsageRow:
    admission = replace(ADMISSION, provider="anthropic", model="claude-sonnet-4-5", conversation_id=name)
    result = replace(
        RESULT, input_tokens=input_tokens, cached_input_tokens=cached, cache_write_tokens=written
    )
    at_us = microseconds(NOON + timedelta(minutes=minute))
    return merge(entry(f"{name}-{minute}", started_at_us=at_us, admission=admission, result=result))


async def test_a_cache_is_given_what_each_chain_of_calls_begins_with_and_adds(
    postgres: Postgres, postgres_dsn: str
) -> None:
    rows = [
        *(said("talk", 0, 10_000), said("talk", 1, 10_100), said("talk", 2, 10_300)),
        # after a pause it begins again, and was written to a cache in part
        *(said("talk", 30, 20_000, 3_000, 2_000), said("talk", 31, 20_000)),
        # the second is of the band of long contexts
        *(said("long", 0, 190_000), said("long", 1, 250_000)),
        said("alone", 0, 5_000),
    ]
    await UsageTable(postgres).write(rows)
    async with snapshot_of(postgres_dsn, "acme") as snapshot:
        period = snapshot.calendar.days(DAY, DAY + timedelta(days=1))
        found = {one.input_tokens_at_least: one for one in await snapshot.repeated(period, Prices())}
    assert set(found) == {0, 200_001}
    short, long = found[0], found[200_001]
    assert (short.repeated_tokens, short.requests) == (10_000 + 10_100 + 20_000, 3)
    assert short.added_tokens == 10_000 + 100 + 200 + 15_000 + 190_000
    assert (long.repeated_tokens, long.added_tokens, long.requests) == (190_000, 60_000, 1)


async def test_what_is_in_no_group_since_its_requests_are_gone_is_told_apart(
    postgres: Postgres, postgres_dsn: str
) -> None:
    rows = [tagged("gone", 100, {"feature": "x"}), tagged("kept", 10, {"feature": "x"})]
    await UsageTable(postgres).write([*rows, tagged("talk-less", 1, {})._replace(conversation_id=None)])
    await postgres.execute("DELETE FROM usage_events WHERE request_id = 'gone'")
    async with snapshot_of(postgres_dsn, "acme") as snapshot:
        calendar, reading = snapshot.calendar, snapshot.reading
        period = calendar.days(DAY, DAY + timedelta(days=1))
        for dimension in (Dimension.TAG, Dimension.CONVERSATION, Dimension.MODEL):
            question = snapshot.question(period, group_by=[dimension], tag="feature")
            groups = await reading.groups(question, calendar)
            shown = sum(group.sums.credits_microcredits for group in groups)
            lacking = (await reading.not_kept(question, calendar)).credits_microcredits
            assert (shown, lacking) == ((111, 0) if dimension is Dimension.MODEL else (11, 100))
        parts = report_json(snapshot, await snapshot.report(ReportPeriod.DAILY, DAY))
        document = orjson.loads(b"".join([part async for part in parts]))
    told = {name: document[name]["microcredits"] for name in ("totalCost", "withoutConversation", "notKept")}
    assert told == {"totalCost": 111, "withoutConversation": 1, "notKept": 100}
    assert [one["cost"]["microcredits"] for one in document["conversationCosts"]] == [10]
