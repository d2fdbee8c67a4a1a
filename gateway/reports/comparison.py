"""What the last period would have cost elsewhere: with other models, in batches, without a cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.reports.consumption import Consumption, Prices, cost_microcredits, price_of, schedule_of
from pricing.rates import INDEX
from pricing.tiers import BATCH

ModelName = tuple[str, str]
"""Provider (as configured) and model."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """The same calls somewhere else, at today's prices."""

    provider: str
    model: str
    tier: str
    cost_microcredits: int
    difference_microcredits: int
    """Against the calls' own model at today's prices; negative: it would have been cheaper."""


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """One model's use for one operation, and its alternatives, cheapest first."""

    provider: str
    model: str
    operation: str
    requests: int
    charged_microcredits: int
    """What was charged in fact, at the prices of then; what could not be priced by bounds."""
    repriced_microcredits: int | None
    """The same at today's prices; None: there is none any more, and so nothing to compare with."""
    alternatives: tuple[Alternative, ...]
    batch_microcredits: int | None
    """All of it at the batch price, if the model has one and it was not in batches already."""
    saved_by_cache_microcredits: int
    """What reading from caches saved, less what writing them cost."""


def compare(
    consumed: Sequence[Consumption],
    prices: Prices,
    others: Iterable[ModelName] = (),
    usual: Mapping[str, Sequence[ModelName]] | None = None,
) -> list[ModelComparison]:
    """One for each model and operation that was used, dearest first.

    Alternatives are the models that were used for the same operation, ``others``, and those that are ``usual`` for the
    operation. Whether their answers would have served is not for a price to say; nor would they have used exactly as
    many tokens.
    """
    asked = list(dict.fromkeys(others))
    uses: dict[tuple[str, str, str], list[Consumption]] = {}
    for one in consumed:
        uses.setdefault((one.provider, one.model, one.operation), []).append(one)
    found = []
    for (provider, model, operation), calls in uses.items():
        alike = [(p, m) for p, m, o in uses if o == operation and (p, m) != (provider, model)]
        named = [*asked, *(usual or {}).get(operation, ())]
        candidates = dict.fromkeys([*alike, *(name for name in named if name != (provider, model))])
        found.append(_comparison(provider, model, operation, calls, prices, list(candidates)))
    return sorted(found, key=lambda one: -one.charged_microcredits)


def _comparison(
    provider: str,
    model: str,
    operation: str,
    calls: Sequence[Consumption],
    prices: Prices,
    candidates: Sequence[ModelName],
) -> ModelComparison:
    own = price_of(prices, provider, model)
    now = None if own is None else cost_microcredits(calls, own, prices.exchange)
    batched = all(one.tier == BATCH for one in calls)
    return ModelComparison(
        provider=provider,
        model=model,
        operation=operation,
        requests=sum(one.requests for one in calls),
        charged_microcredits=sum(one.credits_microcredits for one in calls),
        repriced_microcredits=now,
        alternatives=() if now is None else tuple(_alternatives(calls, now, prices, candidates)),
        batch_microcredits=None
        if own is None or batched
        else cost_microcredits(calls, own, prices.exchange, BATCH),
        saved_by_cache_microcredits=_saved_by_cache(calls, prices),
    )


def _alternatives(
    calls: Sequence[Consumption], now: int, prices: Prices, candidates: Sequence[ModelName]
) -> list[Alternative]:
    found = []
    for provider, model in candidates:
        price = price_of(prices, provider, model)
        if price is None:
            continue
        # Where the other model has no such tier, its standard price is what it would have cost.
        moved = [one if schedule_of(price, one.tier) is not None else replace(one, tier="") for one in calls]
        cost = cost_microcredits(moved, price, prices.exchange)
        if cost is not None:
            tier = moved[0].tier if len({one.tier for one in moved}) == 1 else ""
            found.append(Alternative(provider, model, tier, cost, cost - now))
    return sorted(found, key=lambda one: one.cost_microcredits)


def _saved_by_cache(calls: Sequence[Consumption], prices: Prices) -> int:
    saved = 0
    for one in calls:
        price = price_of(prices, one.provider, one.model)
        schedule = None if price is None else schedule_of(price, one.tier)
        if schedule is None:
            continue
        band = schedule.band(one.input_tokens_at_least).prices
        plain = band[INDEX["input"]]
        saved += sum(
            one.units.get(bucket, 0) * (plain - band[INDEX[bucket]])
            for bucket in ("cache_read", "cache_write", "cache_write_1h", "cache_write_12h")
        )
    return prices.exchange.microcredits(saved)
