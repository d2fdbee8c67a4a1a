"""When summaries are due: by the clock on the wall of each zone, on the days when clocks change too."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.jobs.local_times import day_named, days_around, instant, month_named, months_around

PARIS, KOLKATA, ST_JOHNS = ZoneInfo("Europe/Paris"), ZoneInfo("Asia/Kolkata"), ZoneInfo("America/St_Johns")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "day", "hour", "expected"),
    [
        (KOLKATA, "2026-11-22", 8, "2026-11-22T02:30"),
        (ST_JOHNS, "2026-01-10", 8, "2026-01-10T11:30"),
        (ST_JOHNS, "2026-07-10", 8, "2026-07-10T10:30"),
        (PARIS, "2026-03-29", 1, "2026-03-29T00:00"),
        (PARIS, "2026-03-29", 2, "2026-03-29T01:00"),  # skipped: clocks go from 2 to 3
        (PARIS, "2026-03-29", 3, "2026-03-29T01:00"),
        (PARIS, "2026-10-25", 2, "2026-10-25T00:00"),  # twice: the first
        (PARIS, "2026-10-25", 3, "2026-10-25T02:00"),
        (ST_JOHNS, "2026-03-08", 2, "2026-03-08T05:30"),
        (ST_JOHNS, "2026-11-01", 1, "2026-11-01T03:30"),
    ],
)
def test_an_hour_of_a_day_is_one_instant(zone: ZoneInfo, day: str, hour: int, expected: str) -> None:
    assert instant(datetime.fromisoformat(day).date(), hour, zone) == utc(expected)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (PARIS, "2026-03-29", 23),
        (PARIS, "2026-10-25", 25),
        (ST_JOHNS, "2026-03-08", 23),
        (ST_JOHNS, "2026-11-01", 25),
        (KOLKATA, "2026-03-29", 24),
    ],
)
def test_a_day_is_as_long_as_clocks_make_it(zone: ZoneInfo, day: str, hours: int) -> None:
    period = day_named(day, zone, 8)
    assert period.end - period.start == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("now", "names"),
    [
        # Paris is at UTC+1 in November: 8 o'clock there is 7 in UTC.
        ("2026-11-22T06:59", ["2026-11-20", "2026-11-21"]),
        ("2026-11-22T07:00", ["2026-11-21", "2026-11-22"]),
        ("2026-11-22T22:59", ["2026-11-21", "2026-11-22"]),
        ("2026-11-22T23:00", ["2026-11-21", "2026-11-22"]),
        ("2028-03-01T07:00", ["2028-02-29", "2028-03-01"]),
    ],
)
def test_the_last_day_that_is_due_and_the_next(now: str, names: list[str]) -> None:
    found = list(days_around(utc(now), PARIS, 8))
    assert [period.name for period in found] == names
    assert found[0].run_at <= utc(now) < found[1].run_at


@pytest.mark.parametrize("zone", [PARIS, KOLKATA, ST_JOHNS])
@pytest.mark.parametrize("hour", [0, 2, 8, 23])
def test_every_day_of_a_year_comes_once_and_days_join(zone: ZoneInfo, hour: int) -> None:
    now, seen = utc("2028-01-01T00:00"), {}
    while now < utc("2029-01-03T00:00"):
        for period in days_around(now, zone, hour):
            seen[period.name] = period
        now += timedelta(hours=5)
    days = [seen[name] for name in sorted(seen)]
    assert len(days) >= 366
    assert all(before.end == after.start for before, after in itertools.pairwise(days))
    assert all(day.run_at >= day.end for day in days)
    assert days == [day_named(day.name, zone, hour) for day in days]


@pytest.mark.parametrize(
    ("now", "names"),
    [
        ("2026-03-01T06:59", ["2026-01", "2026-02"]),
        ("2026-03-01T07:00", ["2026-02", "2026-03"]),
        ("2026-12-31T23:30", ["2026-11", "2026-12"]),  # already January in Paris, not yet 8 o'clock
        ("2027-01-01T07:00", ["2026-12", "2027-01"]),
    ],
)
def test_the_last_month_that_is_due_and_the_next(now: str, names: list[str]) -> None:
    assert [period.name for period in months_around(utc(now), PARIS, 8)] == names


def test_a_month_reaches_from_midnight_to_midnight_over_a_change_of_clocks() -> None:
    month = month_named("2026-03", PARIS, 8)
    assert (month.start, month.end) == (utc("2026-02-28T23:00"), utc("2026-03-31T22:00"))
    assert month.run_at == utc("2026-04-01T06:00")
    leap = month_named("2028-02", KOLKATA, 8)
    assert leap.end - leap.start == timedelta(days=29)
