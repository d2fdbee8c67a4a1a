"""Days and hours are cut where the org's own calendar says, by the writer and by every recut alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import available_timezones

import pytest

from gateway.budgets.windows import Calendar
from gateway.identity.roles import Reach
from gateway.ledger.migrate import migrate
from gateway.ledger.postgres_calendars import Calendars, OrgCalendar
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.reconcile import compare
from gateway.ledger.row import UsageRow, instant, merge, microseconds
from gateway.live.postgres_settlements import PostgresSettlements
from gateway.live.spending import DAY_US, Stretch
from gateway.settings.time_zones import in_postgres, is_zone
from gateway.stores.postgres import Postgres
from tests.support.usage_events import ADMISSION, RESULT, entry


@pytest.fixture
async def postgres(postgres_dsn: str) -> AsyncIterator[Postgres]:
    await migrate(postgres_dsn)
    postgres = Postgres(postgres_dsn)
    await postgres.start()
    yield postgres
    await postgres.stop()


def row(name: str, at: str, microcredits: int = 1, org: str = "acme", **result: Any) -> UsageRow:
    """A request admitted at ``at`` (UTC)."""
    return merge(
        entry(
            name,
            started_at_us=microseconds(datetime.fromisoformat(at).replace(tzinfo=UTC)),
            charged_microcredits=microcredits,
            admission=replace(ADMISSION, org_id=org),
            result=replace(RESULT, **result),
        )
    )


async def zone(postgres: Postgres, name: str, org: str = "acme") -> list[str]:
    calendars = Calendars(postgres)
    await calendars.keep([OrgCalendar(org, name, 0)])
    return await calendars.recut()


async def days(postgres: Postgres) -> dict[str, int]:
    rows = await postgres.fetch(
        "SELECT day::text, sum(credits_microcredits)::bigint AS credits FROM usage_days GROUP BY 1 ORDER BY 1"
    )
    return {row["day"]: row["credits"] for row in rows}


async def hours(postgres: Postgres) -> dict[str, int]:
    rows = await postgres.fetch(
        "SELECT to_char(hour_start AT TIME ZONE 'UTC', 'MM-DD HH24:MI') AS at, credits_microcredits AS credits "
        "FROM usage_hours ORDER BY 1"
    )
    return {row["at"]: row["credits"] for row in rows}


async def drift(postgres: Postgres) -> tuple[int, tuple[str, ...]]:
    report = compare([], [], await PostgresLedger(postgres).books([], []), 0)
    return report.drift_microcredits, report.faults


@pytest.mark.parametrize(
    ("time_zone", "expected"),
    [
        # 31 March 2024 in Europe/Paris lasts from 23:00 to 22:00 UTC
        ("Europe/Paris", {"2024-03-30": 1, "2024-03-31": 22, "2024-04-01": 4}),
        ("Asia/Kolkata", {"2024-03-31": 7, "2024-04-01": 20}),
        # the same clocks by a name that Postgres takes for an offset without daylight saving time
        ("CET", {"2024-03-30": 1, "2024-03-31": 22, "2024-04-01": 4}),
        # half an hour off the hour, and in daylight saving time: the date changes at 02:30 UTC
        ("America/St_Johns", {"2024-03-30": 3, "2024-03-31": 24}),
    ],
)
async def test_a_request_belongs_to_the_local_day_on_which_it_began(
    postgres: Postgres, time_zone: str, expected: dict[str, int]
) -> None:
    await zone(postgres, time_zone)
    rows = [
        row("before", "2024-03-30T22:59:59", 1),
        row("midnight", "2024-03-30T23:00:00", 2),
        row("evening", "2024-03-31T18:29:59", 4),
        row("night", "2024-03-31T18:30:00", 16),
        row("after", "2024-03-31T22:00:00", 4),
    ]
    await UsageTable(postgres).write(rows)
    assert await days(postgres) == expected
    assert await drift(postgres) == (0, ())


async def test_the_hour_that_clocks_show_twice_is_two_hours(postgres: Postgres) -> None:
    await zone(postgres, "Europe/Paris")
    await UsageTable(postgres).write(
        [row("first", "2024-10-27T00:30:00", 1), row("second", "2024-10-27T01:30:00", 2)]
    )
    assert await hours(postgres) == {"10-27 00:00": 1, "10-27 01:00": 2}


async def test_hours_of_a_zone_that_is_half_an_hour_off_begin_at_the_half(postgres: Postgres) -> None:
    await zone(postgres, "Asia/Kolkata")
    await UsageTable(postgres).write([row("a", "2024-02-29T18:29:00", 1), row("b", "2024-02-29T18:30:00", 2)])
    assert await hours(postgres) == {"02-29 17:30": 1, "02-29 18:30": 2}
    assert await days(postgres) == {"2024-02-29": 1, "2024-03-01": 2}


async def test_a_changed_zone_cuts_everything_anew_and_once(postgres: Postgres) -> None:
    table = UsageTable(postgres)
    await table.write(
        [row("a", "2024-01-31T20:00:00", 1), row("other", "2024-01-31T20:00:00", 9, org="else")]
    )
    assert await days(postgres) == {"2024-01-31": 10}
    assert await zone(postgres, "Asia/Kolkata") == ["acme"]
    assert await zone(postgres, "Asia/Kolkata") == []
    await table.write([row("b", "2024-01-31T20:00:00", 2)])
    assert await days(postgres) == {"2024-01-31": 9, "2024-02-01": 3}
    assert await Calendars(postgres).orgs() == ["acme", "else"]
    for org in ("acme", "else"):
        await Calendars(postgres).rebuild(org)
    assert await days(postgres) == {"2024-01-31": 9, "2024-02-01": 3}
    assert await drift(postgres) == (0, ())


async def test_a_zone_that_changes_while_usage_is_written_leaves_no_drift(postgres: Postgres) -> None:
    table = UsageTable(postgres)

    async def write(part: int) -> None:
        for number in range(20):
            await table.write([row(f"{part}-{number}", f"2024-01-31T{number:02}:30:00")])

    async def change() -> None:
        for name in ("Asia/Kolkata", "America/St_Johns", "Europe/Paris", "Pacific/Auckland"):
            await zone(postgres, name)

    await asyncio.gather(write(0), write(1), change(), write(2))
    assert sum((await days(postgres)).values()) == 60
    assert await drift(postgres) == (0, ())


async def test_every_zone_has_the_same_days_in_python_and_in_postgres(postgres: Postgres) -> None:
    differing = []
    for name in filter(is_zone, available_timezones()):
        calendar = Calendar(name)
        noons = [microseconds(datetime(2026, 1, 1, 12, tzinfo=UTC)) + day * DAY_US for day in range(365)]
        starts = [instant(calendar.around(noon).day.start_us) for noon in noons]
        if await postgres.fetch_value(
            "SELECT bool_or((at AT TIME ZONE $2)::date = ((at - interval '1 minute') AT TIME ZONE $2)::date) "
            "FROM unnest($1::timestamptz[]) AS at",
            starts,
            in_postgres(name),
        ):
            differing.append(name)
    assert differing == []


async def test_an_org_whose_zone_was_told_as_an_abbreviation_is_cut_anew(postgres: Postgres) -> None:
    await postgres.execute(
        "INSERT INTO org_calendars (org_id, time_zone, wanted_time_zone) VALUES ('acme', 'CET', 'CET')"
    )
    await UsageTable(postgres).write([row("a", "2024-06-30T22:30:00")])
    assert await days(postgres) == {"2024-06-30": 1}
    assert await zone(postgres, "CET") == ["acme"]
    assert await days(postgres) == {"2024-07-01": 1}
    assert await drift(postgres) == (0, ())


async def test_sums_of_listeners_begin_with_the_days_of_their_zone(postgres: Postgres) -> None:
    await zone(postgres, "CET")
    await UsageTable(postgres).write([row("a", "2024-06-30T22:30:00")])
    start_us, now_us = (microseconds(datetime(2024, *day, tzinfo=UTC)) for day in ((6, 30, 22), (7, 10, 12)))
    stretch = Stretch.of(Calendar("CET"), now_us)
    reach = Reach("acme", users=frozenset({"ada"}))
    cells, _ = await PostgresSettlements(postgres).cells(reach, 0, 10**9, stretch, [])
    assert cells == {"chat": {start_us: 1}}


async def test_a_zone_that_postgres_does_not_know_leaves_the_one_in_force(postgres: Postgres) -> None:
    await zone(postgres, "Europe/Paris")
    assert await zone(postgres, "Europe/Atlantis") == []
    await UsageTable(postgres).write([row("a", "2024-01-31T23:30:00")])
    assert await days(postgres) == {"2024-02-01": 1}


async def test_what_failed_or_was_estimated_or_had_no_price_is_counted(postgres: Postgres) -> None:
    await UsageTable(postgres).write(
        [
            row("fine", "2024-01-31T12:00:00"),
            row("failed", "2024-01-31T12:00:00", status="upstream_error"),
            row("left", "2024-01-31T12:00:00", status="client_gone", usage_source="counted"),
            row("odd", "2024-01-31T12:00:00", usage_source="bound", flags=("unpriced_unit",)),
        ]
    )
    for table in ("usage_rollups", "usage_days", "usage_hours"):
        found = await postgres.fetch_one(f"SELECT requests, errors, estimated, unpriced FROM {table}")
        assert found is not None
        assert tuple(found.values()) == (4, 1, 2, 1), table


@pytest.mark.parametrize("table", ["usage_days", "usage_hours"])
@pytest.mark.parametrize("change", ["credits_microcredits = 7", "errors = 1", "cached_input_tokens = 1"])
async def test_days_and_hours_that_are_not_their_sums_are_found_and_rebuilt(
    postgres: Postgres, table: str, change: str
) -> None:
    await UsageTable(postgres).write([row("a", "2024-01-31T12:00:00", 5)])
    await postgres.execute(f"UPDATE {table} SET {change}")
    amount, faults = await drift(postgres)
    assert (amount == 2) is change.startswith("credits")
    assert bool(faults) is not change.startswith("credits")
    await Calendars(postgres).rebuild("acme")
    assert await drift(postgres) == (0, ())


async def test_what_is_recent_can_be_compared_alone(postgres: Postgres) -> None:
    await zone(postgres, "Asia/Kolkata")
    await UsageTable(postgres).write(
        [row("old", "2024-01-10T12:00:00", 5), row("new", "2024-01-31T12:00:00", 5)]
    )
    ledger = PostgresLedger(postgres)
    since = datetime(2024, 1, 28, 11, 59, tzinfo=UTC)

    async def recent_drift() -> int:
        return compare([], [], await ledger.books([], [], since), 0).drift_microcredits

    assert await recent_drift() == 0
    for table, column in (
        ("usage_days", "day"),
        ("usage_hours", "hour_start"),
        ("usage_rollups", "quarter_start"),
    ):
        for edge, found in (("<", 0), (">", 2)):
            change = f"WHERE {column} {edge} '2024-01-20'"
            await postgres.execute(f"UPDATE {table} SET credits_microcredits = 7 {change}")
            assert (await recent_drift() > 0) is (found > 0), (table, edge)
            await postgres.execute(f"UPDATE {table} SET credits_microcredits = 5 {change}")


async def test_a_conversation_that_is_not_listed_is_found(postgres: Postgres) -> None:
    await UsageTable(postgres).write([row("a", "2024-01-31T12:00:00")])
    listed = await postgres.fetch("SELECT org_id, conversation_id, user_id FROM conversations")
    assert [tuple(one.values()) for one in listed] == [("acme", "c1", "ada")]
    await postgres.execute("DELETE FROM conversations")
    assert await drift(postgres) == (0, ("conversation c1 of acme has requests and is not listed",))
