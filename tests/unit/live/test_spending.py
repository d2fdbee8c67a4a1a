"""Sums that listeners are shown cut time where the organisation's calendar does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budgets.windows import Calendar, Weekday
from gateway.live.spending import DAY_US, QUARTER_US, Spending, Stretch, Sums, quarter_of
from tests.unit.live.making import us


def sums_of(starts: dict[str, int], zone: str, now: str) -> Sums:
    spending = Spending()
    spending.set_base({})
    for at, microcredits in starts.items():
        spending.add(us(at), microcredits)
    found = spending.sums(Calendar(zone), us(now))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("zone", "now", "last_of_yesterday", "first_of_today"),
    [
        ("UTC", "2026-11-22 12:00", "2026-11-21 23:59", "2026-11-22 00:00"),
        ("Asia/Kolkata", "2026-11-22 12:00", "2026-11-21 18:29", "2026-11-21 18:30"),
        # Newfoundland is at -2:30 until 2026-11-01 02:00 and at -3:30 after it.
        ("America/St_Johns", "2026-11-01 12:00", "2026-11-01 02:29", "2026-11-01 02:30"),
        ("America/St_Johns", "2026-11-02 12:00", "2026-11-02 03:29", "2026-11-02 03:30"),
        ("America/St_Johns", "2026-03-08 12:00", "2026-03-08 03:29", "2026-03-08 03:30"),
        ("America/St_Johns", "2026-03-09 12:00", "2026-03-09 02:29", "2026-03-09 02:30"),
    ],
)
def test_today_begins_at_local_midnight_on_both_days_of_daylight_saving(
    zone: str, now: str, last_of_yesterday: str, first_of_today: str
) -> None:
    assert sums_of({last_of_yesterday: 1, first_of_today: 10}, zone, now).today == 10


@pytest.mark.parametrize(
    ("zone", "now", "before", "after"),
    [
        ("Asia/Kolkata", "2028-02-29 19:00", "2028-02-29 18:29", "2028-02-29 18:30"),
        ("America/St_Johns", "2027-01-01 03:30", "2027-01-01 03:29", "2027-01-01 03:30"),
        ("UTC", "2028-03-01 00:00", "2028-02-29 23:59", "2028-03-01 00:00"),
    ],
)
def test_a_month_begins_at_local_midnight_of_its_first_also_after_a_leap_day(
    zone: str, now: str, before: str, after: str
) -> None:
    assert sums_of({before: 1, after: 10}, zone, now).this_month == 10


def test_a_request_belongs_to_the_day_in_which_it_started_however_late_it_settles() -> None:
    spending = Spending()
    spending.set_base({})
    calendar = Calendar("UTC")
    spending.add(us("2026-11-21 23:59"), 7)
    before = spending.sums(calendar, us("2026-11-21 23:59"))
    after = spending.sums(calendar, us("2026-11-22 00:01"))
    assert before is not None
    assert after is not None
    assert (before.today, after.today, after.this_month) == (7, 0, 7)


def test_rates_are_of_whole_quarters_scaled_to_the_hour_and_the_day() -> None:
    now = "2026-11-22 12:07"
    found = sums_of({"2026-11-22 11:00": 67, "2026-11-22 10:59": 1000, "2026-11-21 12:00": 380}, "UTC", now)
    assert found.per_hour == 67 * 60 // 67
    assert found.per_day == 1447 * 24 * 60 // (24 * 60 + 7)


def test_nothing_is_said_until_the_base_is_known_and_what_was_told_meanwhile_is_added() -> None:
    spending, calendar, now_us = Spending(), Calendar("UTC"), us("2026-11-22 12:00")
    spending.add(now_us, 5)
    assert spending.sums(calendar, now_us) is None
    spending.set_base({"chat": {quarter_of(now_us): 100}, "image": {quarter_of(now_us): 1}})
    found = spending.sums(calendar, now_us)
    assert found is not None
    assert found.today == 106
    spending.forget()
    assert spending.sums(calendar, now_us) is None


@given(
    now_us=st.integers(us("2024-01-01 00:00"), us("2032-01-01 00:00")),
    zone=st.sampled_from(
        ["UTC", "Asia/Kolkata", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe"]
    ),
    week_start=st.sampled_from(Weekday),
    ages=st.lists(st.integers(0, 40 * 24 * 4), max_size=60),
)
def test_sums_are_the_same_whether_old_usage_comes_by_days_or_by_quarters(
    now_us: int, zone: str, week_start: Weekday, ages: list[int]
) -> None:
    calendar = Calendar(zone, week_start)
    stretch = Stretch.of(calendar, now_us)
    fine: dict[int, int] = {}
    coarse: dict[int, int] = {}
    for age in ages:
        cell_us = quarter_of(now_us) - age * QUARTER_US
        if cell_us < stretch.since_us:
            continue
        fine[cell_us] = fine.get(cell_us, 0) + 1
        if cell_us < stretch.fine_since_us:
            cell_us = calendar.around(cell_us).day.start_us
        coarse[cell_us] = coarse.get(cell_us, 0) + 1
    assert Sums.of(fine, calendar, now_us) == Sums.of(coarse, calendar, now_us)
    windows = calendar.around(now_us)
    for start_us in (
        windows.week.start_us,
        windows.month.start_us,
        quarter_of(now_us) - DAY_US,
    ):
        assert stretch.since_us <= start_us
