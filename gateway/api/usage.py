"""GET /api/credits/usage and /api/credits/usage/lines: what was used, added up or request by request."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from gateway.api.cursor import read_cursor, read_instant_cursor, write_cursor
from gateway.api.download import download
from gateway.api.operation import PAGE_ITEMS_MAX, AnyOperation, Call, NoBody, Operation
from gateway.api.usage_params import FilterParams, SeriesParams, check_steps, period_of
from gateway.api.usage_shapes import (
    PeriodReply,
    UsageGroup,
    UsageRequest,
    UsageSums,
    usage_group,
    usage_request,
)
from gateway.errors import BadRequest
from gateway.identity.roles import Action, named_org
from gateway.reports.cells import csv_line
from gateway.reports.desk import ReportDesk, Snapshot
from gateway.reports.exports import LINE_COLUMNS, group_columns, group_csv, line_csv
from gateway.reports.period import Granularity, Period
from gateway.reports.question import Dimension, Filters, Group, Question, Sums
from gateway.reports.veil import Veil

CSV = "text/csv"
PLACE = len(Dimension) + 1
Limit = Annotated[int, Field(ge=1, le=PAGE_ITEMS_MAX)]
Cursor = Annotated[str | None, Field(min_length=1, max_length=4000)]


class UsageParams(SeriesParams):
    sort: Annotated[
        Literal["step", "cost"],
        Field(
            description="`cost`: the dearest groups only, at most `limit`, and the rest as `other`; without steps."
        ),
    ] = "step"
    format: Literal["json", "csv"] = "json"
    limit: Limit = PAGE_ITEMS_MAX
    cursor: Cursor = None


class LinesParams(FilterParams):
    format: Literal["json", "csv"] = "json"
    limit: Limit = 50
    cursor: Cursor = None


class UsageReply(BaseModel):
    """All of one moment: the groups (of all pages) and what is not kept add up to the total."""

    org: str
    period: PeriodReply
    granularity: Granularity
    group_by: tuple[Dimension, ...]
    people_hidden: Annotated[bool, Field(description="Users stand under pseudonyms.")]
    items: list[UsageGroup]
    next_cursor: str | None
    total: UsageSums
    not_kept: Annotated[
        UsageSums,
        Field(
            description="Of the total what is in no group by conversation or tag, as single requests that old are "
            "not kept. With filters by conversation, tag or status the total lacks it too."
        ),
    ]
    other: Annotated[
        UsageSums | None, Field(description="With `sort=cost`: what is not among the items.")
    ] = None


class LinesReply(BaseModel):
    """Newest first."""

    org: str
    period: PeriodReply
    people_hidden: bool
    items: list[UsageRequest]
    next_cursor: str | None


def usage_operations(desk: ReportDesk) -> list[AnyOperation]:
    async def usage(call: Call[UsageParams, NoBody]) -> UsageReply | web.StreamResponse:
        asked = call.params
        org = named_org(call.reach)
        veil = desk.veil(org, call.principal.names_people(Action.SEE_USAGE))
        if asked.format == "csv":
            return await download(call, CSV, f"usage-{org}.csv", _groups_csv(desk, call, veil))
        async with desk.snapshot(org, call.reach) as snapshot:
            question = await _question(snapshot, asked, call.now, veil)
            if asked.sort == "cost":
                return await _dearest(snapshot, question, asked, veil)
            return await _page(snapshot, question, asked, veil)

    async def lines(call: Call[LinesParams, NoBody]) -> LinesReply | web.StreamResponse:
        asked = call.params
        org = named_org(call.reach)
        veil = desk.veil(org, call.principal.names_people(Action.SEE_USAGE))
        if asked.format == "csv":
            return await download(call, CSV, f"requests-{org}.csv", _lines_csv(desk, call, veil))
        after = read_instant_cursor(asked.cursor)
        async with desk.snapshot(org, call.reach) as snapshot:
            period = period_of(asked, snapshot.calendar, call.now)
            filters = await _filters(snapshot, asked, period, veil)
            found = await snapshot.history.lines(org, call.reach, period, filters, asked.limit + 1, after)
            more = found[asked.limit - 1] if len(found) > asked.limit else None
            return LinesReply(
                org=org,
                period=PeriodReply.of(period, snapshot.calendar),
                people_hidden=veil.hides,
                items=[usage_request(await veil.line(line)) for line in found[: asked.limit]],
                next_cursor=write_cursor(more.started_at, more.request_id) if more else None,
            )

    return [
        Operation(
            method="GET",
            path="/api/credits/usage",
            name="get_usage",
            tag="Usage",
            summary="Usage added up: a series, a split, or both",
            description=(
                "By the organisation's own hours, days, weeks and months. Instants are widened to whole quarters of an "
                "hour; the reply says which. `group_by=user&group_by=model` splits by both. "
                "`format=csv` streams every group, whatever the limit."
            ),
            action=Action.SEE_USAGE,
            handler=usage,
            params=UsageParams,
            reply=UsageReply,
            media=(CSV,),
        ),
        Operation(
            method="GET",
            path="/api/credits/usage/lines",
            name="list_usage",
            tag="Usage",
            summary="Usage request by request, newest first",
            description="Pages neither repeat nor leave out any while others arrive. `format=csv` streams them all.",
            action=Action.SEE_USAGE,
            handler=lines,
            params=LinesParams,
            reply=LinesReply,
            media=(CSV,),
        ),
    ]


async def _question(snapshot: Snapshot, asked: UsageParams, now: datetime, veil: Veil) -> Question:
    if (Dimension.TAG in asked.group_by) != (asked.tag_name is not None):
        raise BadRequest("tag_name: goes with group_by=tag, and that with it", param="tag_name")
    if asked.sort == "cost" and asked.granularity is not Granularity.NONE:
        raise BadRequest("sort: by cost only without steps (granularity=none)", param="sort")
    period = period_of(asked, snapshot.calendar, now)
    check_steps(period, asked.granularity)
    filters = await _filters(snapshot, asked, period, veil)
    return snapshot.question(period, asked.granularity, asked.group_by, filters, asked.tag_name)


async def _filters(snapshot: Snapshot, asked: FilterParams, period: Period, veil: Veil) -> Filters:
    filters = asked.filters()
    if not veil.hides or filters.users is None:
        return filters
    return await veil.filters(filters, await snapshot.history.people(snapshot.org, period))


async def _page(snapshot: Snapshot, question: Question, asked: UsageParams, veil: Veil) -> UsageReply:
    after = await _place(snapshot, question, asked.cursor, veil)
    found = await snapshot.reading.groups(question, snapshot.calendar, asked.limit + 1, after)
    page = found[: asked.limit]
    next_cursor = write_cursor(*await veil.shown_place(page[-1].place)) if len(found) > asked.limit else None
    return await _reply(snapshot, question, page, veil, next_cursor)


async def _place(
    snapshot: Snapshot, question: Question, cursor: str | None, veil: Veil
) -> tuple[str, ...] | None:
    shown = read_cursor(cursor, PLACE)
    if shown is None:
        return None
    if not all(isinstance(part, str) for part in shown):
        raise BadRequest("cursor: is of another list", param="cursor")
    if not veil.hides:
        return shown
    after = await veil.place(shown, await snapshot.history.people(snapshot.org, question.period))
    if after is None:
        raise BadRequest("cursor: is not one that a page before gave out", param="cursor")
    return after


async def _dearest(snapshot: Snapshot, question: Question, asked: UsageParams, veil: Veil) -> UsageReply:
    page = await snapshot.reading.top(question, snapshot.calendar, asked.limit)
    reply = await _reply(snapshot, question, page, veil, None)
    calendar = snapshot.calendar
    total = await snapshot.reading.total(question, calendar) - await snapshot.reading.not_kept(
        question, calendar
    )
    rest = total - sum((group.sums for group in page), Sums())
    return reply.model_copy(update={"other": UsageSums.of(rest)})


async def _reply(
    snapshot: Snapshot, question: Question, page: list[Group], veil: Veil, next_cursor: str | None
) -> UsageReply:
    calendar = snapshot.calendar
    shown = await veil.groups(page, question.group_by)
    return UsageReply(
        org=snapshot.org,
        period=PeriodReply.of(question.period, calendar),
        granularity=question.granularity,
        group_by=question.group_by,
        people_hidden=veil.hides,
        items=[usage_group(group, question.group_by, question.granularity, calendar) for group in shown],
        next_cursor=next_cursor,
        total=UsageSums.of(await snapshot.reading.total(question, calendar)),
        not_kept=UsageSums.of(await snapshot.reading.not_kept(question, calendar)),
    )


async def _groups_csv(desk: ReportDesk, call: Call[UsageParams, NoBody], veil: Veil) -> AsyncGenerator[str]:
    async with desk.export(named_org(call.reach), call.reach) as snapshot:
        question = await _question(snapshot, call.params, call.now, veil)
        yield csv_line(group_columns("step", question.group_by))
        async with aclosing(snapshot.reading.all_groups(question, snapshot.calendar)) as groups:
            async for group in groups:
                for shown in await veil.groups([group], question.group_by):
                    yield group_csv(shown)


async def _lines_csv(desk: ReportDesk, call: Call[LinesParams, NoBody], veil: Veil) -> AsyncGenerator[str]:
    org = named_org(call.reach)
    async with desk.export(org, call.reach) as snapshot:
        period = period_of(call.params, snapshot.calendar, call.now)
        filters = await _filters(snapshot, call.params, period, veil)
        yield csv_line(LINE_COLUMNS)
        async with aclosing(snapshot.history.all_lines(org, call.reach, period, filters)) as lines:
            async for line in lines:
                yield line_csv(await veil.line(line))
