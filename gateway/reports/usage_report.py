"""A report on a day, a week or a month: what it cost, for what, in which conversations."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.reports.period import OrgCalendar, Period, ReportPeriod
from gateway.reports.question import Group, Sums


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Everything but the conversations, which may be many and come after it. All of one snapshot."""

    org: str
    kind: ReportPeriod
    calendar: OrgCalendar
    period: Period
    total: Sums
    operations: tuple[Group, ...]
    """Dearest first; together they are the total. So are ``models`` and ``days``."""
    models: tuple[Group, ...]
    days: tuple[Group, ...]
    previous: Sums
    """The period before."""

    @property
    def title(self) -> str:
        """E.g. ``Usage of acme, 2026-10-01 to 2026-10-31``."""
        first, last = self.period.first, self.period.last
        return f"Usage of {self.org}, {first}" + (f" to {last}" if last != first else "")


def called(group: Group) -> str:
    """An operation, or provider and model, as people read them. Lists of models and their like have no model."""
    named = "/".join(name for name in group.names if name)
    return named if all(group.names) else f"{named}, without a model"
