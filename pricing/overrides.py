"""pricing.yaml compiled: which of its entries say what about a model at an instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from pricing.file import UNITS, ContextTier, ModelEntry, PricingFile, ServiceTier, scale
from pricing.images import PerImage
from pricing.money import femtousd_per_unit
from pricing.patterns import Pattern
from pricing.rates import Rate, Rates
from pricing.tiers import canonical

MILLION = 1_000_000
Factor = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of the file in integers."""

    source: ModelEntry
    pattern: Pattern
    tokens: Rates | None
    units: Rates
    images: Mapping[str, int]
    tier_rates: Mapping[str, Rates]
    tier_factors: Mapping[str, Factor]

    def applies(self, provider: str, kind: str, model: str) -> bool:
        return self.source.provider in (provider, kind, "*") and self.pattern.matches(model)

    def rank(self, provider: str, kind: str) -> tuple[tuple[bool, int], int, int]:
        own = self.source.provider
        nearness = 2 if own == provider else 1 if own == kind else 0
        return self.pattern.rank, nearness, -(2**62) if self.source.since_s is None else self.source.since_s


@dataclass(frozen=True, slots=True)
class Layered:
    """What the file says about one model at one instant, each setting from its most specific entry."""

    tokens: Rates | None = None
    """Replaces all token prices and service tiers of the catalogue; None: the catalogue's stand."""
    tokens_ref: str | None = None
    units: Rates | None = None
    """Prices of single units, to go over the catalogue's."""
    units_ref: str | None = None
    images: PerImage = PerImage(())  # noqa: RUF009 - immutable
    tier_rates: Mapping[str, Rates] | None = None
    tier_factors: Mapping[str, Factor] | None = None
    limits: Mapping[str, int] | None = None
    """max_output_tokens, context_window, least_output_tokens, overhead_input_tokens, where given."""
    image_output_tokens: PerImage | None = None


LIMITS = (
    "max_output_tokens",
    "context_window",
    "least_output_tokens",
    "overhead_input_tokens",
)


@dataclass(frozen=True, slots=True)
class Overrides:
    """All entries of the file."""

    _entries: tuple[_Entry, ...]

    @classmethod
    def of(cls, file: PricingFile) -> Overrides:
        return cls(tuple(_compile(entry) for entry in file.models))

    def changes(self, provider: str, kind: str, model: str) -> tuple[int, ...]:
        """The instants at which an entry for this model starts to hold."""
        starts = (
            entry.source.since_s
            for entry in self._entries
            if entry.source.since_s is not None and entry.applies(provider, kind, model)
        )
        return tuple(sorted(set(starts)))

    def at(self, provider: str, kind: str, model: str, at_s: int) -> Layered:
        """The most specific entry first; each setting is taken where it is first given."""
        found = sorted(
            (
                entry
                for entry in self._entries
                if entry.applies(provider, kind, model)
                and (entry.source.since_s is None or entry.source.since_s <= at_s)
            ),
            key=lambda entry: entry.rank(provider, kind),
            reverse=True,
        )
        return _layer(found)


def _layer(entries: list[_Entry]) -> Layered:
    tokens: _Entry | None = None
    units: dict[str, Rate] = {}
    images: dict[str, int] = {}
    tier_rates: dict[str, Rates] = {}
    tier_factors: dict[str, Factor] = {}
    limits: dict[str, int] = {}
    image_tokens: Mapping[str, int] | None = None
    units_ref: str | None = None
    for entry in entries:
        if tokens is None:  # an entry with token prices ends what less specific ones say of tokens
            for tier in entry.tier_rates.keys() - tier_rates.keys() - tier_factors.keys():
                tier_rates[tier] = entry.tier_rates[tier]
            for tier in entry.tier_factors.keys() - tier_rates.keys() - tier_factors.keys():
                tier_factors[tier] = entry.tier_factors[tier]
            tokens = entry if entry.tokens is not None else None
        units = {**entry.units, **units}
        images = {**entry.images, **images}
        if units_ref is None and (entry.units or entry.images):
            units_ref = entry.source.where
        for name in LIMITS:
            value = getattr(entry.source, name)
            if value is not None:
                limits.setdefault(name, value)
        image_tokens = image_tokens if image_tokens is not None else entry.source.image_output_tokens
    return Layered(
        tokens=tokens.tokens if tokens else None,
        tokens_ref=tokens.source.where if tokens else None,
        units=units,
        units_ref=units_ref,
        images=PerImage.of(images),
        tier_rates=tier_rates,
        tier_factors=tier_factors,
        limits=limits,
        image_output_tokens=None if image_tokens is None else PerImage.of(image_tokens),
    )


# ------------------------------------------------------------------ compiling


def _compile(entry: ModelEntry) -> _Entry:
    tokens = None if entry.usd_per_mtok is None else _token_rates(entry.usd_per_mtok, entry.tiers)
    return _Entry(
        source=entry,
        pattern=Pattern(entry.model),
        tokens=tokens,
        units={
            UNITS[name][0]: Rate(femtousd_per_unit(usd, UNITS[name][1]))
            for name, usd in entry.usd_per.items()
            if name in UNITS
        },
        images={name: femtousd_per_unit(usd, 1) for name, usd in entry.usd_per.items() if name not in UNITS},
        tier_rates={
            canonical(name): _token_rates(tier.usd_per_mtok, tier.tiers)
            for name, tier in entry.service_tiers.items()
            if isinstance(tier, ServiceTier)
        },
        tier_factors={
            canonical(name): scale(tier)
            for name, tier in entry.service_tiers.items()
            if isinstance(tier, Decimal)
        },
    )


def _token_rates(usd_per_mtok: Mapping[str, Decimal], tiers: tuple[ContextTier, ...]) -> Rates:
    return {
        bucket: Rate(
            femtousd_per_unit(usd, MILLION),
            tuple(
                (tier.above, femtousd_per_unit(tier.usd_per_mtok[bucket], MILLION))
                for tier in tiers
                if bucket in tier.usd_per_mtok
            ),
        )
        for bucket, usd in usd_per_mtok.items()
    }
