"""A sans-I/O scanner for a JSON array that arrives in pieces (Gemini streams without ``alt=sse``)."""

from __future__ import annotations

import re

from gateway.metering.elide import Bulk
from gateway.metering.sse import EVENT_BYTES_MAX, Event

_IN_STRING = re.compile(rb'["\\]')
_BETWEEN = re.compile(rb'["{}\[\]]')


class JsonArrayScanner:
    """Emits each object of the outermost array as soon as its closing brace was seen."""

    __slots__ = ("_buffer", "_depth", "_escaped", "_in_string", "ended", "skipped")

    def __init__(self) -> None:
        self._buffer = Bulk(EVENT_BYTES_MAX)
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.ended = False
        """The outermost array was closed."""
        self.skipped = 0

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        at, start = 0, 0
        if self._escaped and data:
            self._escaped = False
            at = 1
        while not self.ended:
            found = (_IN_STRING if self._in_string else _BETWEEN).search(data, at)
            if found is None:
                break
            byte, at = found[0], found.end()
            if byte == b"\\":
                self._escaped = at >= len(data)
                at += 1
            elif byte == b'"':
                self._in_string = not self._in_string
            elif byte in b"{[":
                if self._depth == 1:
                    start = at - 1
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 1:
                    self._emit(events, data[start:at])
                    start = at
                self.ended = self._depth <= 0
        if self._depth > 1:
            self._buffer.append(data[start:])
        return events

    def finish(self) -> list[Event]:
        return []

    def _emit(self, events: list[Event], last: bytes) -> None:
        if self._buffer.dropped:
            self.skipped += 1
        else:
            events.append((b"", self._buffer.joined() + last))
        self._buffer.clear()
