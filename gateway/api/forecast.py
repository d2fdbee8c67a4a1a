"""GET /api/credits/forecast: what usage to expect, and when a balance will be used up."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from gateway.api.amount import Amount
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, OrgParams
from gateway.api.usage_params import Values
from gateway.identity.roles import Action, named_org
from gateway.reports.desk import HISTORY_DAYS, ReportDesk, Snapshot
from gateway.reports.forecast import Expectation, Forecast
from gateway.reports.period import DAY, OrgCalendar, ReportPeriod, next_month
from gateway.reports.prepaid import Prepaid
from gateway.reports.question import Filters

AHEAD_DAYS_MAX = 92
_MOMENT = timedelta(microseconds=1)


class ForecastParams(OrgParams):
    days: Annotated[
        int, Field(ge=1, le=AHEAD_DAYS_MAX, description="How many days to list, today first.")
    ] = 30
    team: Values = ()
    user: Values = ()
    key: Values = ()
    model: Values = ()
    operation: Values = ()


class ExpectedUsage(BaseModel):
    """Eight times in ten usage is between `low` and `high`."""

    expected: Amount
    low: Amount
    high: Amount


class ExpectedDay(ExpectedUsage):
    day: date


class ExpectedMonth(BaseModel):
    """The month that today is in: what was used, and what it will have been by its end."""

    last_day: date
    used: Amount
    expected: Amount
    low: Amount
    high: Amount


class RunsOut(BaseModel):
    """The day on which the balance is used up or has expired, grants in their order, at expected usage and at the
    edges of the band; null: not within a year."""

    balance: Amount
    expected: date | None
    earliest: date | None
    latest: date | None


class ForecastReply(BaseModel):
    org: str
    status: Annotated[
        Literal["ok", "insufficient_history"],
        Field(description="Without seven days of history nothing is forecast."),
    ]
    time_zone: str
    today: date
    history_days: int
    method: Annotated[str | None, Field(description="weekday_mean_28_days or mean_7_days")]
    used_today: Amount
    month: ExpectedMonth | None
    next_7_days: ExpectedUsage | None
    days: list[ExpectedDay]
    runs_out: Annotated[
        RunsOut | None, Field(description="Of prepaid organisations, for those who see all usage.")
    ]


def forecast_operations(desk: ReportDesk) -> list[AnyOperation]:
    async def forecast(call: Call[ForecastParams, NoBody]) -> ForecastReply:
        org = named_org(call.reach)
        asked = call.params
        filters = Filters(
            asked.team or None,
            asked.user or None,
            asked.key or None,
            models=asked.model or None,
            operations=asked.operation or None,
        )
        veil = desk.veil(org, call.principal.names_people(Action.SEE_USAGE))
        async with desk.snapshot(org, call.reach) as snapshot:
            calendar = snapshot.calendar
            if veil.hides and filters.users is not None:
                today = calendar.day_of(call.now)
                recent = calendar.days(today - timedelta(days=HISTORY_DAYS), today + DAY)
                filters = await veil.filters(filters, await snapshot.history.people(org, recent))
            made = await snapshot.forecast(call.now, filters)
            used_today, used_month = await _used(snapshot, made.today, filters)
        everything = call.reach.whole and filters == Filters()
        balance = await desk.balance_of(org) if everything else None
        return _reply(org, made, calendar, call.now, (used_today, used_month), balance, asked.days)

    return [
        Operation(
            method="GET",
            path="/api/credits/forecast",
            name="get_forecast",
            tag="Usage",
            summary="What usage to expect, and when the balance runs out",
            description=(
                "The mean of the same weekday in the last 28 days (with less history: of the last seven days), with "
                "the band in which eight of ten such forecasts were, made again on the days of the history."
            ),
            action=Action.SEE_USAGE,
            handler=forecast,
            params=ForecastParams,
            reply=ForecastReply,
        )
    ]


async def _used(snapshot: Snapshot, today: date, filters: Filters) -> tuple[int, int]:
    used = []
    for kind in (ReportPeriod.DAILY, ReportPeriod.MONTHLY):
        question = snapshot.question(snapshot.calendar.around(kind, today), filters=filters)
        used.append((await snapshot.reading.total(question, snapshot.calendar)).credits_microcredits)
    return used[0], used[1]


def _reply(
    org: str,
    made: Forecast,
    calendar: OrgCalendar,
    now: datetime,
    used: tuple[int, int],
    balance: Prepaid | None,
    days: int,
) -> ForecastReply:
    enough = made.sufficient
    coming = [made.today + number * DAY for number in range(days)] if enough else []
    return ForecastReply(
        org=org,
        status="ok" if enough else "insufficient_history",
        time_zone=calendar.time_zone,
        today=made.today,
        history_days=len(made.history),
        method=made.method if enough else None,
        used_today=Amount.of(used[0]),
        month=_month(made, calendar, now, used) if enough else None,
        next_7_days=_expected(made.of_days(made.today + DAY, 7)) if enough else None,
        days=[ExpectedDay(day=day, **_amounts(made.of_days(day, 1))) for day in coming],
        runs_out=None if balance is None or not enough else _runs_out(made, calendar, now, balance),
    )


def _month(made: Forecast, calendar: OrgCalendar, now: datetime, used: tuple[int, int]) -> ExpectedMonth:
    """What was used, the rest of today, and the days after it."""
    last = next_month(made.today) - DAY
    rest_of_today = round(made.of_day(made.today) * _rest_of_day(calendar, made.today, now))
    ahead = (last - made.today).days
    band = made.of_days(made.today + DAY, ahead) if ahead else Expectation(0, 0, 0)
    sure = used[1] + rest_of_today
    return ExpectedMonth(
        last_day=last,
        used=Amount.of(used[1]),
        expected=Amount.of(sure + band.mean),
        low=Amount.of(sure + band.low),
        high=Amount.of(sure + band.high),
    )


def _runs_out(made: Forecast, calendar: OrgCalendar, now: datetime, balance: Prepaid) -> RunsOut:
    parts = [
        (None if expires_at is None else calendar.day_of(expires_at - _MOMENT), microcredits)
        for expires_at, microcredits in balance.grants
    ]
    found = made.exhaustion(balance.left, _rest_of_day(calendar, made.today, now), parts)
    return RunsOut(
        balance=Amount.of(balance.left), expected=found.expected, earliest=found.earliest, latest=found.latest
    )


def _rest_of_day(calendar: OrgCalendar, day: date, now: datetime) -> float:
    start, end = calendar.start_of(day), calendar.start_of(day + DAY)
    return max(0.0, min(1.0, (end - now) / (end - start)))


def _expected(expectation: Expectation) -> ExpectedUsage:
    return ExpectedUsage(**_amounts(expectation))


def _amounts(expectation: Expectation) -> dict[str, Amount]:
    return {
        "expected": Amount.of(expectation.mean),
        "low": Amount.of(expectation.low),
        "high": Amount.of(expectation.high),
    }
