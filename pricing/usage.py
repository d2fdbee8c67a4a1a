"""What one request used, in buckets that never overlap.

Providers report overlapping counts (cached tokens inside or beside the input, reasoning inside or beside the
output). A reader turns them into these exclusive buckets once, so that a price per bucket is a plain dot
product and nothing can be charged twice. Inclusive totals, as people and the `usage` view know them, are
properties.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from operator import add, attrgetter

from pricing.record import record


class NegativeUsage(ValueError):
    """A count came out below zero: what the provider reported contradicts itself."""


@record(frozen=True, slots=True)
class Usage:
    """Counts by bucket; all exclusive, all integers >= 0.

    ``*_tokens`` are tokens, ``*_ms`` milliseconds, ``images`` counts by "quality size" (e.g. "hd 1024x1024").
    ``cache_write`` is the provider's default time to live (Anthropic 5 min, OpenAI 30 min).
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    cache_write_12h: int = 0
    input_audio: int = 0
    input_image: int = 0
    input_video: int = 0
    cache_read_audio: int = 0
    cache_read_image: int = 0
    output: int = 0
    reasoning: int = 0
    output_audio: int = 0
    output_image: int = 0
    requests: int = 0
    web_searches: int = 0
    characters: int = 0
    audio_ms: int = 0
    video_ms: int = 0
    pages: int = 0
    search_units: int = 0
    images: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        # Whether any is negative: the sign of all of them or-ed is the or of their signs, and costs less than `min`.
        if (
            self.input | self.cache_read | self.cache_write | self.cache_write_1h | self.cache_write_12h
            | self.input_audio | self.input_image | self.input_video | self.cache_read_audio | self.cache_read_image
            | self.output | self.reasoning | self.output_audio | self.output_image | self.requests
            | self.web_searches | self.characters | self.audio_ms | self.video_ms | self.pages | self.search_units
        ) < 0:  # fmt: skip
            counts = zip(COUNTS, self.counts, strict=True)
            raise NegativeUsage(", ".join(f"{name} is {count}" for name, count in counts if count < 0))

    @property
    def counts(self) -> tuple[int, ...]:
        """All counts, in the order of `COUNTS`."""
        return _counts(self)

    @property
    def sums(self) -> tuple[int, int, int, int]:
        """(`input_tokens`, `cached_input_tokens`, `cache_write_tokens`, `output_tokens`), asked for at once."""
        cached = self.cache_read + self.cache_read_audio + self.cache_read_image
        written = self.cache_write + self.cache_write_1h + self.cache_write_12h
        read = self.input + self.input_audio + self.input_image + self.input_video + cached + written
        return read, cached, written, self.output + self.reasoning + self.output_audio + self.output_image

    @property
    def input_tokens(self) -> int:
        """All tokens read, cached and written ones included."""
        return self.sums[0]

    @property
    def cached_input_tokens(self) -> int:
        return self.sums[1]

    @property
    def cache_write_tokens(self) -> int:
        return self.sums[2]

    @property
    def output_tokens(self) -> int:
        """All tokens produced, reasoning included."""
        return self.sums[3]

    @property
    def reasoning_tokens(self) -> int:
        return self.reasoning

    def __add__(self, other: Usage) -> Usage:
        images: dict[str, int] = dict(self.images)
        for name, count in other.images:
            images[name] = images.get(name, 0) + count
        summed = map(add, _counts(self), _counts(other))
        return Usage(**dict(zip(COUNTS, summed, strict=True)), images=tuple(sorted(images.items())))


COUNTS: tuple[str, ...] = tuple(f.name for f in fields(Usage) if f.name != "images")
_counts: Callable[[Usage], tuple[int, ...]] = attrgetter(*COUNTS)
"""All counts at once: a usage is made several times per request."""

NOTHING = Usage()
"""The one to compare with by ``is``: what most requests use beside text."""
