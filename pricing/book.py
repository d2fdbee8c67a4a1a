"""The price book: an immutable snapshot of everything that prices requests.

Built at start and again when pricing.yaml changes; requests in flight keep the `Price` that they were
admitted with. Looking up a model for the first time matches names and assembles integers; after that a lookup
is one dictionary access until the next instant at which the model's price changes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar

from pricing.assembly import assemble, flat
from pricing.bundled import BundledCatalogue
from pricing.catalogue import Catalogue, bare_model, catalogue_provider
from pricing.ceilings import Ceilings
from pricing.errors import UnpricedModel
from pricing.file import Ceiling, PricingFile
from pricing.money import Exchange, femtousd_per_unit
from pricing.overrides import Overrides
from pricing.price import Price

MODEL_NAME_LENGTH_MAX = 256
"""Longer names are nobody's model; matching them against patterns would only cost time."""
CACHE_MODELS_MAX = 4096
"""Prices (and, apart from them, names without one) kept; more than any provider lists."""

V = TypeVar("V")
_Key = tuple[str, str, str, str | None]


class PriceBook:
    """Prices by provider and model at an instant.

    ``file``: pricing.yaml, validated. ``credit_usd``: what a credit is worth. ``catalogue`` and ``ceilings``:
    what the file is laid over; they do not depend on it, so pass the same objects to the next book.
    """

    def __init__(
        self,
        file: PricingFile,
        credit_usd: Decimal,
        catalogue: Catalogue | None = None,
        ceilings: Ceilings | None = None,
    ) -> None:
        self.file = file
        self.exchange = Exchange(credit_usd, file.markup)
        self.catalogue: Catalogue = catalogue or BundledCatalogue()
        self.ceilings = ceilings or Ceilings.load()
        self._overrides = Overrides.of(file)
        self._ceiling_femtousd = (
            femtousd_per_unit(file.unpriced.ceiling_usd, 1) if isinstance(file.unpriced, Ceiling) else None
        )
        self._prices: dict[_Key, tuple[int, int, Price]] = {}
        self._unpriced: dict[_Key, tuple[int, int]] = {}

    @classmethod
    def parse(
        cls,
        data: Mapping[str, Any] | None,
        credit_usd: Decimal,
        source: str = "pricing.yaml",
        catalogue: Catalogue | None = None,
        ceilings: Ceilings | None = None,
    ) -> PriceBook:
        """From what was read from YAML. Raises `BadPricing`."""
        return cls(PricingFile.parse(data, source), credit_usd, catalogue, ceilings)

    def price(
        self, provider: str, kind: str, model: str, at: int | dt.datetime, catalogue: str | None = None
    ) -> Price:
        """The price of a model at an instant (epoch seconds, or an aware datetime). Raises `UnpricedModel`.

        ``provider``: the provider's name in the configuration. ``kind``: its kind, which says whose prices
        the bundled catalogue is asked for, unless ``catalogue`` names another provider there.
        """
        at_s = at if isinstance(at, int) else int(at.timestamp())
        key = (provider, kind, model, catalogue)
        cached = self._prices.get(key)
        if cached is not None and cached[0] <= at_s < cached[1]:
            return cached[2]
        return self._find(key, at_s)

    def _find(self, key: _Key, at_s: int) -> Price:
        provider, kind, model, catalogue = key
        missing = self._unpriced.get(key)
        if len(model) > MODEL_NAME_LENGTH_MAX or (missing is not None and missing[0] <= at_s < missing[1]):
            raise UnpricedModel(provider, model[:MODEL_NAME_LENGTH_MAX])
        source, name = self._named(provider, kind, model, catalogue)
        layered = self._overrides.at(provider, kind, name, at_s)
        listing = self.catalogue.find(source, name, at_s) if source else None
        edges = self.changes(provider, kind, model, catalogue)
        from_s = max([listing.from_s if listing else -(2**62), *(edge for edge in edges if edge <= at_s)])
        until_s = min([listing.until_s if listing else 2**62, *(edge for edge in edges if edge > at_s)])
        price = assemble(provider, name, listing, layered, self.ceilings, self._ceiling_femtousd)
        if price is None and self._ceiling_femtousd is not None:
            price = flat(provider, name, self._ceiling_femtousd, layered, self.ceilings)
        if price is None:
            _remember(self._unpriced, key, (from_s, until_s))
            raise UnpricedModel(provider, model)
        _remember(self._prices, key, (from_s, until_s, price))
        return price

    def changes(self, provider: str, kind: str, model: str, catalogue: str | None = None) -> tuple[int, ...]:
        """The instants (epoch seconds, ascending) at which a dated price of the model starts."""
        source, name = self._named(provider, kind, model, catalogue)
        listed = self.catalogue.changes(source, name) if source else ()
        return tuple(sorted({*listed, *self._overrides.changes(provider, kind, name)}))

    def hours(self, provider: str, kind: str, model: str, catalogue: str | None = None) -> tuple[int, ...]:
        """The seconds of a UTC day at which the model's price changes every day; mostly none."""
        source, name = self._named(provider, kind, model, catalogue)
        return self.catalogue.hours(source, name) if source else ()

    def _named(self, provider: str, kind: str, model: str, catalogue: str | None) -> tuple[str | None, str]:
        """The provider in the catalogue, and the model's real name there."""
        source = catalogue_provider(kind, catalogue)
        return source, bare_model(source, self.file.resolve_alias(provider, model))


def _remember(cache: dict[_Key, V], key: _Key, value: V) -> None:
    """Bounded: the oldest entry goes. What goes by mistake is found again in under a millisecond."""
    if len(cache) >= CACHE_MODELS_MAX:
        cache.pop(next(iter(cache)))
    cache[key] = value
