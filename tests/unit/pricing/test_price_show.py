"""`tollgate prices show` tells every price of a model, and which holds now."""

from __future__ import annotations

import pytest

from pricing.book import PriceBook
from pricing.errors import UnpricedModel
from pricing.show import show
from tests.unit.pricing.conftest import NOW_S, Books

GEMINI = [("gemini", "gemini", None)]


def test_past_present_and_announced_prices_are_shown(bundled: PriceBook) -> None:
    text = show(bundled, "gemini-4-argon", NOW_S, GEMINI)
    assert text.splitlines() == [
        "gemini / gemini-4-argon",
        "  output up to 65,536 tokens, context window 1,048,576 tokens",
        "  before   [genai-prices 0.2.3: google/gemini-4-argon]",
        "    USD per million tokens",
        "    standard  input 2   cache read 0.1   output 10",
        "    flex      input 1   cache read 0.05   output 5",
        "    priority  input 3.6   cache read 0.18   output 18",
        "    0.014 USD per web search",
        "  from 2026-10-14  <- now   [genai-prices 0.2.3: google/gemini-4-argon]",
        "    USD per million tokens",
        "    standard  input 2   cache read 0.1   output 10",
        "    batch     input 1   cache read 0.05   output 5",
        "    flex      input 1   cache read 0.05   output 5",
        "    priority  input 3.6   cache read 0.18   output 18",
        "    0.014 USD per web search",
        "  from 2026-12-01  (announced)   [genai-prices 0.2.3: google/gemini-4-argon from 2026-12-01]",
        "    USD per million tokens",
        "    standard  input 4   cache read 0.2   output 20",
        "    batch     input 2   cache read 0.1   output 10",
        "    flex      input 2   cache read 0.1   output 10",
        "    priority  input 7.2   cache read 0.36   output 36",
        "    0.014 USD per web search",
    ]


def test_long_contexts_hours_units_and_aliases_are_shown(books: Books) -> None:
    image = {
        "provider": "openai",
        "model": "dall-e-3",
        "usd_per": {"image hd 1024x1024": 0.08, "image": 0.04},
    }
    book = books({"aliases": {"painter": "dall-e-3"}, "models": [image]})
    painter = show(book, "painter", NOW_S, [("openai", "openai", None)])
    assert "openai / dall-e-3  (asked for: painter)" in painter
    assert "0.08 USD per image hd 1024x1024\n" in painter
    assert "output up to" not in painter
    sol = show(book, "gpt-6.1-sol", NOW_S, [("openai", "openai", None)])
    assert "standard, over 272,000 input tokens   input 4   cache read 0.2" in sol
    hourly = show(book, "deepseek-v4-pro", NOW_S, [("deepseek", "deepseek", None)])
    assert "daily from 01:00 UTC   [" in hourly
    assert hourly.count("<- now") == 1
    assert "0.006 USD per audio minute" in show(book, "whisper-1", NOW_S, [("openai", "openai", None)])


def test_without_a_configuration_every_provider_is_searched(bundled: PriceBook) -> None:
    text = show(bundled, "gpt-4o", NOW_S)
    assert "azure / gpt-4o" in text
    assert "openai / gpt-4o" in text


def test_a_model_that_nobody_prices_is_told_so(bundled: PriceBook) -> None:
    with pytest.raises(UnpricedModel, match="gemini"):
        show(bundled, "gpt-4o", NOW_S, GEMINI)
    with pytest.raises(UnpricedModel, match="The catalogue has no price"):
        show(bundled, "no-such-model", NOW_S)
