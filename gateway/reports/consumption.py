"""What was used in priced units, and what that would cost at any price."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pricing.errors import PricingError
from pricing.money import Exchange
from pricing.price import Price
from pricing.rates import INDEX, Schedule
from pricing.tiers import canonical

OUTPUT_UNITS = frozenset({"output", "reasoning", "output_audio", "output_image"})


IMAGE = "image "
"""What stands before quality and size in the unit of an image."""


class Prices(Protocol):
    """Prices as they are now, by the names that providers have in the configuration."""

    @property
    def exchange(self) -> Exchange: ...

    def price(self, provider: str, model: str) -> Price:
        """Raises `pricing.errors.PricingError`, also for a provider that is not configured (any more)."""


@dataclass(frozen=True, slots=True)
class Consumption:
    """Calls whose prices add up: one model, tier and band of context."""

    provider: str
    model: str
    operation: str
    tier: str
    streamed: bool
    abandoned: bool
    """The client left, or the reply was cut: its output served nobody."""
    input_tokens_at_least: int
    """The least total input of these calls: their band of context begins here or below."""
    requests: int
    credits_microcredits: int
    """What they were charged."""
    surplus_microcredits: int
    """What was held for them beyond that."""
    units: Mapping[str, int]
    """By exclusive bucket, see `pricing.usage.Usage`."""

    def cost_femtousd(self, price: Price, tier: str | None = None) -> int | None:
        """What the provider would ask for this at ``tier`` (None: the one it had); None: not priced."""
        schedule = schedule_of(price, self.tier if tier is None else tier)
        if schedule is None:
            return None
        band = schedule.band(self.input_tokens_at_least).prices
        total = 0
        for bucket, count in self.units.items():
            if bucket.startswith(IMAGE):
                image = 0 if self._writes_tokens else price.images.of_one(bucket.removeprefix(IMAGE))
                if image is None:
                    return None
                total += count * image
                continue
            index = INDEX.get(bucket)
            if index is None or (count and index in schedule.unpriced):
                return None
            total += count * band[index]
        fee = band[INDEX["requests"]]
        return total + (fee * self.requests if fee and "requests" not in self.units else 0)

    @property
    def _writes_tokens(self) -> bool:
        """Images are billed by the output token or by the piece, never both."""
        return any(count for bucket, count in self.units.items() if bucket in OUTPUT_UNITS)

    def output_femtousd(self, price: Price) -> int | None:
        """The part of the cost that is for output."""
        schedule = schedule_of(price, self.tier)
        if schedule is None:
            return None
        band = schedule.band(self.input_tokens_at_least).prices
        return sum(
            count * band[INDEX[bucket]] for bucket, count in self.units.items() if bucket in OUTPUT_UNITS
        )


@dataclass(frozen=True, slots=True)
class RepeatedInput:
    """Input that a cache could have served: sent again within minutes in a conversation, and charged in full."""

    provider: str
    model: str
    tier: str
    input_tokens_at_least: int
    """The least total input of these calls: their band of context begins here or below."""
    repeated_tokens: int
    added_tokens: int
    """What was sent for the first time, by those calls and by the first one of each conversation: it would have had to
    be written to the cache."""
    requests: int

    def saving_femtousd(self, price: Price) -> int:
        """What reading again instead of paying in full saves, less what writing to the cache costs; may be negative."""
        schedule = schedule_of(price, self.tier)
        if schedule is None:
            return 0
        band = schedule.band(self.input_tokens_at_least).prices
        plain, read, write = (band[INDEX[bucket]] for bucket in ("input", "cache_read", "cache_write"))
        return self.repeated_tokens * (plain - read) - self.added_tokens * max(0, write - plain)


def schedule_of(price: Price, tier: str) -> Schedule | None:
    """The prices of a tier; None: there are none."""
    name = canonical(tier)
    return price.standard if name == "" or price.any_tier else price.tiers.get(name)


def price_of(prices: Prices, provider: str, model: str) -> Price | None:
    """None: there is no price."""
    try:
        return prices.price(provider, model)
    except PricingError:
        return None


def bands_of(prices: Iterable[Price]) -> list[int]:
    """The least total inputs at which a band of any of these prices begins, ascending."""
    schedules = (schedule for price in prices for schedule in (price.standard, *price.tiers.values()))
    return sorted({band.above + 1 for schedule in schedules for band in schedule.bands if band.above >= 0})


def cost_microcredits(
    consumed: Iterable[Consumption], price: Price, exchange: Exchange, tier: str | None = None
) -> int | None:
    """What all of these would be charged, rounded up once; None: something of it is not priced.

    Each call by itself is rounded up, so the sum of charges may be up to a microcredit a call higher.
    """
    total = 0
    for one in consumed:
        cost = one.cost_femtousd(price, tier)
        if cost is None:
            return None
        total += cost
    return exchange.microcredits(total)
