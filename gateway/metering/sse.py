"""A sans-I/O scanner for server-sent events.

Lines end in ``\\n``, ``\\r\\n`` or ``\\r`` and in nothing else (U+2028, U+2029 and U+0085 occur raw inside
JSON strings). It is more lenient than the HTML standard where providers are: an event that the end of the
stream cuts off after a complete line still counts, and ``error: {...}`` as a field of its own (GPUStack) is
an event named ``error``.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.metering.elide import ELIDE_ABOVE_BYTES, elide

EVENT_BYTES_MAX = 8 << 20
"""No real event is larger once its media is cut out: the longest outputs are about 2 MB of text."""

_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    name: bytes
    """The ``event:`` field; empty when there was none."""
    data: bytes
    """All ``data:`` lines, joined by newlines."""


class SseScanner:
    """Bytes in, complete events out. Linear in the bytes as long as they come in segments of some size."""

    __slots__ = ("_after_cr", "_data", "_data_bytes", "_dropping", "_name", "_started", "_tail", "skipped")

    def __init__(self) -> None:
        self._tail = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._name = b""
        self._after_cr = False
        self._started = False
        self._dropping = False
        self.skipped = 0
        """Events left out because they were larger than `EVENT_BYTES_MAX`."""

    def feed(self, data: bytes) -> list[Event]:
        if not data:
            return []
        if self._after_cr and data[0] == 0x0A:
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        data = self._tail + data
        if not self._started:
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._tail = data
                return []
            self._started = True
            data = data.removeprefix(_BOM)
        lines = data.splitlines(keepends=True)
        self._tail = b""
        if lines and lines[-1][-1] not in b"\r\n":
            self._keep(lines.pop())
        return self._take(lines)

    def finish(self) -> list[Event]:
        """The events that only the end of the stream completes."""
        lines = [self._tail] if self._tail and not self._dropping else []
        self._tail = b""
        return [*self._take(lines), *self._take([b"\n"])]

    def _keep(self, tail: bytes) -> None:
        if len(tail) > ELIDE_ABOVE_BYTES:
            tail = elide(tail)
        if len(tail) > EVENT_BYTES_MAX:
            self._dropping = True
            tail = b""
        self._tail = tail

    def _take(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        for raw in lines:
            line = raw.rstrip(b"\r\n")
            if not line and not self._dropping:
                self._dispatch(events)
            elif self._dropping:
                # the end of a line that was given up: its event is lost, the next line is whole again
                self._dropping = False
                self._data = []
                self._data_bytes = 0
                self.skipped += 1
            elif line.startswith(b"data:"):
                self._append(line[6:] if line[5:6] == b" " else line[5:])
            elif line.startswith(b"event:"):
                self._name = line[6:].strip()
            elif line.startswith(b"error:"):
                events.append(Event(b"error", line[6:].lstrip()))
        return events

    def _append(self, value: bytes) -> None:
        self._data_bytes += len(value)
        if self._data_bytes > EVENT_BYTES_MAX:
            value = elide(value)
        if self._data_bytes > 2 * EVENT_BYTES_MAX:
            value = b""
        self._data.append(value)

    def _dispatch(self, events: list[Event]) -> None:
        if self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append(Event(self._name, data))
            self._data = []
            self._data_bytes = 0
        self._name = b""
