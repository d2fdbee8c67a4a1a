"""A sans-I/O collector of one JSON document, bounded whatever its size."""

from __future__ import annotations

import json
import re
from collections import deque

from gateway.metering.elide import Bulk
from gateway.metering.sse import Event

DOCUMENT_BYTES_MAX = 8 << 20
"""Kept of one document after media and vectors were cut out; real ones are far below. Beyond it only the
usage object near the end is looked for."""

_TAIL_PIECES = 5
"""Pieces remembered as they came: a usage object is under 4 KB, a piece up to 16 KB."""
_USAGE = re.compile(rb'"(usage|usageMetadata)"\s*:\s*(?=\{)')


class Document:
    """Emits the document, once, at the end."""

    __slots__ = ("_bulk", "_tail", "skipped")

    def __init__(self) -> None:
        self._bulk = Bulk(DOCUMENT_BYTES_MAX)
        self._tail: deque[bytes] = deque(maxlen=_TAIL_PIECES)
        self.skipped = 0

    def feed(self, data: bytes) -> list[Event]:
        self._bulk.append(data)
        self._tail.append(data)
        return []

    def finish(self) -> list[Event]:
        """The document; of one that was too large, only ``{"usage": {...}}``; nothing if it has none."""
        if not self._bulk.dropped:
            return [(b"", self._bulk.joined())]
        self.skipped = 1
        tail = b"".join(self._tail)
        found = list(_USAGE.finditer(tail))
        if not found:
            return []
        text = tail[found[-1].end() :].decode("utf-8", "replace")
        try:
            usage, _ = json.JSONDecoder().raw_decode(text)
        except (ValueError, RecursionError):
            return []
        return [(b"", json.dumps({found[-1][1].decode(): usage}).encode())]
