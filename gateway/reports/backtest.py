"""How good forecasts would have been: made again on every day of a history, next to a plain mean of all days before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.reports.forecast import HISTORY_DAYS_MIN, SEASON_DAYS, error_band, expected_days

LENGTHS = (1, 7, 14, 30)
Method = Callable[[Sequence[int], int], int]
"""(history, days) to what is expected of the days that follow it."""


@dataclass(frozen=True, slots=True)
class Score:
    """Of one method at one length of forecasts."""

    days: int
    forecasts: int
    error_percent: float
    """Sum of absolute errors over the sum of what was used."""
    naive_error_percent: float
    within_band_percent: float
    """How often the actual usage was inside the band; 80 is what the band claims."""


def naive(history: Sequence[int], days: int) -> int:
    """The mean of all days so far."""
    return sum(history) * days // len(history)


def backtest(history: Sequence[int], lengths: Sequence[int] = LENGTHS) -> Iterator[Score]:
    """One score for each length that the history is long enough for."""
    for days in lengths:
        actual_sum = off = naive_off = within = forecasts = 0
        for made_at in range(max(HISTORY_DAYS_MIN, SEASON_DAYS), len(history) - days + 1):
            known, actual = history[:made_at], sum(history[made_at : made_at + days])
            expected = expected_days(known, 0, days)
            low, high = error_band(known, days)
            forecasts += 1
            actual_sum += actual
            off += abs(actual - expected)
            naive_off += abs(actual - naive(known, days))
            within += expected * low <= actual <= expected * high
        if forecasts and actual_sum:
            yield Score(
                days,
                forecasts,
                100 * off / actual_sum,
                100 * naive_off / actual_sum,
                100 * within / forecasts,
            )


def table(scores: Sequence[Score]) -> Iterator[str]:
    """For people."""
    yield f"{'forecast':>10}  {'made':>6}  {'error':>8}  {'plain mean':>10}  {'in 80 % band':>12}"
    for score in scores:
        yield (
            f"{score.days:>5} days  {score.forecasts:>6}  {score.error_percent:>6.1f} %  "
            f"{score.naive_error_percent:>8.1f} %  {score.within_band_percent:>10.1f} %"
        )
