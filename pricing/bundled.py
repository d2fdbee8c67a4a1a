"""The bundled catalogue: genai-prices, turned into integers once.

Its data are Python objects with `Decimal` prices, matching clauses, start dates and hours of the day. All
prices are compiled here; what remains for a lookup is the matching of names, by the catalogue's own clauses,
and comparisons of integers.

Traps of the data that are closed here: a model with an empty price list ("free") is not listed, instead of
costing nothing; a service tier that is not listed does not exist, instead of falling back to the standard
price; a price for what a `Usage` cannot tell apart goes to the bucket it would be counted in, if it is the
dearer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version

from genai_prices.data import providers as genai_providers
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from pricing.catalogue import ALWAYS_S, Listing
from pricing.money import femtousd_per_unit
from pricing.rates import Rate, Rates

DAY_S = 86_400
MILLION = 1_000_000
HOUR_MS = 3_600_000

BUCKETS: Mapping[str, tuple[str, int]] = {
    "input_mtok": ("input", MILLION),
    "cache_read_mtok": ("cache_read", MILLION),
    "cache_write_mtok": ("cache_write", MILLION),
    "cache_write_1h_mtok": ("cache_write_1h", MILLION),
    "input_audio_mtok": ("input_audio", MILLION),
    "input_image_mtok": ("input_image", MILLION),
    "input_video_mtok": ("input_video", MILLION),
    "cache_audio_read_mtok": ("cache_read_audio", MILLION),
    "cache_image_read_mtok": ("cache_read_image", MILLION),
    "output_mtok": ("output", MILLION),
    "output_reasoning_mtok": ("reasoning", MILLION),
    "output_audio_mtok": ("output_audio", MILLION),
    "output_image_mtok": ("output_image", MILLION),
    "output_video_mtok": ("output", MILLION),
    "output_citation_mtok": ("output", MILLION),
    "requests_kcount": ("requests", 1_000),
    "web_searches_kcount": ("web_searches", 1_000),
    "rerank_searches_kcount": ("search_units", 1_000),
    "input_mchars": ("characters", MILLION),
    "audio_hours": ("audio_ms", HOUR_MS),
    "input_audio_hours": ("audio_ms", HOUR_MS),
    "input_document_kpages": ("pages", 1_000),
    "input_annotated_document_kpages": ("pages", 1_000),
}
"""The catalogue's price keys -> (usage bucket, how many of its units the price buys). Two keys of one bucket:
the
dearer counts, because the usage cannot tell them apart."""

NOT_METERED = frozenset({"storage_searches_kcount", "input_text_messages_kcount"})
"""Price keys for which `Usage` has no bucket at all: such use is not metered by any reader."""

_AUDIO_MS_MIN: Mapping[tuple[str, str], int] = {
    ("groq", "whisper-large-v3"): 10_000,
    ("groq", "whisper-large-v3-turbo"): 10_000,
}
"""Groq bills ten seconds at least per transcription (also special-cased by genai-prices' calculation)."""

Condition = Callable[[int], bool]
_Edges = tuple[tuple[int, ...], tuple[int, ...]]
"""Start instants (epoch seconds), and seconds of the UTC day at which an hourly price begins or ends."""


@dataclass(frozen=True, slots=True)
class _Dated:
    applies: Condition
    rates: Rates
    since: str


@dataclass(frozen=True, slots=True)
class _Variant:
    tier: str
    applies: Condition
    rates: Rates


@dataclass(frozen=True, slots=True)
class _Entry:
    provider: str
    model: str
    dated: tuple[_Dated, ...]
    variants: tuple[_Variant, ...]
    context_window: int | None
    edges: _Edges


class BundledCatalogue:
    """genai-prices behind the interface of `pricing.catalogue.Catalogue`."""

    def __init__(self, providers: Iterable[Provider] = genai_providers) -> None:
        self.version = f"genai-prices {version('genai-prices')}"
        self._all = list(providers)
        self._providers = {provider.id: provider for provider in self._all}
        self._entries = {
            id(model): _entry(provider.id, model) for provider in self._all for model in provider.models
        }

    def providers(self) -> tuple[str, ...]:
        return tuple(self._providers)

    def find(self, provider: str, model: str, at_s: int) -> Listing | None:
        entry = self._entry(provider, model)
        if entry is None:
            return None
        standard = next((dated for dated in reversed(entry.dated) if dated.applies(at_s)), entry.dated[0])
        if not standard.rates:
            return None
        tiers: dict[str, dict[str, Rate]] = {}
        # a variant belongs to the provider that lists it, not to one that resells its models
        for variant in entry.variants if entry.provider == provider else ():
            if variant.applies(at_s):
                rates = tiers.setdefault(variant.tier, {})
                rates.update({bucket: rate for bucket, rate in variant.rates.items() if bucket not in rates})
        from_s, until_s = _interval(entry.edges, at_s)
        return Listing(
            provider=entry.provider,
            model=entry.model,
            ref=f"{self.version}: {entry.provider}/{entry.model}{standard.since}",
            rates=standard.rates,
            tiers=tiers,
            context_window=entry.context_window,
            audio_ms_min=_AUDIO_MS_MIN.get((entry.provider, entry.model), 0),
            from_s=from_s,
            until_s=until_s,
        )

    def changes(self, provider: str, model: str) -> tuple[int, ...]:
        entry = self._entry(provider, model)
        return entry.edges[0] if entry else ()

    def hours(self, provider: str, model: str) -> tuple[int, ...]:
        entry = self._entry(provider, model)
        return entry.edges[1] if entry else ()

    def _entry(self, provider: str, model: str) -> _Entry | None:
        listed = self._providers.get(provider)
        info = listed.find_model(model, all_providers=self._all) if listed else None
        return self._entries[id(info)] if info else None


# ------------------------------------------------------------------ compiling the data


def _entry(provider: str, info: ModelInfo) -> _Entry:
    prices = info.prices if isinstance(info.prices, list) else [ConditionalPrice(prices=info.prices)]
    variants = info.price_variants or []
    constraints = [item.constraint for item in prices] + [item.constraint for item in variants]
    return _Entry(
        provider=provider,
        model=info.id,
        dated=tuple(
            _Dated(_condition(item.constraint), _rates(item.prices), _since(item.constraint))
            for item in prices
        ),
        variants=tuple(_variant(variant) for variant in variants),
        context_window=info.context_window,
        edges=_edges(constraints),
    )


def _variant(variant: PriceVariant) -> _Variant:
    """The tier's name: the value where the key says it is a kind of processing, else ``key:value``."""
    [(key, value)] = variant.when.items()
    known = key in {"service_tier", "processing", "speed"}
    return _Variant(
        tier=value if known else f"{key}:{value}",
        applies=_condition(variant.constraint),
        rates=_rates(variant.prices),
    )


def _rates(prices: ModelPrice) -> dict[str, Rate]:
    rates: dict[str, Rate] = {}
    for key, value in vars(prices).items():
        if value is None or key not in BUCKETS:
            continue
        bucket, units = BUCKETS[key]
        rate = _rate(value, units)
        known = rates.get(bucket)
        rates[bucket] = rate if known is None or rate.base > known.base else known
    return rates


def _rate(value: Decimal | TieredPrices, units: int) -> Rate:
    if isinstance(value, TieredPrices):
        steps = tuple((tier.start, femtousd_per_unit(tier.price, units)) for tier in value.tiers)
        return Rate(femtousd_per_unit(value.base, units), steps)
    return Rate(femtousd_per_unit(value, units))


def _start_s(constraint: StartDateConstraint) -> int:
    """Prices start at midnight UTC."""
    return int(dt.datetime.combine(constraint.start_date, dt.time(), dt.UTC).timestamp())


def _hours_s(constraint: TimeOfDateConstraint) -> tuple[int, int]:
    def second(value: dt.time) -> int:
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        utc = dt.datetime.combine(dt.date(1970, 1, 2), aware).astimezone(dt.UTC)
        return utc.hour * 3600 + utc.minute * 60 + utc.second

    return second(constraint.start_time), second(constraint.end_time)


def _condition(constraint: StartDateConstraint | TimeOfDateConstraint | None) -> Condition:
    if constraint is None:
        return lambda at_s: True
    if isinstance(constraint, StartDateConstraint):
        start_s = _start_s(constraint)
        return lambda at_s: at_s >= start_s
    begin, end = _hours_s(constraint)
    if end < begin:
        return lambda at_s: at_s % DAY_S >= begin or at_s % DAY_S < end
    return lambda at_s: begin <= at_s % DAY_S < end


def _since(constraint: StartDateConstraint | TimeOfDateConstraint | None) -> str:
    if isinstance(constraint, StartDateConstraint):
        return f" from {constraint.start_date.isoformat()}"
    if isinstance(constraint, TimeOfDateConstraint):
        return f" {constraint.start_time:%H:%M}-{constraint.end_time:%H:%M} UTC"
    return ""


def _edges(constraints: list[StartDateConstraint | TimeOfDateConstraint | None]) -> _Edges:
    starts = {_start_s(item) for item in constraints if isinstance(item, StartDateConstraint)}
    hours = {
        second for item in constraints if isinstance(item, TimeOfDateConstraint) for second in _hours_s(item)
    }
    return tuple(sorted(starts)), tuple(sorted(hours))


def _interval(edges: _Edges, at_s: int) -> tuple[int, int]:
    """The longest stretch around ``at_s`` in which no price of the model changes."""
    starts, hours = edges
    midnight_s = at_s - at_s % DAY_S
    moments = [*starts, *(midnight_s + day + second for day in (-DAY_S, 0, DAY_S) for second in hours)]
    before = max((moment for moment in moments if moment <= at_s), default=ALWAYS_S[0])
    after = min((moment for moment in moments if moment > at_s), default=ALWAYS_S[1])
    return before, after
