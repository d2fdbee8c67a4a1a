"""What a request that was not sent yet would cost at most with other models, or in a batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from gateway.errors import BadRequest, RateLimited, StoreUnavailable, UnpricedModel
from gateway.identity.roles import Reach
from gateway.providers.base import Call
from gateway.proxy.estimate import estimate
from gateway.reports.comparison import ModelName
from gateway.reports.consumption import Prices
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
    """``batch``, or empty: the one asked for, at another provider the standard one."""
    bound_microcredits: int


class ElsewhereQuotes:
    """Compares with the models that whoever asks has used lately, unless others are named."""

    def __init__(self, desk: ReportDesk, prices: Prices) -> None:
        self._desk = desk
        self._prices = prices

    async def used(self, org: str, reach: Reach, operation: str, now: datetime) -> list[ModelName]:
        """The models used for ``operation`` in the last thirty days, dearest first. A quote needs no database, so
        without one, or with one that is busy, there are none."""
        try:
            async with self._desk.snapshot(org, reach) as snapshot:
                today = snapshot.calendar.day_of(now)
                period = snapshot.calendar.days(today - USED_WITHIN, today + DAY)
                return (await snapshot.models_used(period, operation))[:NAMED_MAX]
        except (StoreUnavailable, RateLimited):
            return []

    def quotes(
        self, provider: str, call: Call, price: Price | None, names: Iterable[ModelName]
    ) -> list[Elsewhere]:
        """Cheapest first; ``price`` is that of ``call`` at ``provider``, None: free. What has no price for something
        that the request asks for, or could not answer it, is left out."""
        if price is None:
            return []
        asked = provider, call.model
        found = [self._quoted(name, "", _as_asked(call, provider, name)) for name in names if name != asked]
        if BATCH in price.tiers:
            found.append(self._quoted(asked, BATCH, replace(call, tier=BATCH)))
        return sorted(filter(None, found), key=lambda one: one.bound_microcredits)

    def _quoted(self, name: ModelName, tier: str, call: Call) -> Elsewhere | None:
        try:
            bounds = estimate(call, partial(self._prices.price, name[0]), self._prices.exchange)
        except (PricingError, UnpricedModel, BadRequest):
            return None
        return Elsewhere(*name, tier, bounds.bound)


def _as_asked(call: Call, provider: str, name: ModelName) -> Call:
    """The same of another model. Tiers and fallbacks are named in the words of the provider that is asked."""
    if name[0] == provider:
        return replace(call, model=name[1])
    return replace(call, model=name[1], models_also=(), tier=None, speed=None, geo=None)
