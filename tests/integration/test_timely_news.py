"""News by the clock: summaries at the hour of each organisation's zone, unusual hours, credits about to expire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.alerts.notice import instant
from gateway.alerts.org_settings import OrgAlertChoices
from gateway.alerts.postgres_book import Alert
from gateway.budgets.directory import Directory
from gateway.budgets.windows import Calendar
from gateway.identity.roles import Reach
from gateway.jobs.runner import JobRunner
from tests.support.alerting import AlertingGateway, Town, town

PARIS = ZoneInfo("Europe/Paris")


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str) -> AsyncIterator[Town]:
    async with town(redis_url, postgres_dsn) as found:
        await found.postgres.execute(
            "INSERT INTO org_calendars (org_id, time_zone) VALUES ('acme', 'Europe/Paris')"
        )
        yield found


async def used(
    place: Town, at: datetime, microcredits: int, model: str = "gpt-4o", requests: int = 1
) -> None:
    await place.postgres.execute(
        """INSERT INTO usage_rollups (quarter_start, org_id, key_id, provider, model, operation, requests, input_tokens,
           cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd, credits_microcredits)
           VALUES (date_bin('15 minutes', $1, 'epoch'), 'acme', 'k', 'openai', $3, 'chat', $4, 0, 0, 0, 0, 0, 0, $2)""",
        at,
        microcredits,
        model,
        requests,
    )


async def turn(place: Town, gateways: list[AlertingGateway]) -> list[Alert]:
    """What is due now is done, by whichever of the gateways; everything told so far, the oldest first."""
    for gateway in gateways:
        await JobRunner(gateway.postgres, gateway.alerts.trades(), place.clock).turn()
    return (await gateways[0].alerts.book.page("acme", Reach("acme"), "olga", limit=100))[::-1]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2028-02-29", "2026-12-31"])
async def test_daily_usage_summaries_are_made_once_at_eight_the_next_morning_in_the_zone(
    place: Town, day: str
) -> None:
    gateways = [await place.gateway(Directory({})) for _ in range(3)]
    midnight = datetime.fromisoformat(day).replace(tzinfo=PARIS)
    next_midnight = midnight + timedelta(days=1)  # wall-clock arithmetic: the next local midnight
    await used(place, midnight.astimezone(UTC) - timedelta(minutes=15), 1_000_000)
    await used(place, midnight.astimezone(UTC), 2_000_000, requests=3)
    await used(place, next_midnight.astimezone(UTC) - timedelta(minutes=15), 4_000_000, "gemini")
    await used(place, next_midnight.astimezone(UTC), 8_000_000)
    due = next_midnight.replace(hour=8).astimezone(UTC)
    place.clock.time = due - timedelta(minutes=1)
    before = [alert for alert in await turn(place, gateways) if alert.data.get("day") == day]
    assert before == []
    place.clock.time = due
    found = [alert for alert in await turn(place, gateways) if alert.data.get("day") == day]
    assert len(found) == 1
    data = found[0].data
    assert data["spent"]["credits"] == "6"
    assert data["spent_before"]["credits"] == "1"
    assert data["requests"] == 4
    assert [row["name"] for row in data["models"]] == ["gemini", "gpt-4o"]
    assert found[0].occurred_at == due


async def test_monthly_billing_statements_are_made_on_the_first_at_the_hour_that_the_organisation_chose(
    place: Town,
) -> None:
    gateway = await place.gateway(Directory({}))
    await gateway.alerts.choices.set(
        "acme", OrgAlertChoices(summary_hour=17, daily_summary=False), actor="test"
    )
    await used(place, datetime(2026, 10, 31, 23, tzinfo=UTC), 5_000_000)  # already November in Paris
    await used(place, datetime(2026, 11, 30, 22, 45, tzinfo=UTC), 7_000_000)
    place.clock.time = datetime(2026, 12, 1, 15, 59, tzinfo=UTC)
    assert await turn(place, [gateway]) == []
    place.clock.time = datetime(2026, 12, 1, 16, 0, tzinfo=UTC)
    (statement,) = await turn(place, [gateway])
    assert (statement.kind, statement.data["month"]) == ("monthly_statement", "2026-11")
    assert statement.data["spent"]["credits"] == "12"


@pytest.mark.parametrize(
    ("former", "zone"),
    [
        ("Asia/Kolkata", "America/Los_Angeles"),
        ("Pacific/Kiritimati", "Pacific/Pago_Pago"),  # a whole day and an hour later
        ("America/Los_Angeles", "Asia/Kolkata"),
    ],
)
async def test_a_day_and_a_month_are_told_when_they_are_over_where_the_organisation_has_moved_to(
    place: Town, former: str, zone: str
) -> None:
    gateway = await place.gateway(Directory({}))
    gateway.calendar = Calendar(former)
    start, moved = datetime(2026, 11, 29, tzinfo=UTC), datetime(2026, 11, 30, 10, tzinfo=UTC)
    for hour in range(72):
        await used(place, start + timedelta(hours=hour), 1_000_000)
    for hour in range(72):
        place.clock.time = start + timedelta(hours=hour)
        if place.clock.time == moved:
            gateway.calendar = Calendar(zone)
        await turn(place, [gateway])
    at = datetime(2026, 12, 1, 8, tzinfo=ZoneInfo(zone))
    told = [
        alert for alert in await turn(place, [gateway])
        if alert.data.get("day") == "2026-11-30" or alert.data.get("month") == "2026-11"
    ]  # fmt: skip
    assert {alert.kind: alert.occurred_at for alert in told} == {"daily_summary": at, "monthly_statement": at}
    day = next(alert for alert in told if alert.kind == "daily_summary")
    assert (day.data["spent"]["credits"], day.data["to"]) == ("24", instant(at - timedelta(hours=8)))
    due = at.astimezone(UTC).replace(minute=0) + timedelta(hours=at.astimezone(UTC).minute > 0)
    assert {alert.recorded_at for alert in told} == {due}


async def test_a_day_without_usage_is_not_told(place: Town) -> None:
    gateway = await place.gateway(Directory({}))
    place.clock.time = datetime(2026, 11, 22, 7, tzinfo=UTC)
    assert await turn(place, [gateway]) == []


async def test_an_hour_far_above_its_like_is_told_with_what_it_is_compared_to(place: Town) -> None:
    gateway = await place.gateway(Directory({}))
    await gateway.alerts.choices.set(
        "acme", OrgAlertChoices(daily_summary=False, monthly_statement=False), actor="test"
    )
    hour = datetime(2026, 11, 17, 14, tzinfo=UTC)
    for week in range(1, 9):
        before = hour.astimezone(PARIS) - timedelta(weeks=week)  # by the wall: clocks went back in between
        await used(place, before.astimezone(UTC), 100_000_000 + week)
    await used(place, hour + timedelta(minutes=30), 400_000_000)
    place.clock.time = hour + timedelta(hours=1, minutes=9)
    assert await turn(place, [gateway]) == []
    place.clock.time = hour + timedelta(hours=1, minutes=10)
    (alert,) = await turn(place, [gateway])
    assert alert.kind == "spend_anomaly"
    assert (alert.data["spent"]["credits"], alert.data["weeks"]) == ("400", 8)
    assert alert.data["most"]["microcredits"] == 100_000_008
    place.clock.time += timedelta(minutes=20)
    assert len(await turn(place, [gateway])) == 1


async def test_credits_that_expire_are_told_thirty_seven_and_one_day_ahead(place: Town) -> None:
    gateway = await place.gateway(Directory({}))
    expiry = datetime(2026, 12, 24, 12, tzinfo=UTC)
    async with place.postgres.transaction() as session:
        await session.execute("SET LOCAL session_replication_role = replica")
        transaction = await session.fetch_value(
            """INSERT INTO ledger_transactions (org_id, kind, idempotency_key, occurred_at, actor, reason,
               balance_after_microcredits)
               VALUES ('acme', 'promotion', 'k', $1, 'test', 'test', 5000000) RETURNING id""",
            place.clock.time,
        )
        await session.execute(
            "INSERT INTO ledger_grants VALUES ('g1', 'acme', $1, 'promotion', 5000000, 0, $2, $3)",
            transaction,
            expiry,
            place.clock.time,
        )
        await session.execute("INSERT INTO ledger_grant_balances VALUES ('g1', 'acme', 5000000, 0)")
    told = {}
    for days in (31, 30, 29, 8, 7, 6, 2, 1, 0):
        place.clock.time = expiry - timedelta(days=days) + timedelta(minutes=15)
        told[days] = [alert.data["days"] for alert in await turn(place, [gateway])]
    assert told[31] == []
    assert told[30] == told[29] == told[8] == [30]
    assert told[7] == told[6] == told[2] == [30, 7]
    assert told[1] == told[0] == [30, 7, 1]
