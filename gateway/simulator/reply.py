"""What a dialect is given, and what it hands back to be delivered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from gateway.simulator.knobs import Knobs

EVENT_STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"


class Refusal(Exception):
    """The simulated provider says no: a status, and what its error body states."""

    def __init__(self, status: int, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True)
class Ask:
    """One understood request."""

    body: Mapping[str, Any]
    knobs: Knobs
    nonce: str
    """Hex or label: makes the ids of the reply."""
    model: str = ""
    verb: str = ""
    """Gemini: what follows the colon of the path."""
    sse: bool = True
    """Gemini: ``alt=sse``; otherwise streams are one JSON array."""


@dataclass(frozen=True, slots=True)
class Count:
    """What a generation used, as counted here. Inclusive: cached is in the input, reasoning in the output."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    """Of the cache writes, those with the longer time to live."""
    output_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0
    web_searches: int = 0


@dataclass(slots=True)
class Reply:
    """A whole reply in the pieces in which it is sent: one of JSON, or the events of a stream."""

    id: str
    count: Count
    events: list[bytes]
    tokens: list[int]
    """Output tokens that have come once ``events[i]`` has."""
    streamed: bool = False
    content_type: str = JSON
    terminators: int = 0
    """How many events at the end only mark the end."""
    failure: bytes = b""
    """The event that reports the provider's own failure inside this stream."""
    reports_usage: bool = True
    headers: dict[str, str] = field(default_factory=dict)


def input_count(base_tokens: int, knobs: Knobs) -> Count:
    """The input side. Cached and written tokens are part of the input, so they can only raise it."""
    cached, written = knobs.cached_tokens, knobs.cache_write_tokens + knobs.cache_write_1h_tokens
    wanted = base_tokens if knobs.input_tokens is None else knobs.input_tokens
    return Count(
        input_tokens=max(wanted, cached + written),
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=knobs.cache_write_1h_tokens,
        web_searches=knobs.web_searches,
    )


def with_output(count: Count, output_tokens: int, reasoning_tokens: int) -> Count:
    return replace(count, output_tokens=output_tokens, reasoning_tokens=reasoning_tokens)


def unary(reply_id: str, count: Count, body: Mapping[str, Any], knobs: Knobs, *, usage: bool = True) -> Reply:
    """A reply of one JSON document."""
    if knobs.pad_bytes:
        body = {**body, "x_padding": "x" * knobs.pad_bytes}
    return Reply(
        id=reply_id,
        count=count,
        events=[orjson.dumps(body)],
        tokens=[count.output_tokens],
        reports_usage=usage and not knobs.no_usage,
    )


class EventWriter:
    """Collects the events of a stream together with the output tokens each one brings."""

    def __init__(self, *, named: bool = False, pad_bytes: int = 0) -> None:
        self.events: list[bytes] = []
        self.tokens: list[int] = []
        self._named = named
        self._pad_bytes = pad_bytes
        self._total = 0

    def add(self, data: dict[str, Any], tokens: int = 0) -> None:
        """One event of JSON; with names, ``event:`` is its ``type``."""
        if self._pad_bytes and not self.events:
            data = {**data, "x_padding": "x" * self._pad_bytes}
        head = b"event: %b\n" % data["type"].encode() if self._named else b""
        self.raw(b"%bdata: %b\n\n" % (head, orjson.dumps(data)), tokens)

    def raw(self, event: bytes, tokens: int = 0) -> None:
        self._total += tokens
        self.events.append(event)
        self.tokens.append(self._total)


def member(body: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """A required member of a request, or the refusal that names it."""
    value = body.get(name)
    if not isinstance(value, kind):
        raise Refusal(400, f"Missing or malformed member: '{name}'.", param=name)
    return value


def cap_of(body: Mapping[str, Any], *names: str) -> int | None:
    """The smallest output cap that the request names; providers refuse one below 1."""
    found: int | None = None
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise Refusal(400, f"'{name}' must be an integer of at least 1.", param=name)
        found = value if found is None else min(found, value)
    return found
