"""Which stretch of time and whose usage: the parameters that questions about usage share."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.api.credit_fields import within_years
from gateway.api.operation import OrgParams
from gateway.errors import BadRequest
from gateway.reports.period import DAY, Granularity, OrgCalendar, Period, ReportPeriod
from gateway.reports.question import Dimension, Filters
from gateway.settings.limits import OperationName

PERIOD_DAYS_MAX = 1830
"""Five years."""
HOURS_DAYS_MAX = 100
"""By the hour: 2,400 steps."""
FILTER_VALUES_MAX = 100
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _day_or_instant(text: str) -> str:
    if _DAY.fullmatch(text):
        within_years(date.fromisoformat(text))
    elif within_years(datetime.fromisoformat(text.replace(" ", "+"))).tzinfo is None:
        raise ValueError("needs an offset, e.g. 2026-11-22T10:00:00Z; or give a date, e.g. 2026-11-22")
    return text


def _name_and_value(text: str | None) -> str | None:
    if text is not None and ":" not in text[1:]:
        raise ValueError("write name:value, e.g. feature:search")
    return text


def _one(name: object) -> object:
    if isinstance(name, str) and "," in name:
        raise ValueError("one each time: group_by=user&group_by=model")
    return name


Moment = Annotated[str, Field(max_length=40), AfterValidator(_day_or_instant)]
Values = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=FILTER_VALUES_MAX)
]
RangeName = Literal["24h", "7d", "30d", "90d", "today", "week", "month", "year"]


class PeriodParams(OrgParams):
    range: Annotated[
        RangeName | None,
        Field(
            description="The last 24 hours, the last days with today, or this day, week, month or year. Default: 30d."
        ),
    ] = None
    start: Annotated[
        Moment | None, Field(description="Instead of `range`: a local date, or an instant with its offset.")
    ] = None
    end: Annotated[Moment | None, Field(description="Until before this; default: now.")] = None


class FilterParams(PeriodParams):
    """Each may be given several times: usage of any of the values."""

    team: Values = ()
    user: Annotated[Values, Field(description="User ids, or pseudonyms for those who only see these.")] = ()
    key: Values = ()
    provider: Values = ()
    model: Values = ()
    operation: Annotated[tuple[OperationName, ...], Field(max_length=FILTER_VALUES_MAX)] = ()
    conversation: Values = ()
    status: Values = ()
    tag: Annotated[
        str | None,
        Field(max_length=512, description="`name:value`", json_schema_extra={"pattern": "^[^:]+:"}),
        AfterValidator(_name_and_value),
    ] = None

    def filters(self) -> Filters:
        name, _, value = (self.tag or "").partition(":")
        return Filters(
            teams=self.team or None,
            users=self.user or None,
            keys=self.key or None,
            providers=self.provider or None,
            models=self.model or None,
            operations=self.operation or None,
            conversations=self.conversation or None,
            tag=(name, value) if name else None,
            statuses=self.status or None,
        )


class SeriesParams(FilterParams):
    granularity: Annotated[Granularity, Field(description="How wide each step is, in local time.")] = (
        Granularity.NONE
    )
    group_by: Annotated[
        tuple[Annotated[Dimension, BeforeValidator(_one)], ...],
        Field(
            max_length=len(Dimension), description="Several, one each time: `group_by=user&group_by=model`."
        ),
    ] = ()
    tag_name: Annotated[str | None, Field(max_length=256, description="Of `group_by=tag`.")] = None


def period_of(
    params: PeriodParams, calendar: OrgCalendar, now: datetime, default: RangeName = "30d"
) -> Period:
    """What was asked for, in the org's calendar. Raises `BadRequest`."""
    if params.start is None and params.end is None:
        return _named(params.range or default, calendar, now)
    if params.range is not None:
        raise BadRequest("range: goes without start and end", param="range")
    if params.start is None:
        raise BadRequest("start: give it too", param="start")
    start, end = params.start, params.end or now.isoformat()
    if _DAY.fullmatch(start) and _DAY.fullmatch(end):
        first, after = date.fromisoformat(start), date.fromisoformat(end)
        _check(first < after, (after - first).days)
        return calendar.days(first, after)
    begins, ends = _instant(start, calendar), _instant(end, calendar)
    _check(begins < ends, (ends - begins).days)
    return calendar.between(begins, ends)


def check_steps(period: Period, granularity: Granularity) -> None:
    """Raises `BadRequest` when there would be more steps than anybody looks at."""
    if granularity is Granularity.HOUR and period.length > timedelta(days=HOURS_DAYS_MAX):
        raise BadRequest(f"granularity: by the hour at most {HOURS_DAYS_MAX} days", param="granularity")


def _check(forward: bool, days: int) -> None:
    if not forward:
        raise BadRequest("end: must be after start", param="end")
    if days > PERIOD_DAYS_MAX:
        raise BadRequest(f"start: at most {PERIOD_DAYS_MAX} days before end", param="start")


def _named(name: RangeName, calendar: OrgCalendar, now: datetime) -> Period:
    today = calendar.day_of(now)
    if name == "24h":
        hour = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        return calendar.between(hour - timedelta(hours=24), hour)
    if name in ("7d", "30d", "90d"):
        return calendar.days(today - timedelta(days=int(name[:-1]) - 1), today + DAY)
    if name == "year":
        return calendar.days(today.replace(month=1, day=1), today + DAY)
    kinds = {"today": ReportPeriod.DAILY, "week": ReportPeriod.WEEKLY, "month": ReportPeriod.MONTHLY}
    return calendar.around(kinds[name], today)


def _instant(moment: str, calendar: OrgCalendar) -> datetime:
    if _DAY.fullmatch(moment):
        return calendar.start_of(date.fromisoformat(moment))
    return datetime.fromisoformat(moment.replace(" ", "+")).astimezone(UTC)
