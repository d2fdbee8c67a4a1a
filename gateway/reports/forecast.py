"""What usage to expect: the mean of the same weekday over the last four weeks, and how far such forecasts were off.

    expected(day) = mean of the last 28 days' usage on that weekday; with less than 28 days, the mean of the last 7 days
    band          = the middle 80 % of actual / expected, over forecasts of this length as they would have been made
                    in the last twelve weeks; where too few of those fit into the history, from single days,
                    narrowed by the root of the number of days

Under 7 days of history there is no forecast. Pure: takes daily sums, oldest first, without gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import sqrt

HISTORY_DAYS_MIN = 7
SEASON_DAYS = 28
BAND_DAYS = 84
"""How far back forecasts are tried, to see how far off they were: twelve weeks."""
TRIALS_MIN = 10
"""Forecasts that have to be tried before their errors are a band: with ten, the 80 % leave one out on each side."""
LENGTH_TRIED_MAX = 14
"""Longer forecasts are judged by those of this length: there are too few longer ones in twelve weeks."""
OUTSIDE = 0.1
"""On each side of the band: 80 % are inside."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Of some days together, in microcredits."""

    mean: int
    low: int
    high: int
    """Eight times in ten usage is between ``low`` and ``high``."""


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """The days on which the balance is used up: with expected usage, and at the edges of the band (None: not within
    `EXHAUSTION_DAYS_MAX`)."""

    expected: date | None
    earliest: date | None
    latest: date | None


EXHAUSTION_DAYS_MAX = 365
Part = tuple[date | None, int]
"""Of a balance: the last day on which it can be used (None: there is none), and microcredits."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Made of ``history``: microcredits of each day before ``today``, oldest first."""

    today: date
    history: tuple[int, ...]

    @property
    def sufficient(self) -> bool:
        return len(self.history) >= HISTORY_DAYS_MIN

    @property
    def method(self) -> str:
        return "weekday_mean_28_days" if len(self.history) >= SEASON_DAYS else "mean_7_days"

    def of_day(self, day: date) -> int:
        """What is expected of one day, today or later."""
        return expected_days(self.history, (day - self.today).days, 1)

    def of_days(self, first: date, days: int) -> Expectation:
        """What is expected of ``days`` days from ``first`` on, today or later, together."""
        mean = expected_days(self.history, (first - self.today).days, days)
        low, high = error_band(self.history, days)
        return Expectation(mean, round(mean * low), round(mean * high))

    def exhaustion(
        self, balance_microcredits: int, rest_of_today: float, parts: Sequence[Part] = ()
    ) -> Exhaustion:
        """When a balance runs out. ``rest_of_today``: which part of today is still to come, 0 to 1; ``parts``: of the
        balance, in the order in which usage takes them. What they are too little is there for ever, and what they are
        too much was used already."""
        low, high = error_band(self.history, LENGTH_TRIED_MAX)
        lasting = balance_microcredits - sum(microcredits for _, microcredits in parts)
        there = [*parts, (None, max(0, lasting))]
        return Exhaustion(
            *(
                self._runs_out(_taken(there, max(0, -lasting)), rest_of_today, factor)
                for factor in (1.0, high, low)
            )
        )

    def _runs_out(
        self, parts: list[tuple[date | None, float]], rest_of_today: float, factor: float
    ) -> date | None:
        for ahead in range(EXHAUSTION_DAYS_MAX):
            day = self.today + timedelta(days=ahead)
            usage = expected_days(self.history, ahead, 1) * factor
            parts = _taken(parts, usage * rest_of_today if ahead == 0 else usage)
            parts = [(last, left) for last, left in parts if last is None or last > day]
            if not parts:
                return day
        return None


def _taken(parts: Sequence[tuple[date | None, float]], amount: float) -> list[tuple[date | None, float]]:
    """What ``amount`` leaves of the parts, taken from the first ones."""
    left = []
    for last, microcredits in parts:
        part = min(microcredits, amount)
        amount -= part
        if microcredits > part:
            left.append((last, microcredits - part))
    return left


def expected_days(history: Sequence[int], ahead: int, days: int) -> int:
    """Expected usage of ``days`` days, the first of them ``ahead`` days after the day that follows the history."""
    if len(history) < SEASON_DAYS:
        recent = history[-HISTORY_DAYS_MIN:]
        return sum(recent) * days // len(recent)
    # The history ends the day before, so the same weekday is 7, 14, 21 and 28 days before the day itself.
    weekdays = [sum(history[-SEASON_DAYS + offset :: 7]) for offset in range(7)]
    weeks, rest = divmod(days, 7)
    total = weeks * sum(weekdays) + sum(weekdays[(ahead + step) % 7] for step in range(rest))
    return total // (SEASON_DAYS // 7)


def error_band(history: Sequence[int], days: int) -> tuple[float, float]:
    """By which factors forecasts of ``days`` days were off, at the edges of the middle 80 %."""
    tried = min(days, LENGTH_TRIED_MAX)
    factors = _tried(history, tried)
    if len(factors) >= TRIALS_MIN:
        # Forecasts that overlap err alike: of n that do not, the band leaves (n + 1) / 10 - 1 out on each side.
        apart = len(factors) / tried
        outside = max(0.0, ((apart + 1) * OUTSIDE - 1) / apart)
        return _edge(factors, outside), _edge(factors, 1 - outside)
    mean = sum(history) / len(history)
    if mean == 0:
        return 1.0, 1.0
    singles = [value / mean for value in history]
    low, high = _edge(singles, OUTSIDE), _edge(singles, 1 - OUTSIDE)
    narrowing = sqrt(tried)
    return max(0.0, 1 + (low - 1) / narrowing), 1 + (high - 1) / narrowing


def _tried(history: Sequence[int], days: int) -> list[float]:
    """Actual usage over expected usage, of every forecast of ``days`` days that the last twelve weeks allow."""
    recent = history[-BAND_DAYS:]
    first = SEASON_DAYS if len(recent) >= SEASON_DAYS + days + TRIALS_MIN - 1 else HISTORY_DAYS_MIN
    factors = []
    for made_at in range(first, len(recent) - days + 1):
        expected = expected_days(recent[:made_at], 0, days)
        if expected:
            factors.append(sum(recent[made_at : made_at + days]) / expected)
    return factors


def _edge(values: Sequence[float], quantile: float) -> float:
    """Between the two values around the quantile, in proportion."""
    ordered = sorted(values)
    place = quantile * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
