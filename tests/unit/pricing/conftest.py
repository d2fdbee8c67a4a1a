from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from pricing.book import PriceBook
from pricing.bundled import BundledCatalogue
from pricing.ceilings import Ceilings

Books = Callable[..., PriceBook]

NOW_S = int(dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC).timestamp())


@pytest.fixture(scope="session")
def catalogue() -> BundledCatalogue:
    return BundledCatalogue()


@pytest.fixture(scope="session")
def ceilings() -> Ceilings:
    return Ceilings.load()


@pytest.fixture(scope="session")
def books(catalogue: BundledCatalogue, ceilings: Ceilings) -> Books:
    """Builds a price book from the content of a pricing.yaml."""

    def book(data: dict[str, Any] | None = None, credit_usd: str = "0.01") -> PriceBook:
        return PriceBook.parse(data, Decimal(credit_usd), "pricing.yaml", catalogue, ceilings)

    return book


@pytest.fixture(scope="session")
def bundled(books: Books) -> PriceBook:
    return books()
