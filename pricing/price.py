"""The price of one model, compiled: integers in, integers out.

Prices are femto-USD per unit (nano-USD per million units), so `Price.cost` is an exact dot product, and
`Price.bound` is at least the cost of any usage that it covers. Whatever has no price is named in the result;
nothing is silently free or silently at the standard tier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from operator import mul

from pricing.errors import UnpricedTier, UnpricedUnit
from pricing.images import PerImage
from pricing.rates import CACHE_WRITE_BUCKETS, INDEX, INPUT_BUCKETS, OUTPUT_BUCKETS, Schedule
from pricing.record import record
from pricing.tiers import canonical, is_auto
from pricing.usage import COUNTS, NOTHING, Usage

LEAST_OUTPUT_TOKENS = 1024
"""A hold that could not afford this many output tokens is refused rather than clamped."""


_REQUESTS = INDEX["requests"]
_AUDIO_MS = INDEX["audio_ms"]
_INPUT = INDEX["input"]
_OUTPUT = INDEX["output"]
_PLAIN_INPUT = tuple(INDEX[bucket] for bucket in ("input", "cache_read", "cache_write"))
_LONG_WRITES = tuple(INDEX[bucket] for bucket in CACHE_WRITE_BUCKETS[1:])
_ALL_INPUT = frozenset(INDEX[bucket] for bucket in INPUT_BUCKETS)
_ALL_OUTPUT = tuple(INDEX[bucket] for bucket in OUTPUT_BUCKETS)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a cost: ``count`` units of ``bucket`` at ``price`` femto-USD each."""

    bucket: str
    count: int
    price: int
    femtousd: int


@record(frozen=True, slots=True)
class Cost:
    """What a usage costs at the provider, before markup."""

    total_femtousd: int
    unpriced: tuple[str, ...]
    """What was used and has no price; it adds nothing to the total."""
    unknown_tier: bool
    """The tier served has no price; the total is at the dearest tier that is known."""
    _charged: tuple[int, ...] = field(repr=False)
    _prices: tuple[int, ...] = field(repr=False)
    _images: tuple[Line, ...] = field(default=(), repr=False)

    @property
    def complete(self) -> bool:
        """False: the total is not all that the provider charges. Charge the bound that was held, and flag
        it."""
        return not self.unpriced and not self.unknown_tier

    @property
    def lines(self) -> tuple[Line, ...]:
        """Each bucket that was used; their sum is the total."""
        rows = zip(COUNTS, self._charged, self._prices, strict=True)
        return (
            *(Line(bucket, count, price, count * price) for bucket, count, price in rows if count),
            *self._images,
        )


@lru_cache(maxsize=4096)
def _dearest_plain(top: tuple[int, ...], cache_ttl_1h: bool) -> tuple[int, int]:
    """What a token of plain input, and what one of output can cost at most. ``top``: of a band, by `INDEX`."""
    read = _PLAIN_INPUT + _LONG_WRITES if cache_ttl_1h else _PLAIN_INPUT
    return max([top[index] for index in read]), max([top[index] for index in _ALL_OUTPUT])


@record(frozen=True, slots=True)
class Bound:
    """The most that a request can cost: a fixed part, and a price for each output token."""

    fixed_femtousd: int
    output_token_femtousd: int
    output_tokens_max: int

    @property
    def total_femtousd(self) -> int:
        return self.at(self.output_tokens_max)

    def at(self, output_tokens: int) -> int:
        """The most that the request can cost, if its output is capped at so many tokens."""
        return self.fixed_femtousd + output_tokens * self.output_token_femtousd

    def output_tokens_affordable(self, femtousd: int) -> int:
        """How many output tokens ``femtousd`` pays for after the fixed part, at most ``output_tokens_max``.

        Negative amounts left over afford none; the caller compares with the least it may ask for.
        """
        left = femtousd - self.fixed_femtousd
        if left < 0:
            return 0
        if self.output_token_femtousd == 0:
            return self.output_tokens_max
        return min(self.output_tokens_max, left // self.output_token_femtousd)


@dataclass(frozen=True, slots=True)
class Price:
    """All prices of one model at one provider, and the limits that its bounds need. Immutable."""

    provider: str
    """The provider's name in the configuration."""
    model: str
    """The model that the price belongs to, aliases resolved, as its source names it."""
    ref: str
    """Where the price comes from, for the record: catalogue, version and date, or the entry in
    pricing.yaml."""
    standard: Schedule
    tiers: Mapping[str, Schedule]
    """By canonical name (`pricing.tiers`)."""
    auto: Schedule
    """Nowhere below the standard price or a tier that the provider may pick by itself."""
    dearest: Schedule
    """Nowhere below any price of this model."""
    max_output_tokens: int
    overhead_input_tokens: int
    """Input tokens to add to what the body's bytes bound; tools have ceilings of their own."""
    least_output_tokens: int = LEAST_OUTPUT_TOKENS
    context_window: int | None = None
    images: PerImage = field(default_factory=lambda: PerImage(()))
    """Femto-USD per image."""
    image_output_tokens: PerImage = field(default_factory=lambda: PerImage(()))
    """Ceilings for holds on models that bill images by the output token."""
    audio_ms_min: int = 0
    any_tier: bool = False
    """A flat ceiling stands in for a price: it covers every tier."""
    unit_ceiling_femtousd: int | None = None
    """What a bound adds for a unit without a price; None: refuse."""

    def cost(self, usage: Usage, tier: str | None = None) -> Cost:
        """What ``usage`` costs at the service tier that was served (see `pricing.tiers`)."""
        prices = self._served(tier)
        schedule = self.dearest if prices is None else prices
        band = schedule.bands[0] if len(schedule.bands) == 1 else schedule.band(usage.input_tokens)
        counts = usage.counts
        if (band.prices[_REQUESTS] and not counts[_REQUESTS]) or 0 < counts[_AUDIO_MS] < self.audio_ms_min:
            counts = self._least_billed(counts, band.prices)
        total = sum(map(mul, counts, band.prices))
        unpriced = tuple(COUNTS[index] for index in schedule.unpriced if counts[index])
        if not usage.images:
            return Cost(total, unpriced, prices is None, counts, band.prices)
        lines, missing = self._image_lines(usage)
        total += sum(line.femtousd for line in lines)
        return Cost(total, unpriced + missing, prices is None, counts, band.prices, lines)

    def bound(
        self,
        input_tokens_max: int,
        output_tokens_max: int = 0,
        extra: Usage = NOTHING,
        *,
        cache_ttl_1h: bool = False,
        tier: str | None = None,
    ) -> Bound:
        """The most that a request can cost.

        It covers any usage with at most ``input_tokens_max`` tokens read as text, cached or written to a
        cache (for longer than the default only with ``cache_ttl_1h``), at most ``output_tokens_max`` tokens
        of any kind written, and on top of them at most ``extra``; whichever context band that reaches.

        ``tier`` is the one asked for. ``auto`` takes the dearest that the provider may pick. None takes the
        standard price: a project may be set to another default at the provider, but holding six times the
        price for everybody because of it would starve budgets; where it is so, name the tier in the request.
        What is served is charged as served in any case. Raises `UnpricedTier`, `UnpricedUnit`.
        """
        schedule = self._asked(tier)
        read = input_tokens_max if extra is NOTHING else input_tokens_max + extra.input_tokens
        top = schedule.band(read).dearest
        input_price, output_price = _dearest_plain(top, cache_ttl_1h)
        fixed = input_tokens_max * input_price
        missing: list[str] = []
        if input_tokens_max and _INPUT in schedule.unpriced and self._sells_tokens(schedule):
            missing.append("input")
        if output_tokens_max and _OUTPUT in schedule.unpriced:
            missing.append("output")
        if extra is NOTHING:
            fixed += top[_REQUESTS]
        else:
            counts = extra.counts
            fixed += self._bound_extra(counts, top, input_price, output_price)
            missing.extend(COUNTS[index] for index in schedule.unpriced if counts[index])
            images_femtousd, missing_images = self._bound_images(extra, output_price)
            missing.extend(missing_images)
            fixed += images_femtousd
        if missing:
            fixed += self._for_missing(missing)
        return Bound(fixed, output_price, output_tokens_max)

    @property
    def sells_output(self) -> bool:
        """Whether output tokens have a price: not so for models sold by the image, the minute, the search."""
        return _OUTPUT not in self.standard.unpriced

    # -------------------------------------------------------------- tiers

    def _served(self, tier: str | None) -> Schedule | None:
        if tier is None or self.any_tier:
            return self.standard
        name = canonical(tier)
        return self.standard if name == "" else self.tiers.get(name)

    def _asked(self, tier: str | None) -> Schedule:
        schedule = self._served(tier)
        if schedule is not None and is_auto(tier):
            # what else was asked multiplies whichever tier is picked: then only the dearest is surely enough
            schedule = self.auto if schedule is self.standard else self.dearest
        if schedule is None:
            raise UnpricedTier(self.provider, self.model, str(tier))
        return schedule

    # -------------------------------------------------------------- parts of a cost

    def _least_billed(self, counts: tuple[int, ...], prices: tuple[int, ...]) -> tuple[int, ...]:
        """A fee per request falls due once even if no reader counted it; short audio is billed as longer."""
        billed = list(counts)
        if prices[_REQUESTS]:
            billed[_REQUESTS] = max(1, billed[_REQUESTS])
        if billed[_AUDIO_MS]:
            billed[_AUDIO_MS] = max(self.audio_ms_min, billed[_AUDIO_MS])
        return tuple(billed)

    def _image_lines(self, usage: Usage) -> tuple[tuple[Line, ...], tuple[str, ...]]:
        """Images are billed by the piece or by the output token, never both: tokens reported, no pieces."""
        if usage.output_tokens:
            return (), ()
        lines: list[Line] = []
        missing: list[str] = []
        for name, count in usage.images:
            price = self.images.of_one(name)
            if price is None:
                missing.append(f"image {name}")
            else:
                lines.append(Line(f"image {name}", count, price, count * price))
        return tuple(lines), tuple(missing)

    # -------------------------------------------------------------- parts of a bound

    def _bound_extra(
        self, counts: tuple[int, ...], top: tuple[int, ...], input_price: int, output_price: int
    ) -> int:
        """Extra tokens may be reported as plain ones too: the dearer of both prices holds for them."""
        total = 0
        for index, count in enumerate(self._least_billed(counts, top)):
            if count:
                floor = input_price if index in _ALL_INPUT else output_price if index in _ALL_OUTPUT else 0
                total += count * max(top[index], floor)
        return total

    def _bound_images(self, extra: Usage, output_price: int) -> tuple[int, list[str]]:
        total = 0
        missing: list[str] = []
        for name, count in extra.images:
            each = self.images.of_one(name)
            tokens = self.image_output_tokens.of_one(name) if output_price else None
            if each is None and tokens is None:
                missing.append(f"image {name}")
            else:
                total += count * max(each or 0, (tokens or 0) * output_price)
        return total, missing

    def _sells_tokens(self, schedule: Schedule) -> bool:
        """False: sold by the image, the character or the minute, so that a prompt's text costs nothing."""
        nothing_priced = len(schedule.unpriced) == len(COUNTS) and not self.images
        return nothing_priced or any(index not in schedule.unpriced for index in _ALL_OUTPUT)

    def _for_missing(self, missing: list[str]) -> int:
        if self.unit_ceiling_femtousd is None:
            raise UnpricedUnit(self.provider, self.model, missing[0])
        return self.unit_ceiling_femtousd
