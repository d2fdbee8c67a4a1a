"""Stretches of an org's own calendar, as half-open intervals of instants.

A local day starts at the first instant of its date, so it may last 23, 24 or 25 hours, or half an hour more or less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
QUARTER_S = 900


class Granularity(StrEnum):
    """How wide the steps of a series are. ``NONE``: one step for all."""

    NONE = "none"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class ReportPeriod(StrEnum):
    """What a report is about: one day, week or month."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


@dataclass(frozen=True, slots=True)
class Period:
    """From an instant until before another, both aware; ``first`` and ``after`` are the local dates they fall on."""

    start: datetime
    end: datetime
    first: date
    after: date
    """The first date that is wholly outside."""
    whole_days: bool
    """Whether both instants are the starts of local days."""

    @property
    def last(self) -> date:
        """The last local date that is at least partly inside."""
        return self.after - DAY

    @property
    def length(self) -> timedelta:
        return self.end - self.start


class OrgCalendar:
    """An org's time zone and first day of the week (0: Monday)."""

    def __init__(self, time_zone: str, week_start: int = 0) -> None:
        self.time_zone = time_zone
        self.week_start = week_start
        self.zone = ZoneInfo(time_zone)

    def start_of(self, day: date) -> datetime:
        """The first instant of a local date, in UTC. Where midnight does not exist, that is where the gap ends."""
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)

    def day_of(self, instant: datetime) -> date:
        return instant.astimezone(self.zone).date()

    def week_of(self, day: date) -> date:
        """The first day of the week of ``day``."""
        return day - timedelta(days=(day.weekday() - self.week_start) % 7)

    def month_of(self, day: date) -> date:
        return day.replace(day=1)

    def days(self, first: date, after: date) -> Period:
        """From the start of ``first`` until the start of ``after``."""
        return Period(self.start_of(first), self.start_of(after), first, after, whole_days=True)

    def between(self, start: datetime, end: datetime) -> Period:
        """Between two instants, widened to whole quarters of an hour, which is how finely sums are kept."""
        start, end = _floor(start), _ceiling(end)
        first = self.day_of(start)
        last = self.day_of(end - timedelta(microseconds=1))
        whole = self.start_of(first) == start and self.start_of(last + DAY) == end
        return Period(start, end, first, last + DAY, whole)

    def around(self, period: ReportPeriod, day: date) -> Period:
        """The day, week or month that contains ``day``."""
        if period is ReportPeriod.DAILY:
            return self.days(day, day + DAY)
        if period is ReportPeriod.WEEKLY:
            first = self.week_of(day)
            return self.days(first, first + timedelta(days=7))
        first = self.month_of(day)
        return self.days(first, next_month(first))

    def before(self, period: Period) -> Period:
        """The stretch of as many days just before, or for a whole month the month before."""
        if not period.whole_days:
            return self.between(period.start - period.length, period.start)
        if period.first.day == 1 and period.after == next_month(period.first):
            return self.days(self.month_of(period.first - DAY), period.first)
        return self.days(period.first - (period.after - period.first), period.first)

    def steps(self, period: Period, granularity: Granularity) -> Iterator[date]:
        """The first date of each day, week or month that ``period`` touches; a first step may begin before it."""
        day = period.first
        if granularity is Granularity.WEEK:
            day = self.week_of(day)
        elif granularity is Granularity.MONTH:
            day = self.month_of(day)
        while day < period.after:
            yield day
            if granularity is Granularity.MONTH:
                day = next_month(day)
            else:
                day += timedelta(days=7 if granularity is Granularity.WEEK else 1)

    def label(self, instant: datetime) -> str:
        """As people of the zone write it, e.g. ``2026-03-29 00:00 (Europe/Paris)``."""
        return f"{instant.astimezone(self.zone):%Y-%m-%d %H:%M} ({self.time_zone})"


def next_month(first: date) -> date:
    """The first day of the month after."""
    return (first.replace(day=1) + timedelta(days=32)).replace(day=1)


def _floor(instant: datetime) -> datetime:
    seconds = int(instant.timestamp()) // QUARTER_S * QUARTER_S
    return datetime.fromtimestamp(seconds, UTC)


def _ceiling(instant: datetime) -> datetime:
    floor = _floor(instant)
    return floor if floor == instant else floor + timedelta(seconds=QUARTER_S)
