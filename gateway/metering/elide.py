"""Takes the bulk out of large JSON without parsing it.

Replies grow large for two reasons only: base64 media and embedding vectors. Metering needs neither, so both
are cut from the bytes before they are kept. What remains is valid JSON with shorter strings and arrays.
"""

from __future__ import annotations

import re

ELIDE_ABOVE_BYTES = 1 << 20
"""Below this nothing is cut: text that a model writes stays whole (200,000 tokens are under 1 MB)."""

_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/=_-]{512,}")
_NUMBER_RUN = re.compile(rb"(?:-?\d[-+.\dEe]*+\s*+,\s*+){16,}")


def elide(data: bytes) -> bytes:
    """``data`` without runs of base64 (512 characters and more) and of numbers (16 and more)."""
    return _NUMBER_RUN.sub(b"", _BASE64_RUN.sub(b"", data))
