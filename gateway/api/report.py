"""GET /api/credits/report: a day, a week or a month, as JSON, CSV, PDF or FOCUS."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from aiohttp import web
from pydantic import AfterValidator, BaseModel, Field

from gateway.api.amount import Amount
from gateway.api.credit_fields import within_years
from gateway.api.download import download
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, OrgParams
from gateway.api.usage_shapes import PeriodReply, UsageSums
from gateway.identity.roles import Action, named_org
from gateway.reports.desk import ReportDesk
from gateway.reports.json_report import report_json
from gateway.reports.period import ReportPeriod
from gateway.reports.streams import report_csv, report_focus, report_page

CSV, JSON, PDF = "text/csv", "application/json", "application/pdf"


class ReportFormat(StrEnum):
    JSON = "json"
    CSV = "csv"
    PDF = "pdf"
    FOCUS = "focus"


_MEDIA = {
    ReportFormat.JSON: (JSON, ""),
    ReportFormat.CSV: (CSV, ".csv"),
    ReportFormat.FOCUS: (CSV, "-focus.csv"),
    ReportFormat.PDF: (PDF, ".pdf"),
}
"""Media type, and how the name of the file ends; JSON is no file."""


class ReportParams(OrgParams):
    period: Annotated[
        ReportPeriod, Field(description="A day, a week or a month of the organisation's calendar.")
    ] = ReportPeriod.MONTHLY
    day: Annotated[
        Annotated[date, AfterValidator(within_years)] | None,
        Field(description="Any date in it; default: today."),
    ] = None
    format: ReportFormat = ReportFormat.JSON


class ConversationShare(BaseModel):
    id: str
    title: str | None
    requests: int
    cost: Amount


class ModelShare(UsageSums):
    provider: str
    model: str


class DayShare(UsageSums):
    day: date


class ReportReply(BaseModel):
    """``conversationCosts`` is written as it is read, dearest first; with ``withoutConversation`` and ``notKept`` it
    adds up to ``totalCost``, as ``operationBreakdown`` does."""

    org: str
    period: ReportPeriod
    interval: PeriodReply
    totalCost: Amount
    previousCost: Amount
    changePercent: float | None
    total: UsageSums
    operationBreakdown: dict[str, Amount]
    models: list[ModelShare]
    days: list[DayShare]
    conversationCosts: list[ConversationShare]
    withoutConversation: Amount
    notKept: Annotated[
        Amount,
        Field(description="Of requests that are not kept any more: their conversations are not known."),
    ]


def report_operations(desk: ReportDesk, credit_usd: Callable[[], Decimal]) -> list[AnyOperation]:
    """``credit_usd``: what a credit is worth now."""

    async def report(call: Call[ReportParams, NoBody]) -> web.StreamResponse:
        org = named_org(call.reach)
        asked = call.params
        kind, ending = _MEDIA[asked.format]
        day = asked.day or await _today(desk, call)
        name = f"usage-{org}-{asked.period}-{day}{ending}" if ending else None
        return await download(call, kind, name, _parts(desk, call, day, credit_usd()))

    return [
        Operation(
            method="GET",
            path="/api/credits/report",
            name="get_report",
            tag="Usage",
            summary="A report on a day, a week or a month",
            description=(
                "The same sums in every format, to the microcredit. `csv` and `focus` (FOCUS 1.2) list usage by day, "
                "team, user, key, provider, model and operation; `pdf` is for people."
            ),
            action=Action.SEE_USAGE,
            handler=report,
            params=ReportParams,
            reply=ReportReply,
            media=(CSV, PDF),
        )
    ]


async def _today(desk: ReportDesk, call: Call[ReportParams, NoBody]) -> date:
    """By the organisation's calendar; the name of the file is sent before the export begins."""
    async with desk.snapshot(named_org(call.reach), call.reach) as snapshot:
        return snapshot.calendar.day_of(call.now)


async def _parts(
    desk: ReportDesk, call: Call[ReportParams, NoBody], day: date, credit_usd: Decimal
) -> AsyncGenerator[str | bytes]:
    org = named_org(call.reach)
    asked = call.params
    veil = desk.veil(org, call.principal.names_people(Action.SEE_USAGE))
    async with desk.export(org, call.reach) as snapshot:
        parts: AsyncGenerator[str] | AsyncGenerator[bytes]
        if asked.format is ReportFormat.PDF:
            yield await report_page(snapshot, asked.period, day, call.now)
            return
        if asked.format is ReportFormat.CSV:
            parts = report_csv(snapshot, asked.period, day, veil)
        elif asked.format is ReportFormat.FOCUS:
            parts = report_focus(snapshot, asked.period, day, veil, credit_usd)
        else:
            parts = report_json(snapshot, await snapshot.report(asked.period, day))
        async with aclosing(parts):
            async for part in parts:
                yield part
