"""When an hour's spending is unusual: a rule that can be said in one sentence.

An hour is unusual if it cost at least three times the median of the same hour of the same weekday in the eight weeks
before, more than any of them, and at least `LEAST`; with fewer than four such weeks on record nothing is said.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

WEEKS = 8
WEEKS_MIN = 4
TIMES = 3
LEAST = 100_000_000
"""100 credits (a dollar, by default): below, nobody wants to be told, however unusual."""


@dataclass(frozen=True, slots=True)
class Unusual:
    """Amounts in microcredits."""

    spent: int
    median: int
    most: int
    weeks: int


def same_hours(start: datetime, zone: ZoneInfo) -> list[datetime]:
    """When the same hour began, by the clock on the wall, in the weeks before: the nearest first."""
    local = start.astimezone(zone)
    return [
        (local.replace(fold=0) - timedelta(weeks=week)).replace(tzinfo=zone).astimezone(UTC)
        for week in range(1, WEEKS + 1)
    ]


def unusual(spent: int, before: Sequence[int]) -> Unusual | None:
    """``before``: the same hour of the weeks before, as far back as there is any usage."""
    if spent < LEAST or len(before) < WEEKS_MIN:
        return None
    median, most = int(statistics.median(before)), max(before)
    if spent < TIMES * median or spent <= most:
        return None
    return Unusual(spent, median, most, len(before))
