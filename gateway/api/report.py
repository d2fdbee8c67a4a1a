"""GET /api/credits/report: a day, a week or a month, as JSON, CSV, PDF or FOCUS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import orjson
from aiohttp import web
from pydantic import BaseModel, Field

from gateway.api.amount import Amount
from gateway.api.download import download
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, OrgParams
from gateway.api.usage_shapes import PeriodReply, UsageGroup, UsageSums, usage_group
from gateway.identity.roles import Action, named_org
from gateway.reports.cells import csv_line
from gateway.reports.desk import ReportDesk, Snapshot
from gateway.reports.exports import DAY_COLUMNS, DAY_DIMENSIONS, group_csv
from gateway.reports.focus import COLUMNS, charge
from gateway.reports.patterns import change_percent
from gateway.reports.pdf_report import CONVERSATIONS_MAX, report_pdf
from gateway.reports.period import Granularity, OrgCalendar, ReportPeriod
from gateway.reports.question import Dimension, Question
from gateway.reports.usage_report import UsageReport
from gateway.reports.veil import Veil

CSV, JSON, PDF = "text/csv", "application/json", "application/pdf"


class ReportFormat(StrEnum):
    JSON = "json"
    CSV = "csv"
    PDF = "pdf"
    FOCUS = "focus"


class ReportParams(OrgParams):
    period: Annotated[
        ReportPeriod, Field(description="A day, a week or a month of the organisation's calendar.")
    ] = ReportPeriod.MONTHLY
    day: Annotated[date | None, Field(description="Any date in it; default: today.")] = None
    format: ReportFormat = ReportFormat.JSON


class ConversationShare(BaseModel):
    id: str
    title: str | None
    requests: int
    cost: Amount


class ReportReply(BaseModel):
    """``conversationCosts`` is written as it is read, dearest first; with ``withoutConversation`` it adds up to
    ``totalCost``, as ``operationBreakdown`` does."""

    org: str
    period: ReportPeriod
    interval: PeriodReply
    totalCost: Amount
    previousCost: Amount
    changePercent: float | None
    total: UsageSums
    operationBreakdown: dict[str, Amount]
    models: list[UsageGroup]
    days: list[UsageGroup]
    conversationCosts: list[ConversationShare]
    withoutConversation: Amount


def report_operations(desk: ReportDesk, credit_usd: Callable[[], Decimal]) -> list[AnyOperation]:
    """``credit_usd``: what a credit is worth now."""

    async def report(call: Call[ReportParams, NoBody]) -> web.StreamResponse:
        org = named_org(call.reach)
        asked = call.params
        veil = desk.veil(org, call.principal.may(Action.SEE_PEOPLE))
        name = f"usage-{org}-{asked.period}-{asked.day or call.now.date()}"
        if asked.format is ReportFormat.CSV:
            return await download(call, CSV, f"{name}.csv", _csv(desk, call, veil))
        if asked.format is ReportFormat.FOCUS:
            return await download(call, CSV, f"{name}-focus.csv", _focus(desk, call, veil, credit_usd()))
        if asked.format is ReportFormat.PDF:
            return await download(call, PDF, f"{name}.pdf", _pdf(desk, call))
        return await download(call, JSON, None, _json(desk, call))

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


async def _csv(desk: ReportDesk, call: Call[ReportParams, NoBody], veil: Veil) -> AsyncGenerator[str]:
    async with desk.snapshot(named_org(call.reach), call.reach) as snapshot:
        yield csv_line(DAY_COLUMNS)
        async with aclosing(snapshot.reading.all_groups(*_by_day(snapshot, call))) as groups:
            async for group in groups:
                for shown in await veil.groups([group], DAY_DIMENSIONS):
                    yield group_csv(shown)


async def _focus(
    desk: ReportDesk, call: Call[ReportParams, NoBody], veil: Veil, credit_usd: Decimal
) -> AsyncGenerator[str]:
    org = named_org(call.reach)
    async with desk.snapshot(org, call.reach) as snapshot:
        yield csv_line(COLUMNS)
        async with aclosing(snapshot.reading.all_groups(*_by_day(snapshot, call))) as groups:
            async for group in groups:
                for shown in await veil.groups([group], DAY_DIMENSIONS):
                    yield csv_line(charge(org, shown, snapshot.calendar, credit_usd))


async def _pdf(desk: ReportDesk, call: Call[ReportParams, NoBody]) -> AsyncGenerator[bytes]:
    org = named_org(call.reach)
    async with desk.snapshot(org, call.reach) as snapshot:
        report = await _report(snapshot, call)
        costs = snapshot.history.conversation_costs(org, call.reach, report.period, CONVERSATIONS_MAX)
        async with aclosing(costs) as found:
            conversations = [one async for one in found]
    yield await asyncio.to_thread(report_pdf, report, conversations, call.now)


async def _json(desk: ReportDesk, call: Call[ReportParams, NoBody]) -> AsyncGenerator[bytes]:
    org = named_org(call.reach)
    async with desk.snapshot(org, call.reach) as snapshot:
        report = await _report(snapshot, call)
        yield orjson.dumps(_head(report))[:-1] + b',"conversationCosts":['
        rest = report.total.credits_microcredits
        separator = b""
        async with aclosing(snapshot.history.conversation_costs(org, call.reach, report.period)) as costs:
            async for one in costs:
                rest -= one.cost_microcredits
                share = ConversationShare(
                    id=one.id, title=one.title, requests=one.requests, cost=Amount.of(one.cost_microcredits)
                )
                yield separator + orjson.dumps(share.model_dump())
                separator = b","
        yield b'],"withoutConversation":' + orjson.dumps(Amount.of(rest).model_dump()) + b"}"


async def _report(snapshot: Snapshot, call: Call[ReportParams, NoBody]) -> UsageReport:
    asked = call.params
    return await snapshot.report(asked.period, asked.day or snapshot.calendar.day_of(call.now))


def _head(report: UsageReport) -> dict[str, object]:
    """All of a `ReportReply` but the conversations."""
    calendar, total, before = report.calendar, report.total, report.previous
    by_model = (Dimension.PROVIDER, Dimension.MODEL)
    return {
        "org": report.org,
        "period": report.kind,
        "interval": PeriodReply.of(report.period, calendar).model_dump(mode="json"),
        "totalCost": Amount.of(total.credits_microcredits).model_dump(),
        "previousCost": Amount.of(before.credits_microcredits).model_dump(),
        "changePercent": change_percent(total.credits_microcredits, before.credits_microcredits),
        "total": UsageSums.of(total).model_dump(),
        "operationBreakdown": {
            group.names[0] or "": Amount.of(group.sums.credits_microcredits).model_dump()
            for group in report.operations
        },
        "models": [
            usage_group(group, by_model, Granularity.NONE, calendar).model_dump(mode="json")
            for group in report.models
        ],
        "days": [
            usage_group(group, (), Granularity.DAY, calendar).model_dump(mode="json") for group in report.days
        ],
    }


def _by_day(snapshot: Snapshot, call: Call[ReportParams, NoBody]) -> tuple[Question, OrgCalendar]:
    asked, calendar = call.params, snapshot.calendar
    period = calendar.around(asked.period, asked.day or calendar.day_of(call.now))
    return snapshot.question(period, Granularity.DAY, DAY_DIMENSIONS), calendar
