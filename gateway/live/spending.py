"""What was charged by the time at which requests started, and the sums that people are shown of it. Pure.

The last day and a bit is kept by quarters of an hour, what lies before by local hours or days. Every calendar window of
every time zone begins on a quarter, and older windows begin on local days, so all sums are exact, and nothing has to
happen when a day ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.budgets.windows import Calendar

QUARTER_US = 15 * 60 * 1_000_000
HOUR_US = 4 * QUARTER_US
DAY_US = 24 * HOUR_US

Cells = dict[str, dict[int, int]]
"""Microcredits by operation and start (us) of a stretch of time."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The time that sums at one instant need."""

    since_us: int
    fine_since_us: int
    """From here on by quarters; the start of a local day."""
    time_zone: str

    @classmethod
    def of(cls, calendar: Calendar, now_us: int) -> Stretch:
        windows = calendar.around(now_us)
        fine_us = calendar.around(quarter_of(now_us) - DAY_US).day.start_us
        since_us = min(windows.week.start_us, windows.month.start_us, fine_us)
        return cls(since_us, fine_us, calendar.time_zone)


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

    @classmethod
    def of(cls, cells: Mapping[int, int], calendar: Calendar, now_us: int) -> Sums:
        """Of everything that started in the windows around ``now_us``."""

        def since(start_us: int) -> int:
            return sum(amount for cell_us, amount in cells.items() if cell_us >= start_us)

        windows = calendar.around(now_us)
        hour_us, day_us = quarter_of(now_us) - HOUR_US, quarter_of(now_us) - DAY_US
        return cls(
            today=since(windows.day.start_us),
            this_week=since(windows.week.start_us),
            this_month=since(windows.month.start_us),
            per_hour=since(hour_us) * HOUR_US // (now_us - hour_us),
            per_day=since(day_us) * DAY_US // (now_us - day_us),
        )


class Spending:
    """What is told as it happens, on top of a base: nothing can be said while that is not known."""

    def __init__(self) -> None:
        self._base_known = False
        self._cells: dict[int, int] = {}

    @property
    def known(self) -> bool:
        return self._base_known

    def set_base(self, cells: Cells) -> None:
        """What earlier settlements came to: added to what was told since."""
        self._base_known = True
        for of_operation in cells.values():
            for cell_us, microcredits in of_operation.items():
                self._cells[cell_us] = self._cells.get(cell_us, 0) + microcredits

    def forget(self) -> None:
        """Something was missed: nothing is known until the base is set again."""
        self._base_known = False
        self._cells.clear()

    def add(self, started_at_us: int, microcredits: int) -> None:
        cell_us = quarter_of(started_at_us)
        self._cells[cell_us] = self._cells.get(cell_us, 0) + microcredits

    def sums(self, calendar: Calendar, now_us: int) -> Sums | None:
        """The sums at this instant, None while the base is not known. Forgets what none needs any more."""
        if not self._base_known:
            return None
        since_us = Stretch.of(calendar, now_us).since_us
        for old in [cell_us for cell_us in self._cells if cell_us < since_us]:
            del self._cells[old]
        return Sums.of(self._cells, calendar, now_us)


def quarter_of(instant_us: int) -> int:
    """The start of the quarter of an hour that contains an instant."""
    return instant_us - instant_us % QUARTER_US
