"""A report as JSON, written as it is read: conversations may be many."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson

from gateway.reports.desk import Snapshot
from gateway.reports.patterns import change_percent
from gateway.reports.question import Dimension, Group, Sums
from gateway.reports.usage_report import UsageReport
from pricing.money import format_credits


async def report_json(snapshot: Snapshot, report: UsageReport) -> AsyncGenerator[bytes]:
    """The document in parts. What the conversations leave of the total is ``withoutConversation``, but for what single
    requests are not kept of any more, with or without one: ``notKept``."""
    yield orjson.dumps(_head(report))[:-1] + b',"conversationCosts":['
    by_conversation = snapshot.question(report.period, group_by=[Dimension.CONVERSATION])
    gone = (await snapshot.reading.not_kept(by_conversation, snapshot.calendar)).credits_microcredits
    rest = report.total.credits_microcredits - gone
    separator = b""
    costs = snapshot.history.conversation_costs(snapshot.org, snapshot.reach, report.period)
    async with aclosing(costs) as found:
        async for one in found:
            rest -= one.cost_microcredits
            yield separator + orjson.dumps(
                {
                    "id": one.id,
                    "title": one.title,
                    "requests": one.requests,
                    "cost": amount(one.cost_microcredits),
                }
            )
            separator = b","
    yield b'],"withoutConversation":' + orjson.dumps(amount(rest))
    yield b',"notKept":' + orjson.dumps(amount(gone)) + b"}"


def amount(microcredits: int) -> dict[str, object]:
    """As all amounts of the API are written."""
    return {"microcredits": microcredits, "credits": format_credits(microcredits)}


def _head(report: UsageReport) -> dict[str, Any]:
    total, before, period = report.total, report.previous, report.period
    return {
        "org": report.org,
        "period": report.kind,
        "interval": {
            "start": period.start,
            "end": period.end,
            "first_day": period.first,
            "last_day": period.last,
            "time_zone": report.calendar.time_zone,
        },
        "totalCost": amount(total.credits_microcredits),
        "previousCost": amount(before.credits_microcredits),
        "changePercent": change_percent(total.credits_microcredits, before.credits_microcredits),
        "total": _sums(total),
        "operationBreakdown": {
            group.names[0] or "": amount(group.sums.credits_microcredits) for group in report.operations
        },
        "models": [_group(group, ("provider", "model")) for group in report.models],
        "days": [{"day": group.step, **_sums(group.sums)} for group in report.days],
    }


def _group(group: Group, names: tuple[str, ...]) -> dict[str, Any]:
    return {**dict(zip(names, group.names, strict=True)), **_sums(group.sums)}


def _sums(sums: Sums) -> dict[str, Any]:
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
        "cost": amount(sums.credits_microcredits),
    }
