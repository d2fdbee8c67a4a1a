"""Usage as Postgres knows it, added up. When it is down everything here raises `PostgresUnavailable`.

Sums are kept by the local hour (without people), by the local day, and by the quarter of an hour; whatever is finer
than those is added up request by request. Which of them answers a question is decided here and changes no answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, datetime

from gateway.identity.roles import Reach
from gateway.reports.period import Granularity, OrgCalendar
from gateway.reports.question import SUMS, Group, Question, Sums, narrowed
from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.reports", "usage_reading.sql")
GROUPS_MAX = 100_000
"""Groups held in memory for one answer: some 50 MB."""
TOP = "top"


class UsageReading:
    """Answers inside one snapshot, so that what is shown together adds up. Made by `UsageReader.snapshot`."""

    def __init__(self, session: Session) -> None:
        self.session = session

    async def calendar(self, org: str) -> OrgCalendar:
        """The calendar in force, by which days and hours were cut; UTC for an org that never used anything."""
        row = await self.session.fetch_one(_SQL["calendar"], org)
        return OrgCalendar("UTC") if row is None else OrgCalendar(row["time_zone"], row["week_start"])

    async def total(self, question: Question, calendar: OrgCalendar) -> Sums:
        """Everything that was asked about, in one line."""
        found = await self._fetch(question.total(), Granularity.NONE, None, 1, calendar)
        return found[0].sums if found else Sums()

    async def not_kept(self, question: Question, calendar: OrgCalendar) -> Sums:
        """What of the total is in no group, as its single requests are not kept any more. With a filter that only those
        can answer the total lacks it too."""
        if not question.splits_events or question.filters.of_events:
            return Sums()
        kept = await self.total(replace(question, by_request=True), calendar)
        return await self.total(question, calendar) - kept

    async def groups(
        self,
        question: Question,
        calendar: OrgCalendar,
        limit: int = GROUPS_MAX,
        after: Sequence[str] | None = None,
    ) -> list[Group]:
        """The groups in the order of their places, beyond the place ``after``."""
        return await self._fetch(question, question.granularity, after, limit, calendar)

    async def all_groups(self, question: Question, calendar: OrgCalendar) -> AsyncGenerator[Group]:
        """Every group in the order of their places, a thousand in memory at a time."""
        statement = _statement(question, question.granularity, None, None, calendar)
        if statement is not None:
            async for row in self.session.stream(statement[0], *statement[1]):
                yield _group(row, question)

    async def top(self, question: Question, calendar: OrgCalendar, limit: int) -> list[Group]:
        """The dearest groups first, without steps."""
        return await self._fetch(question, TOP, None, limit, calendar)

    async def _fetch(
        self, question: Question, steps: str, after: Sequence[str] | None, limit: int, calendar: OrgCalendar
    ) -> list[Group]:
        statement = _statement(question, steps, after, limit, calendar)
        if statement is None:
            return []
        rows = await self.session.fetch(statement[0], *statement[1])
        return [_group(row, question) for row in rows]


class UsageReader:
    """Snapshots of usage. Each takes one connection of the pool for as long as it is open."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[UsageReading]:
        async with self._postgres.transaction("repeatable_read", readonly=True) as session:
            await session.fetch(_SQL["tune"])
            yield UsageReading(session)


def _statement(
    question: Question, steps: str, after: Sequence[str] | None, limit: int | None, calendar: OrgCalendar
) -> tuple[str, list[object]] | None:
    """SQL and arguments; None: nothing is within reach."""
    narrow = narrowed(question.reach, question.filters)
    if narrow is None:
        return None
    reach, filters = narrow
    block = _source(replace(question, reach=reach, filters=filters), calendar)
    zone = calendar.time_zone
    args: list[object] = [
        *(
            question.org,
            question.period.start,
            question.period.end,
            str(steps),
            calendar.week_start,
            zone,
        ),
        [str(dimension) for dimension in question.group_by],
        *(None if after is None else list(after), limit),
        *(_optional(filters.providers), _optional(filters.models), _optional(filters.operations)),
    ]
    if block != "from_hours":
        args += [_optional(filters.teams), _optional(filters.users), _optional(filters.keys)]
        args += reach_arguments(reach)
    if block == "from_events":
        name, value = filters.tag or (None, None)
        args += [question.tag, _optional(filters.conversations), name, value, _optional(filters.statuses)]
    return _SQL[block], args


def reach_arguments(reach: Reach) -> list[object]:
    """Whether all is within reach, and the teams, users and keys that are."""
    return [reach.whole, *(sorted(members or ()) for members in (reach.teams, reach.users, reach.keys))]


def _source(question: Question, calendar: OrgCalendar) -> str:
    if question.needs_events:
        return "from_events"
    period = question.period
    if question.granularity is not Granularity.HOUR and period.whole_days and question.needs_people:
        return "from_days"
    edges = (period.start, period.end)
    on_hours = all(edge.astimezone(calendar.zone).minute == 0 for edge in edges) or period.whole_days
    return "from_hours" if on_hours and not question.needs_people else "from_quarters"


def _optional(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)


def _group(row: Row, question: Question) -> Group:
    sums = Sums(**{name: row[name] for name in SUMS})
    names = tuple(row[str(dimension)] or None for dimension in question.group_by)
    return Group(_step(row["step"], question.granularity), names, sums, tuple(row["place"]))


def _step(step: datetime | date | None, granularity: Granularity) -> str:
    if step is None:
        return ""
    if granularity is Granularity.HOUR:
        return f"{step:%Y-%m-%dT%H:%MZ}"
    return step.isoformat()[:10]
