"""How every limit of an organisation stands: spent, held and left in its present window, and when that ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.budgets.model import Limit
from gateway.budgets.rules import Cap
from gateway.budgets.windows import Calendar, Interval


class Source(StrEnum):
    """Who a limit belongs to, and where it is changed."""

    FILE = "file"
    """limits.yaml; it cannot be changed elsewhere."""
    API = "api"
    """Set over the API or by command."""


class GraceState(StrEnum):
    NONE = "none"
    """This limit allows none."""
    UNUSED = "unused"
    """It would begin with the first request that the limit has no room for."""
    RUNNING = "running"
    OVER = "over"
    """It ran and ended in this window; the limit alone stands."""


@dataclass(frozen=True, slots=True)
class LimitStanding:
    """Amounts in microcredits, instants in microseconds since the epoch."""

    limit: Limit
    source: Source
    window: Interval
    """The present window: [start, end); the end is when the limit is fresh again, None for total."""
    time_zone: str
    resets_at_local: str | None
    """That end as people of the organisation's zone write it; None for total."""
    spent: int
    held: int
    grace: GraceState
    grace_ends_us: int | None
    """While grace runs, or since when it is over."""

    @property
    def left(self) -> int:
        """Of the limit itself, grace apart. Negative where more was spent than it allows (grace, shadow, a limit that
        was lowered).
        """
        return self.limit.amount - self.spent - self.held

    @property
    def permille(self) -> int | None:
        """Spent of the limit, rounded down; None of a limit of nothing."""
        return self.spent * 1000 // self.limit.amount if self.limit.amount else None


def standing(
    limit: Limit,
    source: Source,
    calendar: Calendar,
    window: Interval,
    *,
    spent: int,
    held: int,
    grace_start_us: int | None,
    now_us: int,
) -> LimitStanding:
    """Of one limit, from what its counter says."""
    grace_us = Cap.of(limit).grace_us
    grace, ends_us = GraceState.UNUSED, None
    if limit.grace is None:
        grace = GraceState.NONE
    elif grace_start_us is not None:
        ends_us = grace_start_us + grace_us
        grace = GraceState.RUNNING if now_us < ends_us else GraceState.OVER
    return LimitStanding(
        limit=limit,
        source=source,
        window=window,
        time_zone=calendar.time_zone,
        resets_at_local=None if window.end_us is None else calendar.local(window.end_us),
        spent=spent,
        held=held,
        grace=grace,
        grace_ends_us=ends_us,
    )
