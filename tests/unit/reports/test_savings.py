"""What usage would have cost otherwise is computed from the calls themselves, and no tip comes without a figure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from gateway.reports.comparison import compare
from gateway.reports.consumption import Consumption, RepeatedInput, bands_of
from gateway.reports.tips import TipKind, tips
from pricing.book import PriceBook
from pricing.money import Exchange
from pricing.price import Price
from pricing.rates import INDEX

PRICES = {
    "markup": 2,
    "models": [
        {"provider": "here", "model": "big", "usd_per_mtok": {"input": 10, "cache_read": 1, "output": 50}},
        {"provider": "here", "model": "small", "usd_per_mtok": {"input": 1, "cache_read": 1, "output": 5}},
    ],
}


@dataclass
class Book:
    book: PriceBook = field(default_factory=lambda: PriceBook.parse(PRICES, Decimal("0.01")))

    @property
    def exchange(self) -> Exchange:
        return self.book.exchange

    def price(self, provider: str, model: str) -> Price:
        return self.book.price(provider, "openai", model, 1_795_000_000)


class Bundled(Book):
    def price(self, provider: str, model: str) -> Price:
        return self.book.price(provider, provider, model, 1_795_000_000)


CALLS = Consumption(
    provider="here",
    model="big",
    operation="chat",
    tier="",
    streamed=True,
    abandoned=False,
    input_tokens_at_least=0,
    requests=10,
    credits_microcredits=3_000_000,
    surplus_microcredits=0,
    units={"input": 100_000, "cache_read": 50_000, "output": 20_000},
)
# (100,000 x 10 + 50,000 x 1 + 20,000 x 50) USD per million, twice, in credits of a cent
BIG = 2_050_000 * 2 * 100
SMALL = 250_000 * 2 * 100


def calls(**changes: Any) -> Consumption:
    return replace(CALLS, **changes)


def test_the_same_calls_are_priced_again_with_other_models() -> None:
    small = calls(model="small", requests=1, units={"output": 1}, credits_microcredits=1_000)
    [big, _] = compare([CALLS, small], Book())
    assert (big.charged_microcredits, big.repriced_microcredits) == (3_000_000, BIG)
    [other] = big.alternatives
    assert (other.model, other.cost_microcredits, other.difference_microcredits) == (
        "small",
        SMALL,
        SMALL - BIG,
    )
    # nine of ten parts of 50,000 tokens at 10 USD per million were saved by reading from a cache
    assert big.saved_by_cache_microcredits == 450_000 * 2 * 100
    assert big.batch_microcredits is None


def test_models_of_other_operations_are_no_alternatives_unless_asked_for() -> None:
    small = calls(model="small", operation="embedding")
    assert compare([CALLS, small], Book())[0].alternatives == ()
    assert compare([CALLS], Book(), [("here", "small")])[0].alternatives[0].model == "small"


def test_what_has_no_price_is_compared_with_nothing() -> None:
    gone = calls(model="gone")
    assert compare([gone], Book())[0].repriced_microcredits is None
    assert compare([calls(units={"pages": 3})], Book(), [("here", "small")])[0].alternatives == ()


def test_batch_prices_are_those_of_the_model() -> None:
    book = PriceBook.parse(None, Decimal("0.01"))
    price = book.price("openai", "openai", "gpt-5-mini", 1_795_000_000)
    units = {"input": 1_000_000, "output": 100_000}
    one = calls(provider="openai", model="gpt-5-mini", units=units)
    standard, batch = one.cost_femtousd(price), one.cost_femtousd(price, "batch")
    assert standard is not None
    assert batch is not None
    assert 2 * batch == standard


def test_long_contexts_are_priced_by_their_own_band() -> None:
    price = PriceBook.parse(None, Decimal("0.01")).price("gemini", "gemini", "gemini-2.5-pro", 1_795_000_000)
    assert bands_of([price]) == [200_001]
    short, long = (calls(input_tokens_at_least=least, units={"input": 1_000}) for least in (0, 200_001))
    assert (long.cost_femtousd(price) or 0) == 2 * (short.cost_femtousd(price) or 0)


def test_every_tip_has_a_figure_and_the_greatest_comes_first() -> None:
    consumed = [
        CALLS,
        calls(model="small", requests=1, units={"output": 1}, credits_microcredits=1_000),
        calls(abandoned=True, requests=2, units={"output": 10_000}, credits_microcredits=100_000),
        calls(model="capped", requests=4, surplus_microcredits=40_000_000),
    ]
    repeated = [RepeatedInput("here", "big", "", 0, 50_000, 1_000, 5)]
    found = {tip.kind: tip for tip in tips(consumed, repeated, Book())}
    assert found[TipKind.MODEL].instead == ("here", "small")
    assert found[TipKind.CACHING].saving_microcredits == 50_000 * 9 * 2 * 100
    assert found[TipKind.WASTED_OUTPUT].saving_microcredits == 10_000 * 50 * 2 * 100
    capped = found[TipKind.OVERSIZED_CAP]
    assert (capped.saving_microcredits, capped.freed_microcredits) == (0, 10_000_000)
    savings = [tip.saving_microcredits for tip in tips(consumed, repeated, Book())]
    assert savings == sorted(savings, reverse=True)


def test_what_a_cache_saves_is_priced_by_the_band_of_each_call() -> None:
    book = Bundled(PriceBook.parse(None, Decimal("0.01")))
    price = book.price("anthropic", "claude-sonnet-4-5")
    short, long = (price.standard.band(tokens).prices for tokens in (0, 300_000))
    assert short != long
    repeated = [
        RepeatedInput("anthropic", "claude-sonnet-4-5", "", 0, 0, 10_000, 0),
        RepeatedInput("anthropic", "claude-sonnet-4-5", "", 200_001, 300_000, 1_000, 2),
    ]
    plain, read, write = (INDEX[bucket] for bucket in ("input", "cache_read", "cache_write"))
    saved = 300_000 * (long[plain] - long[read]) - 1_000 * (long[write] - long[plain])
    [tip] = tips([], repeated, book)
    assert (tip.kind, tip.requests) == (TipKind.CACHING, 2)
    assert tip.saving_microcredits == book.exchange.microcredits(
        saved - 10_000 * (short[write] - short[plain])
    )


def test_there_is_no_tip_where_nothing_is_saved() -> None:
    assert tips([], [], Book()) == []
    only = calls(model="small", units={"output": 1_000})
    assert tips([only], [], Book()) == []


def test_only_calls_that_have_an_output_cap_are_told_to_lower_it() -> None:
    held = {"requests": 4, "surplus_microcredits": 40_000_000, "streamed": True}
    found = tips(
        [calls(model="pictures", operation="image", **held), calls(model="talk", **held)], [], Book()
    )
    assert [tip.model for tip in found if tip.kind is TipKind.OVERSIZED_CAP] == ["talk"]
