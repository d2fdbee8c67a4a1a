"""Takes the bulk out of large JSON without parsing it.

Replies grow large for two reasons only: base64 media and embedding vectors. Metering needs neither, so both
are cut from the bytes before they are kept. What remains is valid JSON with shorter strings and arrays.
"""

from __future__ import annotations

from collections import deque

import regex as re  # the standard library's possessive groups are broken before Python 3.11.5

ELIDE_ABOVE_BYTES = 1 << 20
"""Below this nothing is cut: text that a model writes stays whole (200,000 tokens are under 1 MB)."""
_BATCH_BYTES = 32 << 10
"""Elided at a time: at most 4 ms, and twice what arrives at a time, so that it keeps up."""
_NUMBER_CHARS_MAX = 64

# The look-behinds keep each run from being tried again at every one of its bytes. The start of a run stays: it
# may be the end of an escape (backslash, then "n" or "u0041").
_BASE64_RUN = re.compile(rb"(?<![A-Za-z0-9+/=_-])([A-Za-z0-9+/=_-]{8})[A-Za-z0-9+/=_-]{504,}+")
_NUMBER_RUN = re.compile(rb"(?<![-+.\dEe])(-?\d[-+.\dEe]*+\s*+,\s*+)(?:-?\d[-+.\dEe]*+\s*+,\s*+){15,}+")


class Bulk:
    """Pieces of one value that is not complete yet: whole up to a megabyte, elided as it grows beyond."""

    __slots__ = ("_bytes_max", "_elided", "_elided_bytes", "_pieces", "_pieces_bytes", "dropped")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.clear()

    def clear(self) -> None:
        self._elided: list[bytes] = []
        self._elided_bytes = 0
        self._pieces: deque[bytes] = deque()
        self._pieces_bytes = 0
        self.dropped = False
        """It grew beyond the bound; none of it is kept."""

    def __bool__(self) -> bool:
        return self._pieces_bytes > 0 or self._elided_bytes > 0 or self.dropped

    def append(self, piece: bytes) -> None:
        if self.dropped or not piece:
            return
        self._pieces.append(piece)
        self._pieces_bytes += len(piece)
        if self._pieces_bytes > ELIDE_ABOVE_BYTES:
            self._elide_oldest()
        if self._elided_bytes + self._pieces_bytes > self._bytes_max:
            self.clear()
            self.dropped = True

    def joined(self) -> bytes:
        return b"".join([*self._elided, *self._pieces])

    def _elide_oldest(self) -> None:
        batch: list[bytes] = []
        batch_bytes = 0
        while self._pieces and batch_bytes < _BATCH_BYTES:
            batch.append(self._pieces.popleft())
            batch_bytes += len(batch[-1])
        data = b"".join(batch)
        # a number that the end of the batch may cut in two goes with the next batch
        cut = data.rfind(b",", -_NUMBER_CHARS_MAX) + 1 or len(data)
        if cut < len(data):
            self._pieces.appendleft(data[cut:])
        self._pieces_bytes -= cut
        kept = elide(data[:cut])
        if kept:
            self._elided.append(kept)
            self._elided_bytes += len(kept)


def elide(data: bytes) -> bytes:
    """``data`` without most of each run of base64 (from 512 characters) and of numbers (from 16)."""
    elided: bytes = _NUMBER_RUN.sub(rb"\1", _BASE64_RUN.sub(rb"\1", data))
    return elided
