"""Prices of now, by the names that providers have in this installation's configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import zip_longest

from gateway.reports.comparison import ModelName
from gateway.reports.consumption import price_of
from gateway.reports.usual_models import USUAL, USUAL_MAX
from gateway.settings.providers import ProviderSettings
from pricing.book import PriceBook
from pricing.catalogue import catalogue_provider
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

    def usual(self) -> dict[str, list[ModelName]]:
        """For each operation the common models of the providers that are configured and have a price, small ones of
        all makers before large ones. Of several providers of one maker the default one, else the first.
        """
        makers: dict[str, str] = {}
        for name, settings in sorted(self._providers.items(), key=lambda item: not item[1].default):
            maker = catalogue_provider(settings.kind, settings.catalogue)
            if maker is not None:
                makers.setdefault(maker, name)
        return {
            operation: [
                (makers[maker], model)
                for models in zip_longest(*by_maker.values())
                for maker, model in zip(by_maker, models, strict=True)
                if model is not None and maker in makers and price_of(self, makers[maker], model) is not None
            ][:USUAL_MAX]
            for operation, by_maker in USUAL.items()
        }
