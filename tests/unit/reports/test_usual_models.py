"""What was used is compared with common models of the configured providers when nobody names any."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from gateway.reports.comparison import compare
from gateway.reports.prices import CurrentPrices
from gateway.reports.usual_models import USUAL, USUAL_MAX
from gateway.settings.providers import ProviderSettings
from pricing.book import PriceBook
from tests.unit.reports.test_savings import CALLS

NOW_S = 1_795_000_000.0
BOOK = PriceBook.parse(None, Decimal("0.01"))


def prices(**kinds: str) -> CurrentPrices:
    """Of providers of these names and kinds; one called ``main`` is the default."""
    providers = {
        name: ProviderSettings(kind=kind, base_url="https://example.com", default=name == "main")
        for name, kind in kinds.items()
    }
    return CurrentPrices(providers, lambda: BOOK, lambda: NOW_S)


def test_every_usual_model_has_a_price() -> None:
    kinds = {"openai": "openai", "anthropic": "anthropic", "google": "gemini"}
    for by_maker in USUAL.values():
        for maker, models in by_maker.items():
            for model in models:
                assert prices(here=kinds[maker]).price("here", model)


def test_they_are_of_configured_providers_alone_small_before_large_and_few() -> None:
    usual = prices(openai="openai", claude="anthropic", gemini="gemini").usual()
    assert [provider for provider, _ in usual["chat"][:3]] == ["openai", "claude", "gemini"]
    assert len(usual["chat"]) == USUAL_MAX
    only = prices(claude="anthropic").usual()
    assert {provider for names in only.values() for provider, _ in names} == {"claude"}
    assert only["embedding"] == []
    assert prices(own="vllm").usual()["chat"] == []


def test_of_two_providers_of_one_maker_the_default_one_is_named() -> None:
    usual = prices(second="openai", main="openai").usual()
    assert {provider for provider, _ in usual["chat"]} == {"main"}


def test_a_model_is_compared_with_those_of_its_operation_and_not_with_itself() -> None:
    book = prices(openai="openai")
    own = USUAL["chat"]["openai"][0]
    [found] = compare([replace(CALLS, provider="openai", model=own)], book, usual=book.usual())
    assert {one.model for one in found.alternatives} == set(USUAL["chat"]["openai"][1:])
