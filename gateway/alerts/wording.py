"""Alerts in words, for e-mail and text messages. Every time is the organisation's, and says its zone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

from gateway.alerts.kind import AlertKind
from gateway.alerts.postgres_book import Alert
from gateway.budgets.windows import Calendar

SMS_CHARS_MAX = 320
"""Two text messages; most networks join them."""
_WINDOWS = {"day": "daily", "week": "weekly", "month": "monthly", "total": "total"}


@dataclass(frozen=True, slots=True)
class Message:
    title: str
    lines: tuple[str, ...]

    @property
    def plain(self) -> str:
        return "\n".join((self.title, "", *self.lines, ""))

    @property
    def html(self) -> str:
        """Simple enough for every mail program: paragraphs, no styles, no images."""
        body = "".join(f"<p>{escape(line)}</p>\n" for line in self.lines)
        return f"<!doctype html>\n<html><body>\n<h2>{escape(self.title)}</h2>\n{body}</body></html>\n"

    @property
    def sms(self) -> str:
        text = " ".join((f"{self.title}.", *self.lines[:2]))
        return text if len(text) <= SMS_CHARS_MAX else text[: SMS_CHARS_MAX - 1] + "…"


def message(alert: Alert | None, calendar: Calendar) -> Message:
    """``alert`` None: a test."""
    if alert is None:
        return Message("A test message from Tollgate", ("If you can read this, messages reach you.",))
    title, lines = _SAID[AlertKind(alert.kind)](alert.data, alert, calendar)
    when = f"When: {_local(alert.occurred_at, calendar)}"
    return Message(title, (*lines, when, f"Organisation: {alert.org_id}"))


_Said = tuple[str, list[str]]
_Data = Mapping[str, Any]


def _budget(data: _Data, alert: Alert, calendar: Calendar) -> _Said:
    limit = data["limit"]
    lines = [f"{_credits(data['settled'])} of {_credits(limit['amount'])} credits are spent."]
    if data["levels"][:-1]:
        passed = ", ".join(f"{level} %" for level in data["levels"][:-1])
        lines.append(f"This passed {passed} at once.")
    if not data["enforced"]:
        lines.append("The limit only watches: nothing is refused.")
    elif data["level"] >= 100:
        lines.append("Calls that need more than is left are refused.")
    return f"{data['level']} % of the {_limit(limit)} reached", [*lines, _resets(data, calendar)]


def _balance(data: _Data, alert: Alert, calendar: Calendar) -> _Said:
    lines = [
        f"{_credits(data['left'])} credits are left of the {_credits(data['after_last_top_up'])} "
        "after the last top-up."
    ]
    if data["level"] >= 100:
        lines.append("Calls are refused until credits are added.")
    return f"{data['level']} % of the balance used", lines


def _low(data: _Data, alert: Alert, calendar: Calendar) -> _Said:
    return "The balance is low", [
        f"{_credits(data['left'])} credits are left. You asked to be told at {_credits(data['low_balance'])}."
    ]


def _anomaly(data: _Data, alert: Alert, calendar: Calendar) -> _Said:
    start = _local(datetime.fromisoformat(data["hour_start"]), calendar)
    return "Unusual spending", [
        f"{_credits(data['spent'])} credits were spent in the hour from {start}.",
        f"In the {data['weeks']} weeks before, the same hour of the same weekday cost {_credits(data['median'])} "
        f"in the middle and {_credits(data['most'])} at most.",
    ]


def _grace(data: _Data, alert: Alert, calendar: Calendar) -> _Said:
    until = _local(datetime.fromisoformat(data["grace_until"]), calendar)
    return f"The {_limit(data['limit'])} is being passed", [
        f"{_credits(data['settled'])} of {_credits(data['limit']['amount'])} credits are spent.",
        f"Its grace ends at {until}; then calls are refused.",
        _resets(data, calendar),
    ]


def _stop(data: _Data, alert: Alert, calendar: Calendar) -> _Said:
    if "limit" not in data:
        left = _credits(data["left"])
        return "Calls are refused: the balance is used up", [
            f"{left} credits are left, less than a call needs. Calls are accepted again when credits are added."
        ]
    limit = data["limit"]
    return f"Calls are refused by the {_limit(limit)}", [
        f"{_credits(data['settled'])} of {_credits(limit['amount'])} credits are spent, and a call needed more than "
        "is left.",
        _resets(data, calendar),
    ]


def _expiring(data: _Data, alert: Alert, calendar: Calendar) -> _Said:
    at = _local(datetime.fromisoformat(data["expires_at"]), calendar)
    days = f"{data['days']} day{'s' if data['days'] != 1 else ''}"
    return f"Credits expire in {days}", [
        f"{_credits(data['left'])} credits will expire at {at} unless they are used before."
    ]


def _summary(data: _Data, alert: Alert, calendar: Calendar) -> _Said:
    lines = [
        f"{_credits(data['spent'])} credits for {data['requests']} requests. The day before: "
        f"{_credits(data['spent_before'])} credits.",
        *(
            f"{row['name']}: {_credits(row['spent'])} credits, {row['requests']} requests"
            for row in data["models"]
        ),
    ]
    return f"Usage on {data['day']}: {_credits(data['spent'])} credits", lines


def _statement(data: _Data, alert: Alert, calendar: Calendar) -> _Said:
    lines = [
        *(f"{row['name']}: {_credits(row['amount'])} credits" for row in data["lines"]),
        *(f"Used with {row['name']}: {_credits(row['spent'])} credits" for row in data["models"]),
    ]
    return f"Statement for {data['month']}: {_credits(data['spent'])} credits used", lines


def _top_up(data: _Data, alert: Alert, calendar: Calendar) -> _Said:
    titles = {
        AlertKind.TOP_UP_REQUESTED: "A top-up was requested",
        AlertKind.TOP_UP_CANCELLED: "A top-up was cancelled",
        AlertKind.TOP_UP_SUCCEEDED: "Credits were added",
        AlertKind.TOP_UP_FAILED: "A top-up failed",
        AlertKind.TOP_UP_NEEDS_ACTION: "A top-up waits for you",
        AlertKind.AUTO_RECHARGE_DISABLED: "Automatic recharging was switched off",
    }
    price = f" for {data['price']}" if data.get("price") else ""
    lines = [f"{_credits(data['amount'])} credits{price}."] if "amount" in data else []
    lines += [str(data[name]) for name in ("instructions", "url", "reason") if data.get(name)]
    return titles[AlertKind(alert.kind)], lines


_SAID: Mapping[AlertKind, Callable[[_Data, Alert, Calendar], _Said]] = {
    AlertKind.BUDGET_THRESHOLD: _budget,
    AlertKind.BALANCE_THRESHOLD: _balance,
    AlertKind.LOW_BALANCE: _low,
    AlertKind.SPEND_ANOMALY: _anomaly,
    AlertKind.GRACE_STARTED: _grace,
    AlertKind.HARD_STOP: _stop,
    AlertKind.CREDITS_EXPIRING: _expiring,
    AlertKind.DAILY_SUMMARY: _summary,
    AlertKind.MONTHLY_STATEMENT: _statement,
    AlertKind.TOP_UP_REQUESTED: _top_up,
    AlertKind.TOP_UP_CANCELLED: _top_up,
    AlertKind.TOP_UP_SUCCEEDED: _top_up,
    AlertKind.TOP_UP_FAILED: _top_up,
    AlertKind.TOP_UP_NEEDS_ACTION: _top_up,
    AlertKind.AUTO_RECHARGE_DISABLED: _top_up,
}


def _credits(value: Mapping[str, Any]) -> str:
    return str(value["credits"])


def _limit(limit: Mapping[str, Any]) -> str:
    selectors = {"operation": "operation", "model": "model", "end_user": "end user"}
    only = [f"{word} {limit[name]}" for name, word in selectors.items() if limit[name] is not None]
    suffix = f" ({', '.join(only)})" if only else ""
    return f"{_WINDOWS[limit['window']]} limit of {limit['scope']} {limit['id']}{suffix}"


def _resets(data: _Data, calendar: Calendar) -> str:
    if data["resets_at"] is None:
        return "It does not reset by itself."
    return f"It resets at {_local(datetime.fromisoformat(data['resets_at']), calendar)}."


def _local(at: datetime, calendar: Calendar) -> str:
    return calendar.local(int(at.timestamp() * 1_000_000))
