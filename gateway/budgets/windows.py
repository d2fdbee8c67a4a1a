"""Calendar windows of an org, as half-open intervals [start_us, end_us) of UTC.

A day starts at the first instant of its local date; so a day may last 23, 24 or 25 hours. Every edge falls on
a quarter of an hour of UTC, because every zone's offset is a multiple of fifteen minutes: rollups rely on it.
Looking an instant up costs two comparisons as long as the local day has not changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from zoneinfo import ZoneInfo

from gateway.budgets.model import Window

SECOND_US = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Weekday(IntEnum):
    MONDAY = 0
    TUESDAY = 1
    WEDNESDAY = 2
    THURSDAY = 3
    FRIDAY = 4
    SATURDAY = 5
    SUNDAY = 6


@dataclass(frozen=True, slots=True)
class Interval:
    start_us: int
    end_us: int | None
    """None: without end."""


@dataclass(frozen=True, slots=True)
class Windows:
    """The four windows around one instant. They hold for every instant in ``day``, the narrowest of them."""

    day: Interval
    week: Interval
    month: Interval
    total: Interval = Interval(0, None)

    def of(self, window: Window) -> Interval:
        if window is Window.DAY:
            return self.day
        if window is Window.WEEK:
            return self.week
        if window is Window.MONTH:
            return self.month
        return self.total


class Calendar:
    """Windows by an org's time zone and first day of the week."""

    def __init__(self, time_zone: str, week_start: Weekday = Weekday.MONDAY) -> None:
        self.time_zone = time_zone
        self.week_start = week_start
        self._zone = ZoneInfo(time_zone)
        self._last: Windows | None = None

    def around(self, now_us: int) -> Windows:
        """The windows that contain ``now_us``."""
        last = self._last
        if last is not None and last.day.start_us <= now_us and now_us < (last.day.end_us or 0):
            return last
        self._last = found = self._find(now_us)
        return found

    def local(self, instant_us: int) -> str:
        """``instant_us`` as people of this zone write it, e.g. ``2026-03-29 00:00 (Europe/Paris)``."""
        local = (_EPOCH + timedelta(microseconds=instant_us)).astimezone(self._zone)
        return f"{local:%Y-%m-%d %H:%M} ({self.time_zone})"

    def _find(self, now_us: int) -> Windows:
        day = (_EPOCH + timedelta(microseconds=now_us)).astimezone(self._zone).date()
        # Clocks set back over midnight show a date twice; a day ends where the next one first starts.
        while now_us >= self._start_us(day + timedelta(days=1)):
            day += timedelta(days=1)
        week = day - timedelta(days=(day.weekday() - self.week_start) % 7)
        month = day.replace(day=1)
        return Windows(
            day=self._interval(day, day + timedelta(days=1)),
            week=self._interval(week, week + timedelta(days=7)),
            month=self._interval(month, (month + timedelta(days=31)).replace(day=1)),
        )

    def _interval(self, first: date, after: date) -> Interval:
        return Interval(self._start_us(first), self._start_us(after))

    def _start_us(self, day: date) -> int:
        # Where midnight does not exist, fold 0 reads it with the offset before the gap: the gap's own
        # instant.
        midnight = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        return (midnight.astimezone(UTC) - _EPOCH) // _MICROSECOND
