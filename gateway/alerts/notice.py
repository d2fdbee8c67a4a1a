"""A piece of news before it is recorded, and what crossings come to as such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from gateway.alerts.kind import AlertKind, Severity
from gateway.budgets.crossing import Crossing, CrossingKind
from gateway.budgets.keyspace import CounterName
from gateway.budgets.model import Scope, Window
from gateway.budgets.windows import Calendar
from pricing.money import format_credits

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Notice:
    """News of one organisation. Whoever has some hands it to `gateway.alerts.postgres_book.AlertBook`."""

    kind: AlertKind
    severity: Severity
    org_id: str
    news_key: str
    """Equal for what is the same news: it is recorded and sent once."""
    subject: str
    """News of one subject reach each target in the order in which they were recorded."""
    occurred_at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)
    """JSON, at most a few kilobytes; no prompts, keys or personal data beyond ids."""
    team_id: str | None = None
    user_id: str | None = None
    key_id: str | None = None
    sent: bool = True
    """Whether it goes to whoever wants to be told, which may be nobody. False: recorded for completeness beside one
    that does."""


def amount(microcredits: int) -> dict[str, Any]:
    """As every reply of the API says amounts."""
    return {"microcredits": microcredits, "credits": format_credits(microcredits)}


def instant(at: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def of_crossing(crossing: Crossing, calendar: Calendar) -> list[Notice]:
    """What is to be recorded of it, the one that is sent last."""
    if crossing.counter is None:
        return _of_balance(crossing)
    return _of_limit(crossing, crossing.counter, calendar)


def _of_limit(crossing: Crossing, counter: CounterName, calendar: Calendar) -> list[Notice]:
    subject = f"limit|{replace(counter, start_us=0).encoded()}"
    key = f"{subject}|{counter.start_us}"
    base = Notice(
        AlertKind.BUDGET_THRESHOLD, Severity.WARNING, crossing.org, key, subject, _instant(crossing.at_us),
        {
            "limit": _limit(crossing, counter),
            "settled": amount(crossing.settled),
            "enforced": crossing.enforced,
            **_window(counter, calendar),
        },
    )  # fmt: skip
    base = _concerning(base, crossing, counter)
    if crossing.kind is CrossingKind.GRACE:
        assert crossing.grace_until_us is not None
        until = instant(_instant(crossing.grace_until_us))
        return [
            replace(
                base,
                kind=AlertKind.GRACE_STARTED,
                news_key=f"{key}|grace",
                data={**base.data, "grace_until": until},
            )
        ]
    if crossing.kind is CrossingKind.STOP:
        return [
            replace(
                base,
                kind=AlertKind.HARD_STOP,
                severity=Severity.CRITICAL,
                news_key=f"{key}|{crossing.limit}|stop",
            )
        ]
    return _levels(base, crossing)


def _of_balance(crossing: Crossing) -> list[Notice]:
    key = f"balance|{crossing.epoch}"
    base = Notice(
        AlertKind.BALANCE_THRESHOLD, Severity.WARNING, crossing.org, key, "balance", _instant(crossing.at_us),
        {"left": amount(crossing.settled), "after_last_top_up": amount(crossing.limit)},
    )  # fmt: skip
    if crossing.kind is CrossingKind.STOP:
        stopped = {"left": amount(crossing.settled)}
        return [
            replace(
                base,
                kind=AlertKind.HARD_STOP,
                severity=Severity.CRITICAL,
                news_key=f"{key}|stop",
                data=stopped,
            )
        ]
    if crossing.kind is CrossingKind.LOW:
        assert crossing.low is not None
        low = {"left": amount(crossing.settled), "low_balance": amount(crossing.low)}
        return [replace(base, kind=AlertKind.LOW_BALANCE, news_key=f"{key}|low|{crossing.low}", data=low)]
    return _levels(base, crossing)


def _levels(base: Notice, crossing: Crossing) -> list[Notice]:
    """One for each level; the highest is sent and names the others."""
    highest = crossing.levels[-1]
    return [
        replace(
            base,
            severity=Severity.CRITICAL if level >= 100 else Severity.WARNING,
            news_key=f"{base.news_key}|{crossing.limit}|{level}",
            data={**base.data, "level": level, "levels": list(crossing.levels)},
            sent=level == highest,
        )
        for level in crossing.levels
    ]


def _limit(crossing: Crossing, counter: CounterName) -> dict[str, Any]:
    return {
        "scope": counter.scope.value,
        "id": counter.scope_id,
        "window": counter.window.value,
        "operation": counter.operation,
        "model": counter.model,
        "end_user": counter.end_user,
        "amount": amount(crossing.limit),
    }


def _window(counter: CounterName, calendar: Calendar) -> dict[str, Any]:
    """When it began and ends; a total has neither."""
    if counter.window is Window.TOTAL:
        return {"window_start": None, "resets_at": None}
    interval = calendar.around(counter.start_us).of(counter.window)
    assert interval.end_us is not None
    return {
        "window_start": instant(_instant(counter.start_us)),
        "resets_at": instant(_instant(interval.end_us)),
    }


def _concerning(notice: Notice, crossing: Crossing, counter: CounterName) -> Notice:
    """With the team, user and key of the limit; those above them as far as the call that crossed it tells."""
    if counter.scope is Scope.ORG:
        return notice
    if counter.scope is Scope.TEAM:
        return replace(notice, team_id=counter.scope_id)
    call = orjson.loads(crossing.admission) if crossing.admission else {}
    if counter.scope is Scope.USER:
        return replace(notice, team_id=call.get("team_id"), user_id=counter.scope_id)
    return replace(notice, team_id=call.get("team_id"), user_id=call.get("user_id"), key_id=counter.scope_id)


def _instant(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
