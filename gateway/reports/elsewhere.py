"""What a request that was not sent yet would cost at most with other models, or in a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.errors import StoreUnavailable
from gateway.identity.roles import Reach
from gateway.proxy.estimate import Estimate
from gateway.reports.comparison import ModelName
from gateway.reports.consumption import Prices, price_of
from gateway.reports.desk import ReportDesk
from gateway.reports.period import DAY
from pricing.errors import PricingError
from pricing.price import Price
from pricing.tiers import BATCH

USED_WITHIN = timedelta(days=30)
NAMED_MAX = 20


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The most that the same request can cost there."""

    provider: str
    model: str
    tier: str
    """``batch``, or empty for the standard price."""
    bound_microcredits: int


class ElsewhereQuotes:
    """Compares with the models that whoever asks has used lately, unless others are named."""

    def __init__(self, desk: ReportDesk, prices: Prices) -> None:
        self._desk = desk
        self._prices = prices

    async def used(self, org: str, reach: Reach, operation: str, now: datetime) -> list[ModelName]:
        """The models used for ``operation`` in the last thirty days, dearest first. A quote needs no database, so
        without one there are none."""
        try:
            async with self._desk.snapshot(org, reach) as snapshot:
                today = snapshot.calendar.day_of(now)
                period = snapshot.calendar.days(today - USED_WITHIN, today + DAY)
                return (await snapshot.models_used(period, operation))[:NAMED_MAX]
        except StoreUnavailable:
            return []

    def quotes(
        self, provider: str, model: str, bounds: Estimate, names: Iterable[ModelName]
    ) -> list[Elsewhere]:
        """Cheapest first. What has no price for something that the request asks for is left out."""
        found = list(self._batch(provider, model, bounds))
        for name in names:
            price = price_of(self._prices, *name)
            if price is not None and name != (provider, model):
                found += _quoted(name, price, "", bounds)
        return sorted(found, key=lambda one: one.bound_microcredits)

    def _batch(self, provider: str, model: str, bounds: Estimate) -> Iterator[Elsewhere]:
        if bounds.price is not None and BATCH in bounds.price.tiers:
            yield from _quoted((provider, model), bounds.price, BATCH, bounds)


def _quoted(name: ModelName, price: Price, tier: str, bounds: Estimate) -> Iterator[Elsewhere]:
    cap = min(bounds.cap, price.max_output_tokens) * bounds.choices
    try:
        bound = price.bound(bounds.input_tokens_max, cap, bounds.extra, tier=tier or None)
    except PricingError:
        return
    yield Elsewhere(*name, tier, bounds.exchange.microcredits(bound.total_femtousd))
