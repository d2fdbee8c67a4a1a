"""Prices of now, by the names that providers have in this installation's configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from gateway.settings.providers import ProviderSettings
from pricing.book import PriceBook
from pricing.errors import UnpricedModel
from pricing.money import Exchange
from pricing.price import Price


class CurrentPrices:
    """Implements `gateway.reports.consumption.Prices` with whatever price book is in force."""

    def __init__(
        self,
        providers: Mapping[str, ProviderSettings],
        book: Callable[[], PriceBook],
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._providers = providers
        self._book = book
        self._clock_s = clock_s

    @property
    def exchange(self) -> Exchange:
        return self._book().exchange

    def price(self, provider: str, model: str) -> Price:
        settings = self._providers.get(provider)
        if settings is None:
            raise UnpricedModel(provider, model)
        return self._book().price(provider, settings.kind, model, int(self._clock_s()), settings.catalogue)
