"""A sans-I/O scanner for server-sent events.

Lines end in ``\\n``, ``\\r\\n`` or ``\\r`` and in nothing else (U+2028, U+2029 and U+0085 occur raw inside
JSON strings). It is more lenient than the HTML standard where providers are: an event that the end of the
stream cuts off after a complete line still counts, and ``error: {...}`` as a field of its own (GPUStack) is
an event named ``error``.
"""

from __future__ import annotations

from gateway.metering.elide import Bulk

EVENT_BYTES_MAX = 8 << 20
"""No real event is larger once its media is cut out: the longest outputs are about 2 MB of text."""

_BOM = b"\xef\xbb\xbf"
_DATA = b"data: "
_BORDER = b"\n\n"


Event = tuple[bytes, bytes]
"""(the ``event:`` field, empty when there was none; all ``data:`` lines, joined by newlines). A plain tuple, as there
is one for each token of each stream.
"""


class SseScanner:
    """Bytes in, complete events out. Linear in the bytes as long as they come in segments of some size."""

    __slots__ = ("_after_cr", "_data", "_data_bytes", "_name", "_started", "_tail", "foreign", "skipped")

    def __init__(self) -> None:
        self._tail = Bulk(EVENT_BYTES_MAX)
        """The line whose end has not come."""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._name = b""
        self._after_cr = False
        self._started = False
        self.skipped = 0
        """Events left out because they were larger than `EVENT_BYTES_MAX`."""
        self.foreign = False
        """There were lines that are of no event and no comment."""

    def feed(self, data: bytes) -> list[Event]:
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if not self._started:
            data = self._tail.joined() + data
            self._tail.clear()
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._tail.append(data)
                return []
            self._started = True
            data = data.removeprefix(_BOM)
        events: list[Event] = []
        if not self._data_bytes and not self._data and not self._name and not self._tail.dropped:
            data = self._plain(data, events)
        if data.find(b"\n") < 0 and data.find(b"\r") < 0:
            self._tail.append(data)
            return events
        self._after_cr = data.endswith(b"\r")
        lines = data.splitlines(keepends=True)
        rest = b"" if lines[-1].endswith((b"\n", b"\r")) else lines.pop()
        if self._tail:
            self._first(lines)
        self._take(lines, events)
        self._tail.append(rest)
        return events

    def _plain(self, data: bytes, events: list[Event]) -> bytes:
        """Take what is nothing but ``data: ...`` and an empty line over and over, as most streams are, without looking
        at each line; returns what is left.
        """
        end = data.rfind(_BORDER)
        if end < 0 or data.find(b"\r") >= 0:
            return data
        whole = data[:end] if not self._tail else self._tail.joined() + data[:end]
        lines = whole.count(b"\n")
        if (
            lines != 2 * whole.count(_BORDER + _DATA)
            or not whole.startswith(_DATA)
            or len(whole) > EVENT_BYTES_MAX
        ):
            return data
        self._tail.clear()
        events += [(b"", value) for value in whole[len(_DATA) :].split(_BORDER + _DATA)]
        return data[end + len(_BORDER) :]

    def finish(self) -> list[Event]:
        """The events that only the end of the stream completes."""
        events: list[Event] = []
        lines = [b"\n", b"\n"] if self._tail else [b"\n"]
        if self._tail:
            self._first(lines)
        self._take(lines, events)
        return events

    def _first(self, lines: list[bytes]) -> None:
        """Complete the line that was begun earlier; one that was given up takes its event with it."""
        if self._tail.dropped:
            self._data = []
            self._data_bytes = 0
            self.skipped += 1
            del lines[0]
        else:
            lines[0] = self._tail.joined() + lines[0]
        self._tail.clear()

    def _take(self, lines: list[bytes], events: list[Event]) -> None:
        for raw in lines:
            line = raw.rstrip(b"\r\n")
            if not line:
                self._dispatch(events)
            elif line.startswith(b"data:"):
                self._append(line[6:] if line[5:6] == b" " else line[5:])
            elif line.startswith(b"event:"):
                self._name = line[6:].strip()
            elif line.startswith(b"error:"):
                events.append((b"error", line[6:].lstrip()))
            elif not line.startswith((b":", b"id:", b"retry:")):
                self.foreign = True

    def _append(self, value: bytes) -> None:
        self._data_bytes += len(value)
        if self._data_bytes <= EVENT_BYTES_MAX:
            self._data.append(value)
        else:
            self._data = []

    def _dispatch(self, events: list[Event]) -> None:
        if self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append((self._name, data))
            self._data = []
        elif self._data_bytes > EVENT_BYTES_MAX:
            self.skipped += 1
        self._data_bytes = 0
        self._name = b""
