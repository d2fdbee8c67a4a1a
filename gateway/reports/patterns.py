"""When usage happens, and how it changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.reports.period import OrgCalendar, Period
from gateway.reports.question import Group, Sums


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One hour of the week. ``hours``: how many such hours the period has; a mean is a sum over these."""

    weekday: int
    """0: Monday, whatever the org's week begins with."""
    hour: int
    sums: Sums
    hours: int

    @property
    def mean_microcredits(self) -> int:
        return self.sums.credits_microcredits // self.hours if self.hours else 0


def heat(groups: Iterable[Group], calendar: OrgCalendar, period: Period) -> list[HeatCell]:
    """All 168 hours of the week, from groups by the hour; Monday's first hour first."""
    sums: dict[tuple[int, int], Sums] = {}
    for group in groups:
        local = datetime.fromisoformat(group.step).astimezone(calendar.zone)
        place = local.weekday(), local.hour
        sums[place] = sums.get(place, Sums()) + group.sums
    counts: dict[tuple[int, int], int] = {}
    instant = period.start
    while instant < period.end:
        local = instant.astimezone(calendar.zone)
        counts[local.weekday(), local.hour] = counts.get((local.weekday(), local.hour), 0) + 1
        instant += timedelta(hours=1)
    return [
        HeatCell(weekday, hour, sums.get((weekday, hour), Sums()), counts.get((weekday, hour), 0))
        for weekday in range(7)
        for hour in range(24)
    ]


def peaks(cells: Iterable[HeatCell], count: int = 3) -> list[HeatCell]:
    """The hours of the week with the greatest mean usage."""
    used = [cell for cell in cells if cell.sums.requests]
    return sorted(used, key=lambda cell: (-cell.mean_microcredits, cell.weekday, cell.hour))[:count]


def change_percent(now: int, before: int) -> float | None:
    """By how much ``now`` is more than ``before``; None: there was nothing before."""
    return None if before == 0 else round(100 * (now - before) / before, 1)


def error_percent(sums: Sums) -> float | None:
    return None if sums.requests == 0 else round(100 * sums.errors / sums.requests, 2)
