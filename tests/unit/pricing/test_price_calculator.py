"""The product's three questions, answered in microcredits."""

from __future__ import annotations

import pytest

from pricing.book import PriceBook
from pricing.calculator import CostCalculator
from pricing.errors import UnpricedTier, UnpricedUnit
from pricing.usage import Usage
from tests.unit.pricing.conftest import NOW_S, Books


def calculator(book: PriceBook, model: str) -> CostCalculator:
    return CostCalculator.of(book, "openai", "openai", model, NOW_S)


def test_a_chat_message_costs_its_tokens(bundled: PriceBook) -> None:
    luna = calculator(bundled, "gpt-6-luna")
    # 1000 x 0.1 + 200 x 0.01 + 300 x 0.5 USD per million = 0.000252 USD = 0.0252 credits at a cent each
    assert luna.chat_message(1200, 300, cached_input_tokens=200) == 25_200
    assert luna.chat_message(1) == 10
    assert luna.chat_message(1, tier="flex") == 5
    with pytest.raises(UnpricedTier):
        luna.chat_message(1, tier="hyperfast")


def test_an_image_costs_by_quality_and_size(books: Books) -> None:
    dalle = {"provider": "openai", "model": "dall-e-3", "usd_per": {"image hd 1024x1024": 0.08}}
    book = books({"markup": 1.5, "models": [dalle]})
    assert calculator(book, "dall-e-3").image_generation("hd", "1024x1024", 2) == 24_000_000
    with pytest.raises(UnpricedUnit, match="image hd 512x512"):
        calculator(book, "dall-e-3").image_generation("hd", "512x512")


@pytest.mark.parametrize(
    ("quality", "size", "usd"),
    [
        ("low", "1024x1024", 0.011),
        ("medium", "1024x1024", 0.042),
        ("high", "1024x1024", 0.167),
        ("low", "1024x1536", 0.016),
        ("medium", "1536x1024", 0.063),
        ("high", "1536x1024", 0.25),
        ("auto", "1536x1024", 0.25),
    ],
)
def test_an_image_billed_by_the_token_costs_its_published_price(
    bundled: PriceBook, quality: str, size: str, usd: float
) -> None:
    credits_spent = calculator(bundled, "gpt-image-1").image_generation(quality, size) / 1_000_000
    assert credits_spent * 0.01 == pytest.approx(usd, rel=0.05)


def test_a_batch_costs_its_items_at_the_batch_price_rounded_once(bundled: PriceBook) -> None:
    luna = calculator(bundled, "gpt-6-luna")
    assert luna.batch_operation(1000, 1000, 200) == 1000 * luna.chat_message(1000, 200) // 2
    assert luna.batch_operation(3, 1) == 15
    assert luna.batch_operation(0, 1000, 1000) == 0
    assert luna.batch_operation(10, 200_000) == 10 * 200_000 * 5, "items are not summed into a long context"
    with pytest.raises(UnpricedTier, match="batch"):
        calculator(bundled, "gpt-realtime").batch_operation(1, 1)


def test_nothing_is_left_out_quietly(bundled: PriceBook) -> None:
    with pytest.raises(UnpricedUnit, match="output"):
        calculator(bundled, "whisper-1").usage(Usage(audio_ms=1000, output=1))
