"""A report as a stream of text or bytes, in each of its formats, from one snapshot.

All formats of a report are written from the same sums. Nothing that may be long is held in memory: usage by the day and
conversations are written as they are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import date, datetime
from decimal import Decimal

from gateway.reports.cells import csv_line
from gateway.reports.desk import Snapshot
from gateway.reports.exports import DAY_COLUMNS, DAY_DIMENSIONS, group_csv
from gateway.reports.focus import COLUMNS, charge
from gateway.reports.pdf_report import CONVERSATIONS_MAX, report_pdf
from gateway.reports.period import Granularity, OrgCalendar, ReportPeriod
from gateway.reports.question import Question
from gateway.reports.veil import Veil


async def report_csv(snapshot: Snapshot, kind: ReportPeriod, day: date, veil: Veil) -> AsyncGenerator[str]:
    """Usage by day and `DAY_DIMENSIONS`, heading first."""
    yield csv_line(DAY_COLUMNS)
    async with aclosing(snapshot.reading.all_groups(*_by_day(snapshot, kind, day))) as groups:
        async for group in groups:
            for shown in await veil.groups([group], DAY_DIMENSIONS):
                yield group_csv(shown)


async def report_focus(
    snapshot: Snapshot, kind: ReportPeriod, day: date, veil: Veil, credit_usd: Decimal
) -> AsyncGenerator[str]:
    """The same as FOCUS charges."""
    yield csv_line(COLUMNS)
    async with aclosing(snapshot.reading.all_groups(*_by_day(snapshot, kind, day))) as groups:
        async for group in groups:
            for shown in await veil.groups([group], DAY_DIMENSIONS):
                yield csv_line(charge(snapshot.org, shown, snapshot.calendar, credit_usd))


async def report_page(snapshot: Snapshot, kind: ReportPeriod, day: date, now: datetime) -> bytes:
    """The whole PDF."""
    report = await snapshot.report(kind, day)
    costs = snapshot.history.conversation_costs(
        snapshot.org, snapshot.reach, report.period, CONVERSATIONS_MAX
    )
    async with aclosing(costs) as found:
        conversations = [one async for one in found]
    return await asyncio.to_thread(report_pdf, report, conversations, now)


def _by_day(snapshot: Snapshot, kind: ReportPeriod, day: date) -> tuple[Question, OrgCalendar]:
    period = snapshot.calendar.around(kind, day)
    return snapshot.question(period, Granularity.DAY, DAY_DIMENSIONS), snapshot.calendar
