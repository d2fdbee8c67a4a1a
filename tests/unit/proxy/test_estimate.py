"""A hold is enough for whatever its call can cost, and what it pays for is what the provider is told."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.providers.base import Call
from gateway.providers.registry import DIALECTS
from gateway.proxy.estimate import Estimate, estimate
from pricing.book import PriceBook
from pricing.errors import PricingError
from pricing.price import Price
from pricing.usage import Usage

NOW_S = 1_790_000_000
BOOK = PriceBook.parse({"markup": 1.3}, Decimal("0.01"))


SPOKEN = [
    {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}
]


def price_of(model: str) -> Price:
    return BOOK.price("openai", "openai", model, NOW_S)


def call(**members: object) -> Call:
    dialect = DIALECTS["openai"]
    route = dialect.match("POST", "/v1/chat/completions", {})
    assert route is not None
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello there"}], **members}
    return dialect.read(route, orjson.dumps(body), {})


def bounded(**members: object) -> Estimate:
    return estimate(call(**members), price_of, BOOK.exchange)


def test_no_cap_means_the_models_maximum() -> None:
    assert bounded().cap == price_of("gpt-4o-mini").max_output_tokens


def test_a_cap_above_the_models_maximum_counts_as_the_maximum() -> None:
    assert bounded(max_tokens=10_000_000).cap == price_of("gpt-4o-mini").max_output_tokens


@pytest.mark.parametrize("cap", [None, 30_000])
def test_a_fallback_that_writes_more_than_the_first_model_is_held_for(cap: int | None) -> None:
    first, fallback = price_of("gpt-3.5-turbo").max_output_tokens, price_of("gpt-4.1").max_output_tokens
    assert first < 30_000 < fallback
    assert bounded(model="gpt-3.5-turbo", models=["gpt-4.1"], max_tokens=cap).cap == (cap or fallback)


def test_each_choice_may_use_the_whole_cap() -> None:
    one, five = bounded(max_tokens=100), bounded(max_tokens=100, n=5)
    assert five.most == 5 * one.most


def test_a_small_cap_is_not_lowered() -> None:
    small = bounded(max_tokens=100)
    assert small.least == small.most


def test_a_client_that_refuses_clamping_holds_everything() -> None:
    whole = estimate(call(max_tokens=16_000), price_of, BOOK.exchange, clamp=False)
    assert whole.least == whole.most


@pytest.mark.parametrize("cap", [None, 1, 700])
@pytest.mark.parametrize(
    "members",
    [
        {},
        {"n": 5, "max_tokens": 1_000},
        {"model": "gpt-4o-audio-preview", "messages": SPOKEN},
        {"prediction": {"type": "content", "content": "Hello there, and a good deal more"}, "n": 2},
        {"models": ["gpt-4.1"]},
    ],
    ids=["plain", "several", "audio", "prediction", "fallback"],
)
def test_the_tokens_of_a_bound_are_those_of_its_usage(members: dict[str, object], cap: int | None) -> None:
    estimated = bounded(**members)
    usage = estimated.bound_usage(cap)
    assert estimated.tokens_max(cap) == (usage.input_tokens, usage.output_tokens)


def test_a_server_side_tool_reads_the_overhead_of_its_model_in_each_pass() -> None:
    searching = call(web_search_options={}, model="gpt-4o")
    price = replace(price_of("gpt-4o"), overhead_input_tokens=1_000, context_window=None)
    searching.input_unbounded = False  # else the context window is the bound
    least = estimate(searching, lambda _: replace(price, overhead_input_tokens=0), BOOK.exchange)
    most = estimate(searching, lambda _: price, BOOK.exchange)
    assert searching.passes > 1
    assert most.input_tokens_max == least.input_tokens_max + searching.passes * 1_000


def test_a_full_grant_leaves_the_cap_alone() -> None:
    whole = bounded(max_tokens=5_000)
    assert whole.cap_for(whole.bound) is None


def test_a_model_without_a_price_is_not_estimated() -> None:
    with pytest.raises(PricingError):
        bounded(model="nobody-knows-this")


def test_a_thinking_budget_that_leaves_no_room_for_an_answer_is_refused() -> None:
    dialect = DIALECTS["anthropic"]
    route = dialect.match("POST", "/v1/messages", {})
    assert route is not None
    body = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 200_000,
        "thinking": {"type": "enabled", "budget_tokens": 199_000},
        "messages": [{"role": "user", "content": "Hi"}],
    }
    read = dialect.read(route, orjson.dumps(body), {})
    with pytest.raises(BadRequest, match="thinking"):
        estimate(read, lambda model: BOOK.price("anthropic", "anthropic", model, NOW_S), BOOK.exchange)


@settings(max_examples=300)
@given(
    cap=st.integers(1, 40_000),
    choices=st.integers(1, 4),
    share=st.fractions(0, 1),
    used=st.fractions(0, 1),
)
def test_what_a_grant_pays_for_never_costs_more_than_the_grant(
    cap: int, choices: int, share: float, used: float
) -> None:
    wanted = bounded(max_tokens=cap, n=choices)
    amount = wanted.fixed + wanted.least + int(share * (wanted.most - wanted.least))
    told = wanted.cap_for(amount)
    told = wanted.cap if told is None else told
    assert wanted.cap_least <= told <= wanted.cap
    usage = Usage(input=int(used * wanted.input_tokens_max), output=told * choices)
    assert wanted.price is not None
    cost = wanted.exchange.microcredits(wanted.price.cost(usage).total_femtousd)
    assert cost <= amount
