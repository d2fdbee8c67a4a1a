"""What a request is quoted at with another model is what it would be held for there."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import orjson
import pytest

from gateway.providers.base import Call
from gateway.providers.registry import DIALECTS
from gateway.proxy.estimate import estimate
from gateway.reports.desk import ReportDesk
from gateway.reports.elsewhere import ElsewhereQuotes
from pricing.book import PriceBook
from pricing.price import Price
from tests.support.made_usage import PRICED_AT

BOOK = PriceBook.parse(None, Decimal("0.01"))
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


class Prices:
    exchange = BOOK.exchange

    def price(self, provider: str, model: str) -> Price:
        return BOOK.price(provider, provider, model, int(PRICED_AT.timestamp()))


class Pseudonyms:
    async def of(self, org: str, users: Iterable[str]) -> dict[str, str]:
        return {}


async def no_balance(org: str) -> None:
    return None


def call(provider: str, model: str, content: Any = "hi", **members: Any) -> Call:
    dialect = DIALECTS[provider]
    route = dialect.match("POST", PATHS[provider], {})
    assert route is not None
    body = {"model": model, "messages": [{"role": "user", "content": content}], **members}
    return dialect.read(route, orjson.dumps(body), {})


def bound(provider: str, asked: Call) -> int:
    return estimate(asked, lambda model: Prices().price(provider, model), BOOK.exchange).bound


def quoted(provider: str, asked: Call, *names: tuple[str, str]) -> dict[tuple[str, str, str], int]:
    desk = ReportDesk("postgresql://nowhere", Pseudonyms(), no_balance)  # not started: nothing asks it
    found = ElsewhereQuotes(desk, Prices()).quotes(
        provider, asked, Prices().price(provider, asked.model), names
    )
    return {(one.provider, one.model, one.tier): one.bound_microcredits for one in found}


@pytest.mark.parametrize("members", [{}, {"max_tokens": 500}, {"n": 3}, {"service_tier": "priority"}])
@pytest.mark.parametrize(("model", "other"), [("gpt-4.1", "o4-mini"), ("o4-mini", "gpt-4.1")])
def test_a_quote_is_the_bound_that_the_other_model_has_when_it_is_asked(
    model: str, other: str, members: dict[str, Any]
) -> None:
    found = quoted("openai", call("openai", model, **members), ("openai", other))
    assert found["openai", other, ""] == bound("openai", call("openai", other, **members))


def test_a_batch_may_write_to_long_caches_as_the_request_does() -> None:
    content = [{"type": "text", "text": "x" * 100_000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    asked = call("anthropic", "claude-sonnet-4-5", content, max_tokens=100)
    found = quoted("anthropic", asked, ("anthropic", "claude-sonnet-4-5"))
    assert set(found) == {("anthropic", "claude-sonnet-4-5", "batch")}
    assert abs(2 * found["anthropic", "claude-sonnet-4-5", "batch"] - bound("anthropic", asked)) <= 2


def test_other_providers_are_asked_at_their_standard_price() -> None:
    asked = call("openai", "gpt-5-mini", service_tier="priority", max_completion_tokens=100)
    plain = call("anthropic", "claude-haiku-4-5", max_tokens=100)
    found = quoted("openai", asked, ("anthropic", "claude-haiku-4-5"))["anthropic", "claude-haiku-4-5", ""]
    assert found == pytest.approx(bound("anthropic", plain), rel=0.1)  # the bytes of two bodies


def test_a_model_that_could_not_answer_the_request_is_not_quoted() -> None:
    thinking = {"type": "enabled", "budget_tokens": 30_000}
    asked = call("anthropic", "claude-sonnet-4-5", thinking=thinking, max_tokens=40_000)
    assert Prices().price("openai", "gpt-4o").max_output_tokens < 30_000
    assert ("openai", "gpt-4o", "") not in quoted("anthropic", asked, ("openai", "gpt-4o"))
