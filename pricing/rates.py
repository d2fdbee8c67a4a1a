"""Prices as integers: one rate per usage bucket, steps where a long context costs more.

The unit everywhere is femto-USD (1e-15 USD) per single unit of a bucket, which is the same number as nano-USD
per million units: count x rate is an exact cost. What one unit is, `pricing.usage.Usage` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pricing.usage import COUNTS


@dataclass(frozen=True, slots=True)
class Rate:
    """``base``, until the total input passes a step; then that step's price, for *all* tokens."""

    base: int
    steps: tuple[tuple[int, int], ...] = ()
    """(above, price), ascending: the price once total input tokens > above."""

    def beyond(self, above: int) -> int:
        """The price where the total input is just over ``above``."""
        price = self.base
        for start, stepped in self.steps:
            if above < start:
                break
            price = stepped
        return price

    def scaled(self, numerator: int, denominator: int) -> Rate:
        def scale(price: int) -> int:
            return -(-price * numerator // denominator)

        return Rate(scale(self.base), tuple((above, scale(price)) for above, price in self.steps))


Rates = Mapping[str, Rate]
"""By name of a Usage bucket. A bucket that is missing has no price of its own (see `resolve`)."""

TOKEN_BUCKETS: tuple[str, ...] = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "cache_write_12h",
    "input_audio",
    "input_image",
    "input_video",
    "cache_read_audio",
    "cache_read_image",
    "output",
    "reasoning",
    "output_audio",
    "output_image",
)
INPUT_BUCKETS = TOKEN_BUCKETS[:10]
OUTPUT_BUCKETS = TOKEN_BUCKETS[10:]
CACHE_WRITE_BUCKETS = ("cache_write", "cache_write_1h", "cache_write_12h")

INDEX: Mapping[str, int] = {name: index for index, name in enumerate(COUNTS)}
"""Where a bucket stands in a band's vector of prices."""

_GENERAL: Mapping[str, tuple[str, ...]] = {
    "cache_read": ("input",),
    "input_audio": ("input",),
    "input_image": ("input",),
    "input_video": ("input",),
    "cache_read_audio": ("cache_read", "input_audio"),
    "cache_read_image": ("cache_read", "input_image"),
    "reasoning": ("output",),
    "output_audio": ("output",),
    "output_image": ("output",),
}
"""The more general buckets whose price holds where a bucket has none: the catalogue prices an ancestor and
means
all below it. Between two ancestors that do not contain each other the dearer one is taken."""


def resolve(prices: Mapping[str, int], *, charges_for_writes: bool) -> dict[str, int]:
    """The price of each bucket that has one, its own or an inherited one; others are absent: unpriced.

    ``charges_for_writes``: the model is of a maker who always charges for cache writes (Anthropic: 1.25 x
    input for five minutes, 2 x for an hour), so that a missing price is a gap of the catalogue. Elsewhere a
    missing price means no fee: a written token is an input token (OpenAI before gpt-5.6).
    """
    full = dict(prices)
    for bucket, parents in _GENERAL.items():
        if bucket not in full:
            known = [full[parent] for parent in parents if parent in prices] or [
                full[parent] for parent in parents if parent in full
            ]
            if known:
                full[bucket] = max(known)
    if "input" in full:
        _resolve_writes(full, charges_for_writes=charges_for_writes)
    return full


def _resolve_writes(full: dict[str, int], *, charges_for_writes: bool) -> None:
    """12 h writes cost twice the short ones wherever a list shows both; 1 h writes twice the input."""
    read = full["input"]
    has_fee = charges_for_writes or any(bucket in full for bucket in CACHE_WRITE_BUCKETS)
    if "cache_write" not in full:
        full["cache_write"] = -(-read * 5 // 4) if has_fee else read
    write = full["cache_write"]
    if "cache_write_1h" not in full:
        full["cache_write_1h"] = max(write, 2 * read) if has_fee else read
    if "cache_write_12h" not in full:
        full["cache_write_12h"] = max(2 * write, full["cache_write_1h"]) if has_fee else read


@dataclass(frozen=True, slots=True)
class Band:
    """All prices that hold while the total input is over ``above`` and within the next band's threshold."""

    above: int
    prices: tuple[int, ...]
    """By `INDEX`; 0 for what is unpriced."""
    dearest: tuple[int, ...]
    """By `INDEX`: the dearest price in this band or any below it, for bounds."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The prices of one service tier: bands of total input, ascending, the first from zero."""

    bands: tuple[Band, ...]
    unpriced: tuple[int, ...]
    """`INDEX` of each bucket without any price."""

    def band(self, input_tokens: int) -> Band:
        """The band that a request with this total input falls into; a threshold itself belongs below."""
        for band in reversed(self.bands):
            if input_tokens > band.above:
                return band
        return self.bands[0]


def schedule(rates: Rates, *, charges_for_writes: bool = False) -> Schedule:
    """Compile rates into bands, with inherited prices filled in band by band."""
    thresholds = [-1, *sorted({above for rate in rates.values() for above, _ in rate.steps})]
    vectors: list[tuple[int, ...]] = []
    priced: set[str] = set()
    for above in thresholds:
        at_band = {bucket: rate.beyond(above) for bucket, rate in rates.items()}
        full = resolve(at_band, charges_for_writes=charges_for_writes)
        priced = set(full)
        vectors.append(tuple(full.get(bucket, 0) for bucket in COUNTS))
    unpriced = tuple(INDEX[bucket] for bucket in COUNTS if bucket not in priced)
    return Schedule(_bands(thresholds, vectors), unpriced)


def dearest(schedules: tuple[Schedule, ...]) -> Schedule:
    """A schedule that is nowhere below any of these: what to assume when the tier is not known."""
    thresholds = sorted({band.above for one in schedules for band in one.bands})
    vectors = [
        tuple(map(max, zip(*(one.band(above + 1).prices for one in schedules), strict=True)))
        for above in thresholds
    ]
    unpriced = set.intersection(*(set(one.unpriced) for one in schedules))
    return Schedule(_bands(thresholds, vectors), tuple(sorted(unpriced)))


def _bands(thresholds: list[int], vectors: list[tuple[int, ...]]) -> tuple[Band, ...]:
    bands: list[Band] = []
    top = vectors[0]
    for above, vector in zip(thresholds, vectors, strict=True):
        top = tuple(map(max, top, vector))
        bands.append(Band(above, vector, top))
    return tuple(bands)
