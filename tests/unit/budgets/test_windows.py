"""Calendar windows cover all time without gap or overlap, in every zone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budgets.model import Window
from gateway.budgets.windows import Calendar, Interval, Weekday

HOUR_US = 3_600_000_000
QUARTER_US = 15 * 60 * 1_000_000
ZONES = sorted(available_timezones())
INSTANTS = st.integers(
    int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000,
    int(datetime(2037, 12, 1, tzinfo=UTC).timestamp()) * 1_000_000,
)
CALENDAR_WINDOWS = [Window.DAY, Window.WEEK, Window.MONTH]


def us(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1_000_000


def hours(interval: Interval) -> float:
    assert interval.end_us is not None
    return (interval.end_us - interval.start_us) / HOUR_US


@given(st.sampled_from(ZONES), INSTANTS, st.sampled_from(CALENDAR_WINDOWS), st.sampled_from(list(Weekday)))
def test_windows_tile_time_and_edges_fall_on_quarter_hours(
    zone: str, now_us: int, window: Window, week_start: Weekday
) -> None:
    calendar = Calendar(zone, week_start)
    found = calendar.around(now_us).of(window)
    assert found.end_us is not None
    assert found.start_us <= now_us < found.end_us
    assert found.start_us % QUARTER_US == 0
    assert found.end_us % QUARTER_US == 0
    assert calendar.around(found.start_us).of(window) == found
    assert calendar.around(found.end_us - 1).of(window) == found
    assert calendar.around(found.end_us).of(window).start_us == found.end_us
    assert calendar.around(found.start_us - 1).of(window).end_us == found.start_us


@given(st.sampled_from(ZONES), st.lists(INSTANTS, min_size=2, max_size=5))
def test_what_was_asked_before_changes_no_answer(zone: str, instants: list[int]) -> None:
    calendar = Calendar(zone)
    for now_us in instants:
        assert calendar.around(now_us) == Calendar(zone).around(now_us)


@pytest.mark.parametrize(
    ("zone", "noon", "length_h"),
    [
        ("Europe/Paris", "2026-03-29T12:00", 23),
        ("Europe/Paris", "2026-10-25T12:00", 25),
        ("America/St_Johns", "2026-03-08T12:00", 23),
        ("America/St_Johns", "2010-11-06T12:00", 24),
        ("Asia/Kolkata", "2026-03-29T12:00", 24),
        ("Australia/Lord_Howe", "2026-04-05T12:00", 24.5),
        ("America/Sao_Paulo", "2018-11-04T12:00", 23),
        ("UTC", "2026-03-29T12:00", 24),
    ],
)
def test_days_are_as_long_as_the_zone_makes_them(zone: str, noon: str, length_h: float) -> None:
    assert hours(Calendar(zone).around(us(noon, zone)).day) == length_h


def test_a_day_whose_midnight_is_skipped_begins_at_its_first_instant() -> None:
    day = Calendar("America/Sao_Paulo").around(us("2018-11-04T12:00", "America/Sao_Paulo")).day
    assert day.start_us == us("2018-11-04T03:00")


def test_half_hour_zones_start_at_their_own_midnight() -> None:
    assert Calendar("Asia/Kolkata").around(us("2026-05-01T00:00")).day.start_us == us("2026-04-30T18:30")


@pytest.mark.parametrize(
    ("instant", "start", "end"),
    [
        ("2028-02-29T23:59", "2028-02-01", "2028-03-01"),
        ("2027-02-28T23:59", "2027-02-01", "2027-03-01"),
        ("2026-12-31T23:59", "2026-12-01", "2027-01-01"),
        ("2026-01-31T00:00", "2026-01-01", "2026-02-01"),
    ],
)
def test_months_of_any_length(instant: str, start: str, end: str) -> None:
    month = Calendar("UTC").around(us(instant)).month
    assert month == Interval(us(start), us(end))


@pytest.mark.parametrize(
    ("week_start", "start"),
    [(Weekday.MONDAY, "2026-03-02"), (Weekday.SUNDAY, "2026-03-08"), (Weekday.SATURDAY, "2026-03-07")],
)
def test_weeks_start_where_the_org_says(week_start: Weekday, start: str) -> None:
    # 8 March 2026 is a Sunday.
    assert Calendar("UTC", week_start).around(us("2026-03-08T10:00")).week.start_us == us(start)


def test_total_has_no_end() -> None:
    assert Calendar("UTC").around(us("2026-03-08T10:00")).total == Interval(0, None)


def test_instants_are_told_in_the_orgs_zone() -> None:
    assert Calendar("Asia/Kolkata").local(us("2026-03-08T18:30")) == "2026-03-09 00:00 (Asia/Kolkata)"
