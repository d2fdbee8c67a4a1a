"""A hold's bound is never below the cost of what it covers, and an amount buys the tokens it can pay."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.book import PriceBook
from pricing.errors import UnpricedTier, UnpricedUnit
from pricing.price import Bound, Price
from pricing.usage import COUNTS, Usage
from tests.unit.pricing.conftest import NOW_S, Books

MODELS = [
    ("openai", "gpt-6.1-sol"),
    ("openai", "gpt-5.5"),
    ("openai", "gpt-audio"),
    ("openai", "gpt-realtime"),
    ("openai", "gpt-image-1"),
    ("anthropic", "claude-haiku-5-5"),
    ("anthropic", "claude-opus-5-5"),
    ("gemini", "gemini-4-argon"),
    ("gemini", "gemini-3.1-pro-preview"),
    ("gemini", "gemini-3-pro-image-preview"),
    ("xai", "grok-4"),
    ("perplexity", "sonar-pro"),
    ("groq", "whisper-large-v3"),
    ("mistral", "voxtral-small-24b-2507"),
]
MEASURES = tuple(
    name for name in COUNTS if name not in {"input", "cache_read", "cache_write", "output", "reasoning"}
)
PLAIN_INPUT = ("input", "cache_read", "cache_write")
LONG_WRITES = ("cache_write_1h", "cache_write_12h")
OUTPUT = ("output", "reasoning", "output_audio", "output_image")


def priced(book: PriceBook, provider: str, model: str) -> Price:
    return book.price(provider, provider, model, NOW_S)


@st.composite
def covered(draw: st.DrawFn, long_writes: bool) -> tuple[int, int, Usage, Usage]:
    """(input_tokens_max, output_tokens_max, extra, a usage within them)."""
    size = st.integers(0, draw(st.sampled_from([10, 5_000, 300_000])))
    parts = PLAIN_INPUT + (LONG_WRITES if long_writes else ())
    read = {name: draw(size) for name in parts}
    written = {name: draw(size) for name in OUTPUT}
    beside = {
        name: draw(st.integers(0, 2_000))
        for name in MEASURES
        if name not in LONG_WRITES and name not in OUTPUT
    }
    extra = {name: count + draw(st.integers(0, 50)) for name, count in beside.items()}
    return (
        sum(read.values()) + draw(size),
        sum(written.values()) + draw(size),
        Usage(**extra),
        Usage(**read, **written, **beside),
    )


def priced_part(price: Price, usage: Usage, tier: str | None) -> dict[str, int]:
    """What of ``usage`` has a price: the rest is refused when it is asked for."""
    gaps = price.cost(usage, tier).unpriced
    return {name: 0 if name in gaps else getattr(usage, name) for name in COUNTS}


@settings(max_examples=150)
@given(
    model=st.sampled_from(MODELS),
    request=covered(long_writes=False),
    tier=st.sampled_from([None, "auto", "flex", "batch", "priority", "fast"]),
)
def test_no_usage_within_a_bound_costs_more(
    bundled: PriceBook, model: tuple[str, str], request: tuple[int, int, Usage, Usage], tier: str | None
) -> None:
    price = priced(bundled, *model)
    if tier not in (None, "auto") and tier not in price.tiers:
        with pytest.raises(UnpricedTier):
            price.bound(1, 1, tier=tier)
        return
    input_max, output_max, extra, usage = request
    extra = Usage(**priced_part(price, extra, tier))
    usage = Usage(**priced_part(price, usage, tier))
    output_max = output_max if price.sells_output else 0
    served = (
        [tier] if tier != "auto" else [None, *(name for name in price.tiers if name in ("flex", "priority"))]
    )
    bound = price.bound(input_max, output_max, extra, tier=tier)
    for name in served:
        assert price.cost(usage, name).total_femtousd <= bound.total_femtousd


@settings(max_examples=100)
@given(model=st.sampled_from(MODELS[:9]), request=covered(long_writes=True))
def test_long_lived_cache_writes_are_covered_when_asked_for(
    bundled: PriceBook, model: tuple[str, str], request: tuple[int, int, Usage, Usage]
) -> None:
    price = priced(bundled, *model)
    input_max, output_max, extra, usage = request
    extra = Usage(**priced_part(price, extra, None))
    usage = Usage(**priced_part(price, usage, None))
    bound = price.bound(input_max, output_max, extra, cache_ttl_1h=True)
    assert price.cost(usage).total_femtousd <= bound.total_femtousd


def test_a_bound_takes_only_the_long_context_that_it_can_reach(bundled: PriceBook) -> None:
    price = priced(bundled, "openai", "gpt-6.1-sol")
    assert price.bound(272_000).output_token_femtousd == 10 * 10**9
    assert price.bound(272_001).output_token_femtousd == 15 * 10**9
    assert price.bound(272_000, extra=Usage(input_image=1)).output_token_femtousd == 15 * 10**9


def test_input_is_bound_at_the_price_of_a_cache_write(bundled: PriceBook) -> None:
    price = priced(bundled, "anthropic", "claude-opus-5-5")
    assert price.bound(1000).fixed_femtousd == 1000 * 5 * 10**9
    assert price.bound(1000, cache_ttl_1h=True).fixed_femtousd == 1000 * 10 * 10**9  # of any longer life


def test_a_tier_without_a_price_is_refused_before_it_costs_anything(bundled: PriceBook) -> None:
    price = priced(bundled, "openai", "gpt-6.1-sol")
    for tier in ("hyperfast", "auto+geo:mars"):
        with pytest.raises(UnpricedTier, match=r"gpt-6\.1-sol"):
            price.bound(1, 1, tier=tier)


def test_auto_is_bound_at_the_dearest_tier_that_the_provider_may_pick(bundled: PriceBook) -> None:
    price = priced(bundled, "openai", "gpt-6.1-sol")
    assert price.bound(1, 1, tier="auto") == price.bound(1, 1, tier="priority")
    assert price.bound(1, 1) == price.bound(1, 1, tier="default")
    opus = priced(bundled, "anthropic", "claude-opus-5-5")
    assert opus.bound(1, 1, tier="auto") == opus.bound(1, 1), "fast is asked for by another member"
    assert (
        opus.bound(1, 1, tier="auto+geo:us").total_femtousd >= opus.bound(1, 1, tier="geo:us").total_femtousd
    )


def test_a_unit_without_a_price_is_refused(bundled: PriceBook, books: Books) -> None:
    whisper = priced(bundled, "openai", "whisper-1")
    with pytest.raises(UnpricedUnit, match="output"):
        whisper.bound(0, 10)
    with pytest.raises(UnpricedUnit, match="web_searches"):
        whisper.bound(0, 0, Usage(web_searches=1))
    assert whisper.bound(500, 0, Usage(audio_ms=60_000)).total_femtousd == 6 * 10**12, (
        "its prompt costs nothing"
    )
    only_output = books({"models": [{"provider": "*", "model": "m", "usd_per_mtok": {"output": 1}}]})
    with pytest.raises(UnpricedUnit, match="input"):
        priced(only_output, "openai", "m").bound(10, 10)
    with pytest.raises(UnpricedUnit, match=r"image hd 1x1"):
        priced(only_output, "openai", "m").bound(0, 0, Usage(images=(("hd 1x1", 1),)))


def test_a_unit_without_a_price_is_held_at_the_ceiling_where_one_is_set(books: Books) -> None:
    book = books({"unpriced": {"ceiling_usd": "0.5"}})
    bound = priced(book, "openai", "whisper-1").bound(0, 10, Usage(web_searches=3))
    assert bound.fixed_femtousd == 5 * 10**14


@given(
    fixed=st.integers(0, 10**18),
    price=st.integers(0, 10**12),
    most=st.integers(0, 10**6),
    amount=st.integers(0, 10**19),
)
def test_an_amount_buys_as_many_tokens_as_it_pays_for(fixed: int, price: int, most: int, amount: int) -> None:
    bound = Bound(fixed, price, most)
    tokens = bound.output_tokens_affordable(amount)
    assert 0 <= tokens <= most
    if amount >= fixed:
        assert bound.at(tokens) <= amount
        assert tokens == most or bound.at(tokens + 1) > amount
    else:
        assert tokens == 0


def test_media_that_is_billed_as_plain_or_written_input_is_covered(bundled: PriceBook) -> None:
    price = priced(bundled, "anthropic", "claude-opus-5-5")
    bound = price.bound(100, 0, Usage(input_image=1000))
    assert price.cost(Usage(input=100, cache_write=1000)).total_femtousd <= bound.total_femtousd


def test_a_bound_covers_the_short_contexts_below_one_that_is_cheaper(books: Books) -> None:
    entry = {
        "provider": "*",
        "model": "m",
        "usd_per_mtok": {"input": 9, "output": 9},
        "tiers": [{"above": 100, "usd_per_mtok": {"input": 1, "output": 1}}],
    }
    price = priced(books({"models": [entry]}), "openai", "m")
    assert price.cost(Usage(input=100, output=5)).total_femtousd <= price.bound(101, 5).total_femtousd
