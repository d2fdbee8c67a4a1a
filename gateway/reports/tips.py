"""Advice that comes with its figure: what this org's own calls would have cost otherwise.

Each tip reprices calls that were made. Whether a smaller model's answers would have served, or an answer could have
waited for a batch, its reader has to judge; how much it would have saved is exact at today's prices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from gateway.reports.comparison import ModelComparison, ModelName, compare
from gateway.reports.consumption import (
    Consumption,
    Prices,
    RepeatedInput,
    cost_microcredits,
    price_of,
)
from pricing.tiers import BATCH

Used = TypeVar("Used", Consumption, RepeatedInput)

TIPS_PER_KIND_MAX = 3
SHARE_MIN = 0.01
"""A tip that saves less than a hundredth of what was spent is not worth reading."""
HELD_TIMES_MIN = 5
"""Holds of five times the charge and more come from output caps far above what is written."""

CAPPED = frozenset({"chat", "batch"})
"""Operations whose replies a client can cap; pictures and vectors have the size that was asked for."""


class TipKind(StrEnum):
    MODEL = "model"
    CACHING = "caching"
    BATCHING = "batching"
    WASTED_OUTPUT = "wasted_output"
    OVERSIZED_CAP = "oversized_cap"


@dataclass(frozen=True, slots=True)
class Tip:
    """``saving_microcredits`` is what the period would have cost less; for `TipKind.OVERSIZED_CAP` nothing, but
    ``freed_microcredits`` of budget on average with each call in flight."""

    kind: TipKind
    provider: str
    model: str
    requests: int
    saving_microcredits: int
    freed_microcredits: int = 0
    instead: ModelName | None = None
    """The model that would have cost less."""


def tips(consumed: Sequence[Consumption], repeated: Sequence[RepeatedInput], prices: Prices) -> list[Tip]:
    """The greatest savings first; those that only free budget last."""
    spent = sum(one.credits_microcredits for one in consumed)
    found = [
        *_models(compare(consumed, prices)),
        *_caching(repeated, prices),
        *_batching(consumed, prices),
        *_wasted(consumed, prices),
    ]
    worth = [
        tip for tip in found if tip.saving_microcredits > 0 and tip.saving_microcredits >= spent * SHARE_MIN
    ]
    worth.sort(key=lambda tip: -tip.saving_microcredits)
    kept = [tip for kind in TipKind for tip in [one for one in worth if one.kind is kind][:TIPS_PER_KIND_MAX]]
    kept.sort(key=lambda tip: -tip.saving_microcredits)
    return kept + list(_oversized(consumed))[:TIPS_PER_KIND_MAX]


def _models(comparisons: Sequence[ModelComparison]) -> Iterator[Tip]:
    for one in comparisons:
        if one.alternatives and one.alternatives[0].difference_microcredits < 0:
            best = one.alternatives[0]
            yield Tip(
                TipKind.MODEL,
                one.provider,
                one.model,
                one.requests,
                -best.difference_microcredits,
                instead=(best.provider, best.model),
            )


def _caching(repeated: Sequence[RepeatedInput], prices: Prices) -> Iterator[Tip]:
    for (provider, model), calls in _by_model(repeated):
        price = price_of(prices, provider, model)
        if price is not None:
            saving = prices.exchange.microcredits(max(0, sum(one.saving_femtousd(price) for one in calls)))
            yield Tip(TipKind.CACHING, provider, model, sum(one.requests for one in calls), saving)


def _batching(consumed: Sequence[Consumption], prices: Prices) -> Iterator[Tip]:
    """Calls that nobody watched being written, at the batch price."""
    for (provider, model), calls in _by_model(
        [
            one
            for one in consumed
            if not one.streamed and one.tier == "" and one.operation in ("chat", "embedding")
        ]
    ):
        price = price_of(prices, provider, model)
        if price is None:
            continue
        now = cost_microcredits(calls, price, prices.exchange)
        batch = cost_microcredits(calls, price, prices.exchange, BATCH)
        if now is not None and batch is not None:
            yield Tip(TipKind.BATCHING, provider, model, sum(one.requests for one in calls), now - batch)


def _wasted(consumed: Sequence[Consumption], prices: Prices) -> Iterator[Tip]:
    """Output that was paid for and that nobody waited for."""
    for (provider, model), calls in _by_model([one for one in consumed if one.abandoned]):
        price = price_of(prices, provider, model)
        if price is not None:
            wasted = sum(one.output_femtousd(price) or 0 for one in calls)
            yield Tip(
                TipKind.WASTED_OUTPUT,
                provider,
                model,
                sum(one.requests for one in calls),
                prices.exchange.microcredits(wasted),
            )


def _oversized(consumed: Sequence[Consumption]) -> Iterator[Tip]:
    ranked = []
    for (provider, model), calls in _by_model([one for one in consumed if one.operation in CAPPED]):
        requests = sum(one.requests for one in calls)
        charged = sum(one.credits_microcredits for one in calls)
        surplus = sum(one.surplus_microcredits for one in calls)
        if surplus >= charged * (HELD_TIMES_MIN - 1) and surplus:
            ranked.append(
                Tip(
                    TipKind.OVERSIZED_CAP,
                    provider,
                    model,
                    requests,
                    0,
                    freed_microcredits=surplus // requests,
                )
            )
    yield from sorted(ranked, key=lambda tip: -tip.freed_microcredits * tip.requests)


def _by_model(used: Sequence[Used]) -> Iterator[tuple[ModelName, list[Used]]]:
    found: dict[ModelName, list[Used]] = {}
    for one in used:
        found.setdefault((one.provider, one.model), []).append(one)
    yield from found.items()
