"""Usage as replies show it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from gateway.api.amount import Amount
from gateway.reports.history import UsageLine
from gateway.reports.period import Granularity, OrgCalendar, Period
from gateway.reports.question import Dimension, Group, Sums


class PeriodReply(BaseModel):
    """From an instant until before another, and how the organisation's calendar calls them."""

    start: datetime
    end: datetime
    first_day: date
    last_day: date
    time_zone: str

    @classmethod
    def of(cls, period: Period, calendar: OrgCalendar) -> PeriodReply:
        return cls(
            start=period.start,
            end=period.end,
            first_day=period.first,
            last_day=period.last,
            time_zone=calendar.time_zone,
        )


class UsageSums(BaseModel):
    """Added up. Input tokens contain cached and written ones, output tokens those of reasoning."""

    requests: int
    errors: int
    estimated: Annotated[int, Field(description="Requests whose usage the provider did not report.")]
    unpriced: Annotated[int, Field(description="Requests that used something without a price.")]
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: Amount

    @classmethod
    def of(cls, sums: Sums) -> UsageSums:
        return cls(**sums_fields(sums))


class UsageGroup(UsageSums):
    """One step of a series, one value of what usage is split by, or both."""

    step: Annotated[
        str | None, Field(description="A local date, or for hours the instant at which one begins.")
    ]
    starts_at: datetime | None
    team: str | None = None
    user: str | None = None
    key: str | None = None
    provider: str | None = None
    model: str | None = None
    operation: str | None = None
    conversation: str | None = None
    tag: str | None = None


class UsageRequest(BaseModel):
    """One request."""

    request_id: str
    started_at: datetime
    finished_at: datetime
    operation: str
    provider: str
    model: str
    model_served: str | None
    tier: str | None
    route: str
    team: str | None
    user: str | None
    key: str
    conversation: str | None
    end_user: str | None
    tags: dict[str, str]
    streamed: bool
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: Amount
    usage_source: Annotated[str, Field(description="provider, counted, bound or none")]
    status: str
    flags: tuple[str, ...]
    upstream_status: int | None
    first_byte_ms: int | None


def sums_fields(sums: Sums) -> dict[str, Any]:
    """The members of `UsageSums`."""
    return {
        "requests": sums.requests,
        "errors": sums.errors,
        "estimated": sums.estimated,
        "unpriced": sums.unpriced,
        "input_tokens": sums.input_tokens,
        "cached_input_tokens": sums.cached_input_tokens,
        "cache_write_tokens": sums.cache_write_tokens,
        "output_tokens": sums.output_tokens,
        "reasoning_tokens": sums.reasoning_tokens,
        "cost": Amount.of(sums.credits_microcredits),
    }


def usage_group(
    group: Group, group_by: tuple[Dimension, ...], granularity: Granularity, calendar: OrgCalendar
) -> UsageGroup:
    names = {str(dimension): name for dimension, name in zip(group_by, group.names, strict=True)}
    starts_at = None
    if group.step:
        is_hour = granularity is Granularity.HOUR
        starts_at = (
            datetime.fromisoformat(group.step)
            if is_hour
            else calendar.start_of(date.fromisoformat(group.step))
        )
    return UsageGroup(step=group.step or None, starts_at=starts_at, **names, **sums_fields(group.sums))  # type: ignore[arg-type]


def usage_request(line: UsageLine) -> UsageRequest:
    members = {name: getattr(line, name) for name in UsageRequest.model_fields if name != "cost"}
    return UsageRequest(**members, cost=Amount.of(line.credits_microcredits))
