"""GET /api/credits/patterns: when usage happens, and how it changes."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from gateway.api.amount import Amount
from gateway.api.operation import AnyOperation, Call, NoBody, Operation
from gateway.api.usage_params import PeriodParams, check_steps, period_of
from gateway.api.usage_shapes import PeriodReply, UsageSums
from gateway.identity.roles import Action, named_org
from gateway.reports.desk import ReportDesk
from gateway.reports.patterns import HeatCell, change_percent, error_percent, heat, peaks
from gateway.reports.period import Granularity
from gateway.reports.question import Sums


class HeatReply(BaseModel):
    weekday: Annotated[int, Field(description="0: Monday")]
    hour: Annotated[int, Field(description="Of local time, 0 to 23")]
    requests: int
    cost: Amount
    mean: Annotated[Amount, Field(description="For each such hour of the period.")]


class TrendReply(BaseModel):
    """The period, and as much time before it. A change is null where there was nothing before."""

    current: UsageSums
    previous: UsageSums
    previous_period: PeriodReply
    cost_change_percent: float | None
    requests_change_percent: float | None
    error_percent: float | None
    previous_error_percent: float | None


class PatternsReply(BaseModel):
    org: str
    period: PeriodReply
    heat: Annotated[list[HeatReply], Field(description="All 168 hours of a week, from Monday's first on.")]
    peaks: Annotated[list[HeatReply], Field(description="The hours with the greatest mean.")]
    trend: TrendReply


def pattern_operations(desk: ReportDesk) -> list[AnyOperation]:
    async def patterns(call: Call[PeriodParams, NoBody]) -> PatternsReply:
        org = named_org(call.reach)
        async with desk.snapshot(org, call.reach) as snapshot:
            calendar = snapshot.calendar
            period = period_of(call.params, calendar, call.now)
            check_steps(period, Granularity.HOUR)
            before = calendar.before(period)
            hours = await snapshot.reading.groups(snapshot.question(period, Granularity.HOUR), calendar)
            earlier = await snapshot.total(before)
        now = sum((group.sums for group in hours), Sums())
        cells = heat(hours, calendar, period)
        return PatternsReply(
            org=org,
            period=PeriodReply.of(period, calendar),
            heat=[_cell(cell) for cell in cells],
            peaks=[_cell(cell) for cell in peaks(cells)],
            trend=_trend(now, earlier, PeriodReply.of(before, calendar)),
        )

    return [
        Operation(
            method="GET",
            path="/api/credits/patterns",
            name="get_patterns",
            tag="Usage",
            summary="Peak hours and trends",
            action=Action.SEE_USAGE,
            handler=patterns,
            params=PeriodParams,
            reply=PatternsReply,
        )
    ]


def _cell(cell: HeatCell) -> HeatReply:
    return HeatReply(
        weekday=cell.weekday,
        hour=cell.hour,
        requests=cell.sums.requests,
        cost=Amount.of(cell.sums.credits_microcredits),
        mean=Amount.of(cell.mean_microcredits),
    )


def _trend(now: Sums, before: Sums, period: PeriodReply) -> TrendReply:
    return TrendReply(
        current=UsageSums.of(now),
        previous=UsageSums.of(before),
        previous_period=period,
        cost_change_percent=change_percent(now.credits_microcredits, before.credits_microcredits),
        requests_change_percent=change_percent(now.requests, before.requests),
        error_percent=error_percent(now),
        previous_error_percent=error_percent(before),
    )
