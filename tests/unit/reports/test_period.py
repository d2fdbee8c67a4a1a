"""Stretches of time are cut where an org's own calendar says."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from gateway.reports.period import Granularity, OrgCalendar, ReportPeriod


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("Europe/Paris", "2026-03-29", "2026-03-28T23:00", 23),
        ("Europe/Paris", "2026-10-25", "2026-10-24T22:00", 25),
        ("America/St_Johns", "2026-03-08", "2026-03-08T03:30", 23),
        ("America/St_Johns", "2026-11-01", "2026-11-01T02:30", 25),
        ("Asia/Kolkata", "2024-02-29", "2024-02-28T18:30", 24),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00", 24.5),
        # Clocks in Santiago go from midnight to one o'clock: the day begins at the first instant of its date.
        ("America/Santiago", "2026-09-06", "2026-09-06T04:00", 23),
        ("UTC", "2026-11-22", "2026-11-22T00:00", 24),
    ],
)
def test_a_day_begins_at_the_first_instant_of_its_local_date(
    zone: str, day: str, start: str, hours: float
) -> None:
    period = OrgCalendar(zone).around(ReportPeriod.DAILY, date.fromisoformat(day))
    assert period.start == utc(start)
    assert period.length == timedelta(hours=hours)
    assert OrgCalendar(zone).day_of(period.end - timedelta(microseconds=1)) == date.fromisoformat(day)
    assert OrgCalendar(zone).day_of(period.end) == period.after


@pytest.mark.parametrize(("week_start", "first"), [(0, "2026-11-16"), (6, "2026-11-22"), (5, "2026-11-21")])
def test_a_week_begins_on_the_day_that_the_org_says(week_start: int, first: str) -> None:
    period = OrgCalendar("Asia/Kolkata", week_start).around(ReportPeriod.WEEKLY, date(2026, 11, 22))
    assert (str(period.first), (period.after - period.first).days) == (first, 7)


@pytest.mark.parametrize(
    ("day", "days"), [("2024-02-10", 29), ("2026-02-10", 28), ("2026-12-31", 31), ("2026-11-30", 30)]
)
def test_a_month_has_the_days_of_the_calendar_and_its_predecessor_too(day: str, days: int) -> None:
    calendar = OrgCalendar("America/St_Johns")
    period = calendar.around(ReportPeriod.MONTHLY, date.fromisoformat(day))
    assert (period.after - period.first).days == days
    before = calendar.before(period)
    assert before.after == period.first
    assert before.first.day == 1


def test_other_stretches_are_compared_with_as_much_time_before_them() -> None:
    calendar = OrgCalendar("Europe/Paris")
    week = calendar.days(date(2026, 3, 27), date(2026, 4, 3))
    assert calendar.before(week) == calendar.days(date(2026, 3, 20), date(2026, 3, 27))
    hours = calendar.between(utc("2026-11-22T10:00"), utc("2026-11-22T16:00"))
    assert calendar.before(hours).start == utc("2026-11-22T04:00")


def test_instants_are_widened_to_quarters_and_days_are_recognised() -> None:
    calendar = OrgCalendar("Asia/Kolkata")
    period = calendar.between(utc("2026-11-22T10:01"), utc("2026-11-22T10:16"))
    assert (period.start, period.end) == (utc("2026-11-22T10:00"), utc("2026-11-22T10:30"))
    assert not period.whole_days
    whole = calendar.between(utc("2026-11-21T18:30"), utc("2026-11-23T18:30"))
    assert whole == calendar.days(date(2026, 11, 22), date(2026, 11, 24))


@pytest.mark.parametrize(
    ("granularity", "first", "after", "steps"),
    [
        (Granularity.DAY, "2024-02-28", "2024-03-02", ["2024-02-28", "2024-02-29", "2024-03-01"]),
        (Granularity.WEEK, "2026-11-18", "2026-11-24", ["2026-11-16", "2026-11-23"]),
        (Granularity.MONTH, "2026-01-31", "2026-03-02", ["2026-01-01", "2026-02-01", "2026-03-01"]),
    ],
)
def test_a_series_has_a_step_for_each_day_week_or_month_that_it_touches(
    granularity: Granularity, first: str, after: str, steps: list[str]
) -> None:
    calendar = OrgCalendar("UTC")
    period = calendar.days(date.fromisoformat(first), date.fromisoformat(after))
    assert [str(step) for step in calendar.steps(period, granularity)] == steps
