"""Server-sent events as bytes (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from pricing.money import format_credits

HEARTBEAT = b": still here\n\n"
"""A comment: it keeps proxies from closing a quiet connection, and clients do not see it."""
RETRY = b"retry: 2000\n\n"
"""How soon a client connects again, in milliseconds; it asks for what it missed by Last-Event-ID."""


def event(name: bytes, data: object, sequence: int | None = None) -> bytes:
    """One event. JSON has no raw line break in it, so one ``data:`` line is enough."""
    return framed(name, orjson.dumps(data), sequence)


def framed(name: bytes, document: bytes, sequence: int | None = None) -> bytes:
    """As `event`, of JSON that is encoded already."""
    head = b"" if sequence is None else b"id: %d\n" % sequence
    return b"%bevent: %b\ndata: %b\n\n" % (head, name, document)


def amount(microcredits: int) -> dict[str, Any]:
    """An amount as every reply of the API says it."""
    return {"microcredits": microcredits, "credits": format_credits(microcredits)}


def instant(at: datetime) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"
