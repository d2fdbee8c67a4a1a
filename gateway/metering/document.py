"""A sans-I/O collector of one JSON document, bounded whatever its size."""

from __future__ import annotations

import json
import re

import orjson

from gateway.metering.elide import ELIDE_ABOVE_BYTES, elide
from gateway.metering.sse import Event

DOCUMENT_BYTES_MAX = 8 << 20
"""Kept of one document after media and vectors were cut out; real ones are far below. Beyond it only the
usage object near the end is looked for."""

_TAIL_BYTES = 64 << 10
_USAGE = re.compile(rb'"(usage|usageMetadata)"\s*:\s*(?=\{)')


class Document:
    """Emits the document, once, at the end."""

    __slots__ = ("_kept", "_overflowed", "_pieces", "_pieces_bytes", "skipped")

    def __init__(self) -> None:
        self._kept = b""
        self._pieces: list[bytes] = []
        self._pieces_bytes = 0
        self._overflowed = False
        self.skipped = 0

    def feed(self, data: bytes) -> list[Event]:
        self._pieces.append(data)
        self._pieces_bytes += len(data)
        if self._pieces_bytes > ELIDE_ABOVE_BYTES:
            self._fold()
        return []

    def _fold(self) -> None:
        self._kept += elide(b"".join(self._pieces))
        self._pieces = []
        self._pieces_bytes = 0
        if len(self._kept) > DOCUMENT_BYTES_MAX or self._overflowed:
            self._kept = self._kept[-_TAIL_BYTES:]
            self._overflowed = True
            self.skipped = 1

    def finish(self) -> list[Event]:
        """The document; of one that was too large, only ``{"usage": {...}}``; nothing if it has none."""
        if not self._overflowed:
            return [Event(b"", self._kept + b"".join(self._pieces))]
        tail = self._kept + b"".join(self._pieces)
        found = list(_USAGE.finditer(tail))
        if not found:
            return []
        text = tail[found[-1].end() :].decode("utf-8", "replace")
        try:
            usage, _ = json.JSONDecoder().raw_decode(text)
        except ValueError:
            return []
        return [Event(b"", orjson.dumps({found[-1][1].decode(): usage}))]
