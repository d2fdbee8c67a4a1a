"""Our integers agree with genai-prices' own calculation, for every model that it lists."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices.data import providers
from genai_prices.types import ConditionalPrice, ModelInfo, Provider, TieredPrices

from pricing.book import PriceBook
from pricing.bundled import BUCKETS, NOT_METERED, BundledCatalogue
from pricing.errors import UnpricedModel
from pricing.money import FEMTOUSD_PER_USD
from pricing.usage import Usage
from tests.unit.pricing.conftest import NOW_S

THEIR_KEYS = {
    "cache_read_tokens": ("cache_read", "cache_read_audio", "cache_read_image"),
    "cache_write_tokens": ("cache_write", "cache_write_1h"),
    "cache_write_1h_tokens": ("cache_write_1h",),
    "input_audio_tokens": ("input_audio", "cache_read_audio"),
    "input_image_tokens": ("input_image", "cache_read_image"),
    "input_video_tokens": ("input_video",),
    "cache_audio_read_tokens": ("cache_read_audio",),
    "cache_image_read_tokens": ("cache_read_image",),
    "output_reasoning_tokens": ("reasoning",),
    "output_audio_tokens": ("output_audio",),
    "output_image_tokens": ("output_image",),
    "web_searches": ("web_searches",),
    "input_characters": ("characters",),
    "input_document_pages": ("pages",),
}
USAGES = [
    Usage(input=1),
    Usage(input=1234, cache_read=567, output=89, reasoning=1011),
    Usage(input=50_000, cache_read=222_000, output=4_096),
    Usage(input=50_000, cache_read=222_001, output=4_096),
    Usage(input=900_000, cache_read=99_999, output=64_000, reasoning=1),
    Usage(
        input=1000,
        input_audio=200,
        input_image=300,
        input_video=50,
        output=10,
        output_audio=70,
        output_image=80,
    ),
    Usage(input=10, cache_write=2000, output=5),
    Usage(input=10, cache_write=100_000, cache_write_1h=200_000, output=5),
    Usage(input=10, output=1, web_searches=3),
    Usage(input=7, cache_read_audio=20, cache_read_image=30, cache_read=5, output=5),
    Usage(audio_ms=61_000),
    Usage(characters=1234),
    Usage(pages=12),
]
NOW = dt.datetime.fromtimestamp(NOW_S, dt.UTC)


def as_theirs(usage: Usage) -> TheirUsage:
    counts: dict[str, int | Decimal] = {
        key: sum(getattr(usage, bucket) for bucket in buckets) for key, buckets in THEIR_KEYS.items()
    }
    counts |= {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    if usage.audio_ms:
        counts["audio_seconds"] = counts["input_audio_seconds"] = Decimal(usage.audio_ms) / 1000
    return TheirUsage(**counts)  # type: ignore[arg-type]


def keys(model: ModelInfo) -> set[str]:
    dated = model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
    return {key for item in dated for key, value in vars(item.prices).items() if value is not None}


def comparable(model: ModelInfo, usage: Usage) -> bool:
    """Not where ours is dearer on purpose: fees that the list lacks, and kinds a usage cannot tell apart."""
    listed = keys(model)
    if listed & {"output_video_mtok", "output_citation_mtok"} or (
        usage.pages and "input_annotated_document_kpages" in listed
    ):
        return False
    if usage.cache_write_tokens and ("claude" in model.id or "cache_write_mtok" in listed):
        return "cache_write_mtok" in listed and (not usage.cache_write_1h or "cache_write_1h_mtok" in listed)
    if usage.cache_read_audio:
        # incomparable ancestors: theirs needs every join priced
        return {"cache_audio_read_mtok", "cache_image_read_mtok"} <= listed
    return True


@pytest.mark.parametrize("usage", USAGES, ids=range(len(USAGES)))
def test_costs_agree_with_the_catalogues_own_calculation(
    bundled: PriceBook, catalogue: BundledCatalogue, usage: Usage
) -> None:
    theirs = as_theirs(usage)
    compared = 0
    for provider in providers:
        for model in provider.models:
            if not keys(model) or not comparable(model, usage) or not _named_by_id(provider, model):
                continue
            try:
                price = bundled.price(provider.id, provider.id, model.id, NOW_S, provider.id)
            except UnpricedModel:
                continue  # free now, priced at another date: covered by its own test
            cost = price.cost(usage)
            expected = (
                model.calc_price(theirs, provider, genai_request_timestamp=NOW).total_price * FEMTOUSD_PER_USD
            )
            inexact = (
                1 + usage.input_tokens + usage.output_tokens + usage.audio_ms if _has_noise(model) else 1
            )
            assert 0 <= cost.total_femtousd - expected < inexact, (provider.id, model.id, cost)
            compared += 1
    assert compared > (1 if usage.cache_read_audio else 1500)  # few models price cached audio


def _named_by_id(provider: Provider, model: ModelInfo) -> bool:
    """Whether the id finds this very entry (some ids are matched by an earlier one)."""
    return provider.find_model(model.id, all_providers=providers) is model


def _has_noise(model: ModelInfo) -> bool:
    """Prices that were floats once (0.13999999999999999), or are per hour and divide unevenly."""
    dated = model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
    return any(_inexact(key, value) for item in dated for key, value in vars(item.prices).items())


def _inexact(key: str, value: Decimal | TieredPrices | None) -> bool:
    prices = (
        [value.base, *(tier.price for tier in value.tiers)] if isinstance(value, TieredPrices) else [value]
    )
    units = BUCKETS[key][1] if key in BUCKETS else 1
    return any(price is not None and price * FEMTOUSD_PER_USD % units != 0 for price in prices)


def test_prices_per_token_are_exact_at_our_scale_but_for_noise_of_floats() -> None:
    inexact = {
        f"{provider.id}/{model.id} {key}"
        for provider in providers
        for model in provider.models
        for item in (
            model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
        )
        for key, value in vars(item.prices).items()
        if key.endswith("_mtok") and _inexact(key, value)
    }
    assert all(name.startswith(("openrouter/", "huggingface_together/")) for name in inexact), inexact


def test_every_price_key_of_the_catalogue_is_understood() -> None:
    listed: set[str] = set()
    for provider in providers:
        for model in provider.models:
            listed |= keys(model)
            for variant in model.price_variants or ():
                assert len(variant.when) == 1, (provider.id, model.id)
                listed |= {key for key, value in vars(variant.prices).items() if value is not None}
    assert listed - BUCKETS.keys() <= NOT_METERED
