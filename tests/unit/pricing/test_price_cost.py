"""Every token is charged at its own price, long contexts in full, unknown units and tiers never free."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.book import PriceBook
from pricing.price import Price
from pricing.usage import COUNTS, Usage
from tests.unit.pricing.conftest import NOW_S, Books

USD_PER_MTOK = 10**9
"""One USD per million tokens, in femto-USD per token."""


def priced(book: PriceBook, model: str, provider: str = "openai") -> Price:
    return book.price(provider, provider, model, NOW_S)


@pytest.mark.parametrize(
    ("provider", "model", "usd_per_mtok"),
    [
        ("openai", "gpt-6.1-sol", {"input": 2, "cache_read": 0.1, "cache_write": 2.5, "output": 10}),
        ("openai", "gpt-6-luna", {"input": 0.1, "cache_read": 0.01, "cache_write": 0.125, "output": 0.5}),
        ("openai", "gpt-5.5", {"input": 5, "cache_read": 0.5, "output": 30}),
        (
            "anthropic",
            "claude-opus-5-5",
            {"input": 4, "cache_read": 0.2, "cache_write": 5, "cache_write_1h": 8, "output": 20},
        ),
        (
            "anthropic",
            "claude-sonnet-5-5",
            {"input": 2, "cache_read": 0.1, "cache_write": 2.5, "cache_write_1h": 4, "output": 10},
        ),
        ("gemini", "gemini-4-argon", {"input": 2, "cache_read": 0.1, "output": 10}),
    ],
)
def test_published_prices(
    bundled: PriceBook, provider: str, model: str, usd_per_mtok: dict[str, float]
) -> None:
    price = priced(bundled, model, provider)
    for bucket, usd in usd_per_mtok.items():
        assert price.cost(Usage(**{bucket: 1})).total_femtousd == round(usd * USD_PER_MTOK), bucket


def test_twelve_hour_writes_cost_twice_the_short_ones(bundled: PriceBook) -> None:
    assert priced(bundled, "gpt-6.1-sol").cost(Usage(cache_write_12h=1)).total_femtousd == 5 * USD_PER_MTOK


def test_writes_are_input_where_no_fee_is_charged(bundled: PriceBook) -> None:
    cost = priced(bundled, "gpt-5.5").cost(Usage(cache_write=1, cache_write_1h=1, cache_write_12h=1))
    assert cost.total_femtousd == 3 * 5 * USD_PER_MTOK


def test_claude_writes_cost_more_even_where_the_catalogue_forgot_them(bundled: PriceBook) -> None:
    price = bundled.price("openrouter", "openrouter", "anthropic/claude-3.7-sonnet", NOW_S)
    base = price.cost(Usage(input=4)).total_femtousd
    assert price.cost(Usage(cache_write=4)).total_femtousd == base * 5 // 4
    assert price.cost(Usage(cache_write_1h=4)).total_femtousd == base * 2


def test_reasoning_is_output_and_a_kind_without_a_price_costs_what_it_is_part_of(bundled: PriceBook) -> None:
    sol = priced(bundled, "gpt-6.1-sol")
    assert sol.cost(Usage(reasoning=7)).total_femtousd == sol.cost(Usage(output=7)).total_femtousd
    argon = priced(bundled, "gemini-4-argon", "gemini")
    assert argon.cost(Usage(input_audio=7)).total_femtousd == argon.cost(Usage(input=7)).total_femtousd
    image = priced(bundled, "gpt-image-1")
    assert image.cost(Usage(output_image=1)).total_femtousd == 40 * USD_PER_MTOK


@pytest.mark.parametrize(
    ("total_input", "input_usd", "output_usd"), [(271_999, 2, 10), (272_000, 2, 10), (272_001, 4, 15)]
)
def test_past_its_edge_a_long_context_prices_all_tokens(
    bundled: PriceBook, total_input: int, input_usd: int, output_usd: int
) -> None:
    price = priced(bundled, "gpt-6.1-sol")
    cost = price.cost(Usage(input=total_input, output=10))
    assert cost.total_femtousd == (total_input * input_usd + 10 * output_usd) * USD_PER_MTOK


def test_cached_and_written_tokens_count_towards_the_edge(bundled: PriceBook) -> None:
    price = priced(bundled, "gpt-6.1-sol")
    usage = Usage(input=1, cache_read=200_000, cache_write=72_000)
    assert price.cost(usage).total_femtousd == (4 + 200_000 // 5 + 72_000 * 5) * USD_PER_MTOK


def test_whisper_with_token_usage_is_unpriced_not_free(bundled: PriceBook) -> None:
    cost = priced(bundled, "whisper-1").cost(Usage(input_audio=100, output=20))
    assert cost.unpriced == ("input_audio", "output")
    assert not cost.complete
    assert priced(bundled, "whisper-1").cost(Usage(audio_ms=60_000)).total_femtousd == 6 * 10**12


def test_short_audio_is_billed_as_ten_seconds_at_groq(bundled: PriceBook) -> None:
    price = priced(bundled, "whisper-large-v3", "groq")
    assert price.cost(Usage(audio_ms=1)) == price.cost(Usage(audio_ms=10_000))
    assert price.cost(Usage(audio_ms=10_001)).total_femtousd > price.cost(Usage(audio_ms=1)).total_femtousd
    assert price.cost(Usage()).total_femtousd == 0


def test_a_fee_per_request_is_due_once_even_if_nobody_counted_it(bundled: PriceBook) -> None:
    price = priced(bundled, "sonar", "perplexity")
    assert price.cost(Usage()) == price.cost(Usage(requests=1))
    assert price.cost(Usage()).total_femtousd == 12 * 10**12


# ------------------------------------------------------------------ service tiers


@pytest.mark.parametrize(
    "tier", [None, "", "default", "standard", "on_demand", "ON_DEMAND", "auto", "speed:standard+geo:global"]
)
def test_names_of_the_standard_tier(bundled: PriceBook, tier: str | None) -> None:
    cost = priced(bundled, "gpt-6.1-sol").cost(Usage(input=1), tier)
    assert (cost.total_femtousd, cost.unknown_tier) == (2 * USD_PER_MTOK, False)


@pytest.mark.parametrize(
    ("provider", "model", "tier", "input_usd"),
    [
        ("openai", "gpt-6.1-sol", "flex", 1),
        ("openai", "gpt-6.1-sol", "priority", 4),
        ("openai", "gpt-6.1-sol", "fast", 4),
        ("openai", "gpt-6.1-sol", "batch", 1),
        ("openai", "gpt-6.1-sol", "ultrafast", 12),
        ("anthropic", "claude-opus-5-5", "fast", 8),
        ("anthropic", "claude-opus-5-5", "speed:fast", 8),
        ("anthropic", "claude-opus-5-5", "geo:us", 4.4),
        ("anthropic", "claude-opus-5-5", "geo:us+speed:fast", 8.8),
        ("anthropic", "claude-opus-5-5", "fast+geo:us", 8.8),
        ("gemini", "gemini-4-argon", "ON_DEMAND_FLEX", 1),
        ("vertex", "gemini-4-argon", "ON_DEMAND_PRIORITY", 3.6),
    ],
)
def test_the_tier_served_sets_the_price(
    bundled: PriceBook, provider: str, model: str, tier: str, input_usd: float
) -> None:
    cost = priced(bundled, model, provider).cost(Usage(input=1), tier)
    assert (cost.total_femtousd, cost.unknown_tier) == (round(input_usd * USD_PER_MTOK), False)


@pytest.mark.parametrize(
    "tier", ["hyperfast", "geo:mars", "flex+priority", "provisioned_throughput", "scale"]
)
def test_an_unknown_tier_is_flagged_and_never_at_the_standard_price(bundled: PriceBook, tier: str) -> None:
    price = priced(bundled, "gpt-6.1-sol")
    cost = price.cost(Usage(input=1, output=1), tier)
    assert cost.unknown_tier
    assert not cost.complete
    assert cost.total_femtousd == price.cost(Usage(input=1, output=1), "ultrafast").total_femtousd


def test_a_tier_has_the_long_context_prices_of_its_own(bundled: PriceBook) -> None:
    price = priced(bundled, "gpt-6.1-sol")
    assert price.cost(Usage(input=272_001), "flex").total_femtousd == 272_001 * 2 * USD_PER_MTOK


# ------------------------------------------------------------------ the shape of a cost

usages = st.builds(Usage, **{name: st.integers(0, 10**7) for name in COUNTS})


@given(usage=usages)
def test_lines_add_up_to_the_total(bundled: PriceBook, usage: Usage) -> None:
    for model in ("gpt-6.1-sol", "gpt-audio", "gpt-realtime", "whisper-1"):
        cost = priced(bundled, model).cost(usage)
        assert sum(line.femtousd for line in cost.lines) == cost.total_femtousd
        assert all(line.femtousd == line.count * line.price for line in cost.lines)
        assert {line.bucket for line in cost.lines} == {name for name in COUNTS if getattr(usage, name)}


@given(a=usages, b=usages)
def test_costs_add_where_no_long_context_begins(books: Books, a: Usage, b: Usage) -> None:
    book = books(
        {"models": [{"provider": "*", "model": "m", "usd_per_mtok": {"input": 3, "output": 0.123456789}}]}
    )
    price = priced(book, "m")
    both = price.cost(a + b)
    assert both.total_femtousd == price.cost(a).total_femtousd + price.cost(b).total_femtousd


def test_nothing_but_integers_is_left_when_requests_are_priced(bundled: PriceBook) -> None:
    for provider, model in (
        ("openai", "gpt-6.1-sol"),
        ("deepseek", "deepseek-v4-pro"),
        ("openai", "whisper-1"),
    ):
        price = priced(bundled, model, provider)
        for schedule in (price.standard, price.auto, price.dearest, *price.tiers.values()):
            for band in schedule.bands:
                assert {type(number) for number in (band.above, *band.prices, *band.dearest)} == {int}
        cost = price.cost(Usage(input=3, output=5, audio_ms=7), "flex")
        bound = price.bound(10)
        assert type(cost.total_femtousd) is int
        assert {type(value) for value in dataclasses.astuple(bound)} == {int}
        assert {type(n) for line in cost.lines for n in (line.count, line.price, line.femtousd)} <= {int}
