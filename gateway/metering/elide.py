"""Takes the bulk out of large JSON without parsing it.

Replies grow large for two reasons only: base64 media and embedding vectors. Metering needs neither, so both
are cut from the bytes before they are kept. What remains is valid JSON with shorter strings and arrays.
"""

from __future__ import annotations

import re

ELIDE_ABOVE_BYTES = 1 << 20
"""Below this nothing is cut: text that a model writes stays whole (200,000 tokens are under 1 MB)."""

# the look-behinds keep each run from being tried again at every one of its bytes
_BASE64_RUN = re.compile(rb"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/=_-]{512,}+")
_NUMBER_RUN = re.compile(rb"(?<![-+.\dEe])(?:-?\d[-+.\dEe]*+\s*+,\s*+){16,}+")


class Bulk:
    """Pieces of one value that is not complete yet: whole up to a megabyte, then elided as it grows."""

    __slots__ = ("_bytes", "_bytes_max", "_elided", "_pieces", "_pieces_bytes", "dropped")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.clear()

    def clear(self) -> None:
        self._elided: list[bytes] = []
        self._pieces: list[bytes] = []
        self._pieces_bytes = 0
        self._bytes = 0
        self.dropped = False
        """It grew beyond the bound; none of it is kept."""

    def __bool__(self) -> bool:
        return self._bytes > 0 or self.dropped

    def append(self, piece: bytes) -> None:
        if self.dropped:
            return
        self._pieces.append(piece)
        self._pieces_bytes += len(piece)
        self._bytes += len(piece)
        if self._pieces_bytes <= ELIDE_ABOVE_BYTES:
            return
        kept = elide(b"".join(self._pieces))
        self._elided.append(kept)
        self._bytes += len(kept) - self._pieces_bytes
        self._pieces = []
        self._pieces_bytes = 0
        if self._bytes > self._bytes_max:
            self.clear()
            self.dropped = True

    def joined(self) -> bytes:
        return b"".join([*self._elided, *self._pieces])


def elide(data: bytes) -> bytes:
    """``data`` without runs of base64 (512 characters and more) and of numbers (16 and more)."""
    return _NUMBER_RUN.sub(b"", _BASE64_RUN.sub(b"", data))
