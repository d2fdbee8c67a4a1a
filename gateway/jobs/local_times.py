"""Hours, days and months as people of a zone have them, and the instants at which what is made of them is due."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of local time, [start, end), as instants in UTC, and when its summary is made."""

    name: str
    """``2026-03-29`` or ``2026-03``."""
    start: datetime
    end: datetime
    run_at: datetime


def instant(day: date, hour: int, zone: ZoneInfo) -> datetime:
    """``hour`` o'clock of a local day, in UTC. An hour that clocks skip is the instant of the change; one that comes
    twice, its first time.
    """
    local = datetime(day.year, day.month, day.day, hour, tzinfo=zone)
    found = local.astimezone(UTC)
    if found.astimezone(zone).hour != hour:
        # Skipped: fold 1 reads it with the offset after the gap, which lies before it.
        before = local.replace(fold=1).astimezone(UTC)
        return _change_between(before, found, zone)
    return found


def _change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first instant with the later of two offsets: changes fall on whole minutes."""
    offset = after.astimezone(zone).utcoffset()
    low, high = before, after
    while high - low > timedelta(minutes=1):
        middle = low + timedelta(minutes=(high - low) // timedelta(minutes=1) // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return high


def days_around(now: datetime, zone: ZoneInfo, hour: int) -> Iterator[Period]:
    """The last local day whose summary is due at ``now``, and the next one. A day's is made the day after."""
    today = now.astimezone(zone).date()
    latest = today - _DAY if instant(today, hour, zone) <= now else today - 2 * _DAY
    for day in (latest, latest + _DAY):
        end = day + _DAY
        yield Period(day.isoformat(), instant(day, 0, zone), instant(end, 0, zone), instant(end, hour, zone))


def months_around(now: datetime, zone: ZoneInfo, hour: int) -> Iterator[Period]:
    """The last local month whose statement is due at ``now``, and the next one."""
    this = now.astimezone(zone).date().replace(day=1)
    latest = _earlier(this) if instant(this, hour, zone) <= now else _earlier(_earlier(this))
    for month in (latest, _later(latest)):
        end = _later(month)
        name = f"{month:%Y-%m}"
        yield Period(name, instant(month, 0, zone), instant(end, 0, zone), instant(end, hour, zone))


def day_named(name: str, zone: ZoneInfo, hour: int) -> Period:
    """The period that `days_around` called so."""
    day = date.fromisoformat(name)
    end = day + _DAY
    return Period(name, instant(day, 0, zone), instant(end, 0, zone), instant(end, hour, zone))


def month_named(name: str, zone: ZoneInfo, hour: int) -> Period:
    """The period that `months_around` called so."""
    month = date.fromisoformat(f"{name}-01")
    end = _later(month)
    return Period(name, instant(month, 0, zone), instant(end, 0, zone), instant(end, hour, zone))


def _later(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def _earlier(month: date) -> date:
    return (month - _DAY).replace(day=1)
