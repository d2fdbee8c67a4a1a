"""A limit says when it is fresh again, in UTC and as people of its zone write it, and how its grace stands."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.budgets.model import Grace, Limit, Scope, Window
from gateway.budgets.standings import GraceState, LimitStanding, Source, standing
from gateway.budgets.windows import Calendar, Weekday

CREDIT = 1_000_000


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def of(
    zone: str,
    now: str,
    window: Window = Window.DAY,
    *,
    week_start: Weekday = Weekday.MONDAY,
    amount: int = CREDIT,
    spent: int = 0,
    held: int = 0,
    grace: Grace | None = None,
    grace_start: str | None = None,
) -> LimitStanding:
    calendar = Calendar(zone, week_start)
    return standing(
        Limit(Scope.ORG, "acme", window, amount, grace=grace),
        Source.API,
        calendar,
        calendar.around(us(now)).of(window),
        spent=spent,
        held=held,
        grace_start_us=None if grace_start is None else us(grace_start),
        now_us=us(now),
    )


@pytest.mark.parametrize(
    ("zone", "now", "window", "resets_at", "local"),
    [
        ("Asia/Kolkata", "2026-11-22 18:29", Window.DAY, "2026-11-22 18:30", "2026-11-23 00:00"),
        ("Asia/Kolkata", "2026-11-22 18:30", Window.DAY, "2026-11-23 18:30", "2026-11-24 00:00"),
        ("Asia/Kolkata", "2028-02-29 00:00", Window.MONTH, "2028-02-29 18:30", "2028-03-01 00:00"),
        # Newfoundland's clocks go back on 2026-11-01 and forward on 2027-03-14, at 2:00.
        ("America/St_Johns", "2026-11-01 03:00", Window.DAY, "2026-11-02 03:30", "2026-11-02 00:00"),
        ("America/St_Johns", "2027-03-14 04:00", Window.DAY, "2027-03-15 02:30", "2027-03-15 00:00"),
        ("America/St_Johns", "2026-10-31 12:00", Window.MONTH, "2026-11-01 02:30", "2026-11-01 00:00"),
        ("America/St_Johns", "2027-03-31 12:00", Window.MONTH, "2027-04-01 02:30", "2027-04-01 00:00"),
        ("America/St_Johns", "2027-03-14 12:00", Window.WEEK, "2027-03-15 02:30", "2027-03-15 00:00"),
    ],
)
def test_a_limit_resets_where_the_organisations_calendar_says(
    zone: str, now: str, window: Window, resets_at: str, local: str
) -> None:
    found = of(zone, now, window)
    assert found.window.end_us == us(resets_at)
    assert found.resets_at_local == f"{local} ({zone})"


def test_the_week_begins_on_the_day_that_the_organisation_chose() -> None:
    sunday = of("UTC", "2026-11-22 12:00", Window.WEEK, week_start=Weekday.SUNDAY)
    assert (sunday.window.start_us, sunday.window.end_us) == (us("2026-11-22 00:00"), us("2026-11-29 00:00"))


def test_a_total_never_resets() -> None:
    found = of("UTC", "2026-11-22 12:00", Window.TOTAL)
    assert (found.window.end_us, found.resets_at_local) == (None, None)


def test_left_and_percent_count_what_is_spent_and_held() -> None:
    found = of("UTC", "2026-11-22 12:00", spent=749_999, held=200_000)
    assert (found.left, found.permille) == (50_001, 749)
    assert of("UTC", "2026-11-22 12:00", spent=2 * CREDIT).left == -CREDIT
    assert of("UTC", "2026-11-22 12:00", amount=0).permille is None


@pytest.mark.parametrize(
    ("grace", "start", "now", "state", "ends"),
    [
        (None, None, "2026-11-22 12:00", GraceState.NONE, None),
        (Grace(10, 60), None, "2026-11-22 12:00", GraceState.UNUSED, None),
        (Grace(10, 60), "2026-11-22 11:30", "2026-11-22 12:29", GraceState.RUNNING, "2026-11-22 12:30"),
        (Grace(10, 60), "2026-11-22 11:30", "2026-11-22 12:30", GraceState.OVER, "2026-11-22 12:30"),
    ],
)
def test_grace_is_unused_runs_or_is_over(
    grace: Grace | None, start: str | None, now: str, state: GraceState, ends: str | None
) -> None:
    found = of("UTC", now, grace=grace, grace_start=start)
    assert (found.grace, found.grace_ends_us) == (state, None if ends is None else us(ends))
