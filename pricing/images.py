"""Values per generated image, by quality and size.

Keys are written ``image``, ``image hd``, ``image 1024x1024`` or ``image hd 1024x1024``: what a key leaves out
may be anything. The most specific key counts; between equally specific ones, or where the request leaves
quality or size to the provider (``auto``), the greatest value that may apply.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SIZE = re.compile(r"[0-9]+x[0-9]+", re.ASCII)
KEY = re.compile(r"image( [a-z][a-z0-9_-]*)?( [0-9]+x[0-9]+)?", re.ASCII)
"""What a key may look like."""


@dataclass(frozen=True, slots=True)
class PerImage:
    """An integer per image: femto-USD, or output tokens."""

    values: tuple[tuple[str | None, str | None, int], ...]
    """(quality, size, value); None: any."""

    @classmethod
    def of(cls, values: Mapping[str, int]) -> PerImage:
        return cls(tuple((*_parts(key.removeprefix("image")), value) for key, value in values.items()))

    def __bool__(self) -> bool:
        return bool(self.values)

    def of_one(self, name: str) -> int | None:
        """The value of an image called ``quality size`` (as in `Usage.images`); None: no key covers it."""
        quality, size = _parts(name)
        found: dict[int, int] = {}
        for key_quality, key_size, value in self.values:
            if _may_be(key_quality, quality) and _may_be(key_size, size):
                known = (key_quality is not None and quality is not None) + (
                    key_size is not None and size is not None
                )
                found[known] = max(value, found.get(known, 0))
        if not found:
            return None
        # with an unknown quality or size every key that may apply counts, however general
        return max(found.values()) if quality is None or size is None else found[max(found)]


def _parts(name: str) -> tuple[str | None, str | None]:
    quality: str | None = None
    size: str | None = None
    for word in name.lower().split():
        if _SIZE.fullmatch(word):
            size = word
        elif word != "auto":
            quality = word
    return quality, size


def _may_be(key: str | None, asked: str | None) -> bool:
    return key is None or asked is None or key == asked
