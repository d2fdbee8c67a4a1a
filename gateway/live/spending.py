"""What was charged in each quarter of an hour, and the sums that listeners are shown of it. Pure.

Rows count in the quarter in which their request started. Every calendar window of every time zone begins on a quarter
of an hour, so all sums are exact, and nothing has to happen when a day ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.budgets.windows import Calendar

QUARTER_US = 15 * 60 * 1_000_000
HOUR_US = 4 * QUARTER_US
DAY_US = 24 * HOUR_US


@dataclass(frozen=True, slots=True)
class Sums:
    """Microcredits."""

    today: int
    this_week: int
    this_month: int
    per_hour: int
    """Of the last hour to hour and a quarter (whole quarters), as an hourly rate."""
    per_day: int
    """Of the last day to day and a quarter of an hour, as a daily rate."""


def counted_since_us(calendar: Calendar, now_us: int) -> int:
    """The oldest quarter that any of the sums at ``now_us`` needs."""
    windows = calendar.around(now_us)
    return min(windows.week.start_us, windows.month.start_us, _quarter_of(now_us) - DAY_US)


class Spending:
    """The base is what was charged before it began to be told; nothing can be said while that is not known."""

    def __init__(self) -> None:
        self._base_known = False
        self._quarters: dict[int, int] = {}

    @property
    def known(self) -> bool:
        return self._base_known

    def set_base(self, quarters: Mapping[int, int]) -> None:
        """What earlier settlements came to, by the start (us) of the quarter: added to what was told since."""
        self._base_known = True
        for quarter_us, microcredits in quarters.items():
            self._quarters[quarter_us] = self._quarters.get(quarter_us, 0) + microcredits

    def forget(self) -> None:
        """Something was missed: nothing is known until the base is set again."""
        self._base_known = False
        self._quarters.clear()

    def add(self, started_at_us: int, microcredits: int) -> None:
        quarter_us = _quarter_of(started_at_us)
        self._quarters[quarter_us] = self._quarters.get(quarter_us, 0) + microcredits

    def sums(self, calendar: Calendar, now_us: int) -> Sums | None:
        """The sums at this instant, None while the base is not known. Forgets what none needs any more."""
        if not self._base_known:
            return None
        since_us = counted_since_us(calendar, now_us)
        for old in [quarter for quarter in self._quarters if quarter < since_us]:
            del self._quarters[old]
        windows = calendar.around(now_us)
        hour_from = _quarter_of(now_us) - HOUR_US
        day_from = _quarter_of(now_us) - DAY_US
        return Sums(
            today=self._from(windows.day.start_us),
            this_week=self._from(windows.week.start_us),
            this_month=self._from(windows.month.start_us),
            per_hour=self._from(hour_from) * HOUR_US // (now_us - hour_from),
            per_day=self._from(day_from) * DAY_US // (now_us - day_from),
        )

    def _from(self, start_us: int) -> int:
        return sum(amount for quarter, amount in self._quarters.items() if quarter >= start_us)


def _quarter_of(instant_us: int) -> int:
    return instant_us - instant_us % QUARTER_US
