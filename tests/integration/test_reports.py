"""Everything that shows usage shows the same usage: sums of any split, within any reach, in any format."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import tracemalloc
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from pypdf import PdfReader

from gateway.identity.roles import Reach
from gateway.ledger.generated_usage import MadeOrg
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.reconcile import compare
from gateway.ledger.row import merge, microseconds
from gateway.reports.desk import Snapshot
from gateway.reports.exports import LINE_COLUMNS, line_csv
from gateway.reports.json_report import report_json
from gateway.reports.period import Granularity, Period, ReportPeriod
from gateway.reports.question import Dimension, Filters, Sums
from gateway.reports.streams import report_csv, report_focus, report_page
from gateway.reports.veil import Veil
from gateway.stores.postgres import Postgres
from tests.support.made_usage import make_usage, snapshot_of
from tests.support.servers import TestPostgres, run
from tests.support.usage_events import ADMISSION, entry

ROWS = 100_000
KOLKATA = MadeOrg("acme", "Asia/Kolkata", users=20, teams=4, weight=1.0)
NEWFOUNDLAND = MadeOrg("globex", "America/St_Johns", users=8, teams=2, weight=0.4)
MONTH = date(2026, 10, 1)
REACHES = {
    "all": Reach("acme"),
    "one user": Reach("acme", users=frozenset({"user-3"})),
    "a team and oneself": Reach("acme", frozenset({"team-2"}), frozenset({"user-4"})),
    "a key": Reach("acme", users=None, keys=frozenset({"service-0"})),
    "nothing": Reach("acme", keys=frozenset()),
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(postgres_server: TestPostgres) -> Iterator[str]:
    """A hundred thousand requests of two orgs over a hundred days, in which clocks were set back."""
    dsn = postgres_server.create_database("made_usage")
    run(make_usage(dsn, [KOLKATA, NEWFOUNDLAND], ROWS, 100))
    yield dsn
    postgres_server.drop_database("made_usage")


async def rows_total(
    snapshot: Snapshot, period: Period, where: str = "true", org: str = "acme"
) -> tuple[int, int, int]:
    """Requests, microcredits and input tokens, straight from the requests."""
    row = await snapshot.reading.session.fetch_one(
        "SELECT count(*) AS n, coalesce(sum(credits_microcredits), 0)::bigint AS c, "
        "coalesce(sum(input_tokens), 0)::bigint AS i FROM usage_events "
        f"WHERE org_id = $1 AND started_at >= $2 AND started_at < $3 AND ({where})",
        *(org, period.start, period.end),
    )
    assert row is not None
    return row["n"], row["c"], row["i"]


def figures(sums: Sums) -> tuple[int, int, int]:
    return sums.requests, sums.credits_microcredits, sums.input_tokens


async def text_of(parts: AsyncGenerator[str] | AsyncGenerator[bytes]) -> str:
    return "".join([part if isinstance(part, str) else part.decode() async for part in parts])


async def test_what_was_made_up_is_consistent_in_all_books(made: str) -> None:
    postgres = Postgres(made)
    await postgres.start()
    report = compare([], [], await PostgresLedger(postgres).books([], []), 0)
    assert list(report.lines())[-1] == "drift 0"
    assert await postgres.fetch_value("SELECT sum(requests) FROM usage_days") == ROWS
    await postgres.stop()


@pytest.mark.parametrize("reach", REACHES.values(), ids=REACHES)
async def test_every_split_adds_up_to_the_requests_within_reach(made: str, reach: Reach) -> None:
    where = {
        REACHES["all"]: "true",
        REACHES["one user"]: "user_id = 'user-3'",
        REACHES["a team and oneself"]: "team_id = 'team-2' OR user_id = 'user-4'",
        REACHES["a key"]: "key_id = 'service-0'",
        REACHES["nothing"]: "false",
    }[reach]
    async with snapshot_of(made, "acme", reach) as snapshot:
        calendar = snapshot.calendar
        for period in (
            calendar.around(ReportPeriod.MONTHLY, MONTH),
            calendar.between(datetime(2026, 10, 3, 7, tzinfo=UTC), datetime(2026, 10, 9, 9, 15, tzinfo=UTC)),
        ):
            expected = await rows_total(snapshot, period, where)
            assert (expected[0] > 0) is (reach is not REACHES["nothing"])
            for granularity in Granularity:
                for group_by in (
                    [],
                    [Dimension.MODEL],
                    [Dimension.USER, Dimension.KEY],
                    [Dimension.CONVERSATION],
                ):
                    question = snapshot.question(period, granularity, group_by)
                    groups = await snapshot.reading.groups(question, calendar)
                    assert figures(sum((group.sums for group in groups), Sums())) == expected
                    assert figures(await snapshot.reading.total(question, calendar)) == expected


@pytest.mark.parametrize(
    ("filters", "where"),
    [
        (Filters(models=("gpt-5", "gpt-4o")), "model IN ('gpt-5', 'gpt-4o')"),
        (Filters(operations=("image",), teams=("team-1",)), "operation = 'image' AND team_id = 'team-1'"),
        (Filters(users=("user-3",), keys=("key-3-1",)), "user_id = 'user-3' AND key_id = 'key-3-1'"),
        (Filters(tag=("feature", "search")), "tags ->> 'feature' = 'search'"),
        (Filters(statuses=("cut", "client_gone")), "status IN ('cut', 'client_gone')"),
        (Filters(providers=("nobody",)), "false"),
    ],
)
async def test_filters_find_what_they_name_in_sums_and_lines_alike(
    made: str, filters: Filters, where: str
) -> None:
    async with snapshot_of(made, "acme") as snapshot:
        period = snapshot.calendar.around(ReportPeriod.MONTHLY, MONTH)
        expected = await rows_total(snapshot, period, where)
        question = snapshot.question(period, filters=filters)
        assert figures(await snapshot.reading.total(question, snapshot.calendar)) == expected
        lines = [line async for line in snapshot.history.all_lines("acme", snapshot.reach, period, filters)]
        assert (len(lines), sum(line.credits_microcredits for line in lines)) == expected[:2]


async def test_days_are_those_of_the_zone_on_the_day_when_clocks_are_set_back(made: str) -> None:
    async with snapshot_of(made, "globex") as snapshot:
        period = snapshot.calendar.around(ReportPeriod.DAILY, date(2026, 11, 1))
        assert period.length == timedelta(hours=25)
        total = await snapshot.total(period)
        assert figures(total) == await rows_total(snapshot, period, org="globex")
        hours = await snapshot.reading.groups(snapshot.question(period, Granularity.HOUR), snapshot.calendar)
        assert figures(sum((hour.sums for hour in hours), Sums())) == figures(total)
        assert all(hour.step.endswith(":30Z") for hour in hours)
        month = snapshot.calendar.around(ReportPeriod.MONTHLY, date(2026, 11, 1))
        steps = await snapshot.reading.groups(snapshot.question(month, Granularity.DAY), snapshot.calendar)
        assert steps[0].step == "2026-11-01"
        assert figures(steps[0].sums) == figures(total)


@pytest.mark.parametrize("kind", ReportPeriod)
async def test_a_report_is_the_same_in_every_format(made: str, kind: ReportPeriod) -> None:
    async with snapshot_of(made, "acme") as snapshot:
        period = snapshot.calendar.around(kind, MONTH)
        requests, microcredits, tokens = await rows_total(snapshot, period)
        nobody_hidden = Veil("acme", None)
        credits = Decimal(microcredits) / 1_000_000

        document = orjson.loads(await text_of(report_json(snapshot, await snapshot.report(kind, MONTH))))
        assert document["totalCost"]["microcredits"] == microcredits
        assert Decimal(document["totalCost"]["credits"]) == credits
        operations = document["operationBreakdown"].values()
        assert sum(amount["microcredits"] for amount in operations) == microcredits
        for part in ("models", "days"):
            assert sum(one["cost"]["microcredits"] for one in document[part]) == microcredits
            assert sum(one["input_tokens"] for one in document[part]) == tokens
        conversations = sum(one["cost"]["microcredits"] for one in document["conversationCosts"])
        assert conversations + document["withoutConversation"]["microcredits"] == microcredits

        rows = list(
            csv.DictReader(io.StringIO(await text_of(report_csv(snapshot, kind, MONTH, nobody_hidden))))
        )
        assert sum(Decimal(row["credits"]) for row in rows) == credits
        assert sum(int(row["requests"]) for row in rows) == requests
        assert {row["date"] for row in rows} == {day["day"] for day in document["days"]}

        focus = await text_of(report_focus(snapshot, kind, MONTH, nobody_hidden, Decimal("0.015")))
        charges = list(csv.DictReader(io.StringIO(focus)))
        assert sum(Decimal(charge["x_Credits"]) for charge in charges) == credits
        assert sum(Decimal(charge["BilledCost"]) for charge in charges) == credits * Decimal("0.015")
        for charge in charges[:50]:
            product = Decimal(charge["PricingQuantity"]) * Decimal(charge["ListUnitPrice"])
            assert Decimal(charge["ListCost"]) == product
            in_credits = Decimal(charge["PricingQuantity"]) * Decimal(charge["PricingCurrencyListUnitPrice"])
            assert Decimal(charge["PricingCurrencyEffectiveCost"]) == in_credits
            assert charge["PricingCurrencyContractedUnitPrice"] == charge["PricingCurrencyListUnitPrice"]
            assert charge["ServiceCategory"] == "AI and Machine Learning"

        page = await report_page(snapshot, kind, MONTH, datetime(2026, 11, 22, tzinfo=UTC))
        text = "\n".join(one.extract_text() for one in PdfReader(io.BytesIO(page)).pages)
        totals = re.findall(r"Total\s+([\d,]+)\s+([\d,.]+)", text)
        assert totals
        for count, amount in totals:
            assert (int(count.replace(",", "")), Decimal(amount.replace(",", ""))) == (requests, credits)


async def test_titles_that_would_run_in_a_spreadsheet_or_have_no_letters_here_do_no_harm(
    postgres_dsn: str,
) -> None:
    await make_usage(postgres_dsn, [KOLKATA], 200, 3)
    postgres = Postgres(postgres_dsn)
    await postgres.start()
    hostile = replace(ADMISSION, conversation_id="=1+1", team_id="@team", user_id="+user", key_id="-key")
    at_us = microseconds(datetime(2026, 11, 21, 12, tzinfo=UTC))
    await UsageTable(postgres).write([merge(entry("evil", admission=hostile, started_at_us=at_us))])
    await postgres.execute("UPDATE conversations SET title = $1", "=HYPERLINK() 数据 <b>")
    async with snapshot_of(postgres_dsn, "acme") as snapshot:
        day = date(2026, 11, 21)
        rows = await text_of(report_csv(snapshot, ReportPeriod.DAILY, day, Veil("acme", None)))
        [evil] = [row for row in csv.reader(io.StringIO(rows)) if row[1] == "'@team"]
        assert evil[1:4] == ["'@team", "'+user", "'-key"]
        period = snapshot.calendar.around(ReportPeriod.DAILY, day)
        lines = snapshot.history.all_lines("acme", snapshot.reach, period, Filters(users=("+user",)))
        [line] = [line_csv(line) async for line in lines]
        cells = dict(zip(LINE_COLUMNS, next(csv.reader(io.StringIO(line))), strict=True))
        assert cells["conversation"] == "'=1+1"
        assert await report_page(snapshot, ReportPeriod.DAILY, day, datetime(2026, 11, 22, tzinfo=UTC))
    await postgres.stop()


async def test_pages_lose_and_repeat_no_line_while_others_arrive(postgres_dsn: str) -> None:
    await make_usage(postgres_dsn, [KOLKATA], 500, 3)
    postgres = Postgres(postgres_dsn)
    await postgres.start()
    there = {row["request_id"] for row in await postgres.fetch("SELECT request_id FROM usage_events")}
    seen: list[str] = []
    after: tuple[datetime, str] | None = None
    number = 0
    while True:
        async with snapshot_of(postgres_dsn, "acme") as snapshot:
            period = snapshot.calendar.days(date(2026, 11, 1), date(2026, 12, 1))
            page = await snapshot.history.lines("acme", snapshot.reach, period, Filters(), 37, after)
        if not page:
            break
        seen += [line.request_id for line in page]
        after = page[-1].started_at, page[-1].request_id
        # One comes in that is newer than all, and one between those that were read and those that were not.
        if number >= 20:
            continue
        for at in (datetime(2026, 11, 23, 12, tzinfo=UTC), after[0] - timedelta(microseconds=1)):
            late = merge(entry(f"late-{number}", started_at_us=microseconds(at)))
            await UsageTable(postgres).write([late])
            number += 1
    assert len(seen) == len(set(seen))
    assert there <= set(seen)
    await postgres.stop()


async def test_pages_of_groups_are_the_groups(made: str) -> None:
    async with snapshot_of(made, "acme") as snapshot:
        period = snapshot.calendar.around(ReportPeriod.MONTHLY, MONTH)
        question = snapshot.question(period, Granularity.DAY, [Dimension.USER, Dimension.MODEL])
        every = await snapshot.reading.groups(question, snapshot.calendar)
        paged, place = [], None
        while page := await snapshot.reading.groups(question, snapshot.calendar, 171, place):
            paged += page
            place = page[-1].place
        assert paged == every
        assert [group async for group in snapshot.reading.all_groups(question, snapshot.calendar)] == every


async def test_an_export_takes_the_same_memory_however_long_it_is(made: str) -> None:
    async def peak_bytes(days: int) -> tuple[int, int]:
        async with snapshot_of(made, "acme") as snapshot:
            period = snapshot.calendar.days(date(2026, 11, 22) - timedelta(days=days), date(2026, 11, 23))
            tracemalloc.start()
            written = 0
            async for line in snapshot.history.all_lines("acme", snapshot.reach, period, Filters()):
                written += len(line_csv(line))
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return written, peak

    short, short_peak = await peak_bytes(5)
    long, long_peak = await peak_bytes(30)
    assert long > 4 * short
    assert long_peak < short_peak * 1.3, (short, short_peak, long, long_peak)


async def test_a_snapshot_does_not_move_while_usage_is_written(postgres_dsn: str) -> None:
    await make_usage(postgres_dsn, [KOLKATA], 500, 3)
    postgres = Postgres(postgres_dsn)
    await postgres.start()
    async with snapshot_of(postgres_dsn, "acme") as snapshot:
        period = snapshot.calendar.days(date(2026, 11, 20), date(2026, 11, 24))
        before = await snapshot.total(period)
        at_us = microseconds(datetime(2026, 11, 21, 12, tzinfo=UTC))
        await UsageTable(postgres).write([merge(entry("later", started_at_us=at_us))])
        assert await snapshot.total(period) == before
        assert figures(before) == await rows_total(snapshot, period)
    await asyncio.gather(postgres.stop())
