"""Forecasts: explainable, honest about their errors, and silent without a history."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

import pytest

from gateway.ledger.burning import GrantKind
from gateway.ledger.postgres_reading import GrantStanding
from gateway.reports.backtest import backtest, table
from gateway.reports.forecast import Forecast, expected_days
from gateway.reports.prepaid import Prepaid

MONDAY = date(2026, 11, 23)
WEEK = (100, 110, 120, 110, 90, 10, 0)


def test_under_seven_days_of_history_are_too_few() -> None:
    assert not Forecast(MONDAY, (5,) * 6).sufficient
    assert Forecast(MONDAY, (5,) * 7).sufficient


def test_with_less_than_four_weeks_it_is_the_mean_of_the_last_seven_days() -> None:
    forecast = Forecast(MONDAY, (1000,) * 5 + WEEK)
    assert forecast.method == "mean_7_days"
    assert forecast.of_day(MONDAY) == sum(WEEK) // 7
    assert expected_days(forecast.history, 0, 14) == 2 * sum(WEEK)


def test_with_four_weeks_each_weekday_has_its_own_mean() -> None:
    forecast = Forecast(MONDAY, WEEK * 4)
    assert forecast.method == "weekday_mean_28_days"
    assert [forecast.of_day(MONDAY + timedelta(days=n)) for n in range(9)] == [*WEEK, *WEEK[:2]]
    assert forecast.of_days(MONDAY + timedelta(days=5), 3).mean == 10 + 0 + 100


def test_what_never_varied_has_no_band() -> None:
    expectation = Forecast(MONDAY, WEEK * 12).of_days(MONDAY, 7)
    assert (expectation.low, expectation.mean, expectation.high) == (sum(WEEK),) * 3


@pytest.mark.parametrize("days", [1, 7, 30])
def test_the_band_holds_about_eight_times_in_ten(days: int) -> None:
    dice = random.Random(7)
    history = [round(WEEK[n % 7] * (100 + n) * 10_000 * dice.lognormvariate(0, 0.2)) for n in range(350)]
    [score] = backtest(history, [days])
    assert 70 <= score.within_band_percent <= 95
    assert (
        score.error_percent < score.naive_error_percent / 2
    )  # the plain mean knows no growth and no weekday


def test_the_day_of_exhaustion_counts_weekdays_and_the_rest_of_today() -> None:
    forecast = Forecast(MONDAY, WEEK * 12)
    assert forecast.exhaustion(50, 0.5).expected == MONDAY
    assert forecast.exhaustion(51, 0.5).expected == MONDAY + timedelta(days=1)
    # Saturday leaves one, Sunday uses nothing: the Monday after takes it.
    assert forecast.exhaustion(541, 1.0).expected == MONDAY + timedelta(days=7)
    assert forecast.exhaustion(-1, 1.0).expected == MONDAY
    assert forecast.exhaustion(10**9, 1.0).expected is None


def test_credits_that_expire_are_gone_unless_they_were_used_before() -> None:
    forecast = Forecast(MONDAY, (10,) * 28)

    def runs_out(balance: int, *parts: tuple[int | None, int]) -> int | None:
        days = [(None if ahead is None else MONDAY + timedelta(days=ahead), left) for ahead, left in parts]
        found = forecast.exhaustion(balance, 1.0, days).expected
        return None if found is None else (found - MONDAY).days

    assert runs_out(1000) == 99
    # 990 are gone on Tuesday, of which 20 were used; the other 10 pay for Wednesday
    assert runs_out(1000, (1, 990)) == 2
    assert runs_out(1000, (1, 20)) == 99
    assert runs_out(1000, (1, 120), (9, 50)) == 89
    assert runs_out(1000, (3, 1000)) == 3
    # What is used first by its priority does not save what expires meanwhile.
    assert runs_out(200, (None, 100), (5, 100)) == 9
    assert runs_out(200, (5, 100), (None, 100)) == 15
    # The ledger has not posted yet that 60 were used, which the first grant paid.
    assert runs_out(140, (None, 100), (5, 100)) == 5


def test_grants_are_used_up_in_the_order_in_which_usage_takes_them() -> None:
    at = datetime(2026, 3, 2, tzinfo=UTC)

    def grant(name: str, left: int, priority: int, expires_at: datetime | None) -> GrantStanding:
        return GrantStanding(
            *(name, "acme", 1, GrantKind.PURCHASE, 100, left, 0, priority, expires_at, at, "x", "", None)
        )

    found = Prepaid.of(60, [grant("a", 10, 100, None), grant("b", 20, 100, at), grant("c", 30, 50, None)])
    assert found == Prepaid(60, ((None, 30), (at, 20), (None, 10)))


def test_an_org_that_stopped_is_expected_to_use_nothing() -> None:
    forecast = Forecast(MONDAY, WEEK * 4 + (0,) * 28)
    assert forecast.of_days(MONDAY, 30).high == 0
    assert forecast.exhaustion(10, 1.0).expected is None


def test_the_table_says_how_many_forecasts_were_made() -> None:
    lines = list(table(list(backtest(list(WEEK * 10)))))
    assert len(lines) == 5
    assert lines[1].split()[:3] == ["1", "days", "42"]
