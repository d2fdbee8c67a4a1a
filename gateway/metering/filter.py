"""Removes the usage event that the gateway asked for and the client did not.

That event has ``"choices": []`` and a ``usage`` that is not null; every other byte passes unchanged and in
order, ``"usage":null`` in the other chunks included. An incomplete event is held back only as long as it
could still be that one.
"""

from __future__ import annotations

import re

import orjson

HELD_BYTES_MAX = 64 << 10
"""A usage event is under 3 KB (Groq's, with a breakdown by model); what grows beyond this passes."""

_BLANK = re.compile(rb"[\r\n]+")
_BORDER = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_BORDER_BYTES_BEFORE = 3
"""What must be remembered of passed bytes to see a border whose last byte is still to come."""
_USAGE, _USAGE_NULL = b'"usage"', b'"usage":null'
_USAGE_OBJECT = re.compile(rb'"usage"\s*+:\s*+\{')
_SOME_CHOICE = re.compile(rb'"choices"\s*+:\s*+\[\s*+[^\]\s]')
_NO_SSE = (b"{", b"[", b"<")


class UsageEventFilter:
    """For chat and completions streams whose usage flag was injected. One filter serves one stream."""

    __slots__ = ("_clean", "_held", "_passed", "_swallow_lf")

    def __init__(self) -> None:
        self._clean = True
        """At the border of events, nothing held back."""
        self._held = b""
        self._passed: bytes | None = None
        """Inside an event that is let through: the last bytes of it that were; None: not inside one."""
        self._swallow_lf = False
        """A removed event ended in CR, which may be half of CRLF."""

    def feed(self, data: bytes) -> bytes:
        # nearly every chunk is made of whole events without a usage object
        if (
            self._clean
            and data.endswith((b"\n\n", b"\r\n\r\n"))
            and (data.count(_USAGE) == data.count(_USAGE_NULL) or _USAGE_OBJECT.search(data) is None)
        ):
            return data
        out = self._sift(data)
        self._clean = not self._held and self._passed is None and not self._swallow_lf
        return out

    def flush(self) -> bytes:
        held, self._held = self._held, b""
        return b"" if _is_usage_event(held) else held

    def _sift(self, data: bytes) -> bytes:
        if self._swallow_lf and data:
            data = data.removeprefix(b"\n")
            self._swallow_lf = False
        out: list[bytes] = []
        before = self._held if self._passed is None else self._passed
        buffer = before + data
        at = 0 if self._passed is None else len(before)
        search_from = max(0, len(before) - _BORDER_BYTES_BEFORE)
        while at < len(buffer):
            blank = _BLANK.match(buffer, at) if self._passed is None else None
            if blank is not None:
                out.append(blank[0])
                at = blank.end()
            border = _BORDER.search(buffer, max(at, search_from) if self._passed is None else search_from)
            if border is None or border.end() <= at:
                break
            event = buffer[at : border.end()]
            at = search_from = border.end()
            if self._passed is not None or not _is_usage_event(event):
                out.append(event)
            else:
                self._swallow_lf = at == len(buffer) and event.endswith(b"\r")
            self._passed = None
        self._keep(buffer, at, out)
        return b"".join(out)

    def _keep(self, buffer: bytes, at: int, out: list[bytes]) -> None:
        rest = buffer[at:]
        if rest and (self._passed is not None or _cannot_be_usage_event(rest)):
            out.append(rest)
            self._passed = buffer[-_BORDER_BYTES_BEFORE:]
            self._held = b""
        else:
            self._held = rest


def _cannot_be_usage_event(start: bytes) -> bool:
    return len(start) > HELD_BYTES_MAX or start.startswith(_NO_SSE) or _SOME_CHOICE.search(start) is not None


def _is_usage_event(event: bytes) -> bool:
    if _USAGE_OBJECT.search(event) is None:
        return False
    data = b"\n".join(line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:"))
    try:
        doc = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return isinstance(doc, dict) and doc.get("choices") == [] and doc.get("usage") is not None
