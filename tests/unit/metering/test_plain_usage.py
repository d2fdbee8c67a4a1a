"""The short way through a plain `usage` object gives what the long way gives, or gives up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.metering.openai_usage import PLAIN, UsageRules, overlapping, plain
from gateway.metering.reply import COUNT_MAX
from pricing.usage import Usage

FULL: dict[str, Any] = {
    "prompt_tokens": 100,
    "completion_tokens": 30,
    "total_tokens": 130,
    "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 10, "audio_tokens": 0, "accepted_prediction_tokens": 0},
}
RULES = (PLAIN, UsageRules(reasoning_beside=True), UsageRules(rest_is_reasoning=True))
MODELS = (None, "gpt-4o", "gpt-4o-search-preview")

counts = st.sampled_from(
    [0, 1, 10, 30, 40, 100, 130, -1, COUNT_MAX, COUNT_MAX + 1, 1.0, 2.5, True, None, "7", [], {}]
)
details = st.none() | counts | st.dictionaries(
    st.sampled_from(["cached_tokens", "reasoning_tokens", "audio_tokens", "image_tokens", "cache_write_tokens"]), counts
)  # fmt: skip
usages = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens", "citation_tokens"), counts),
        **dict.fromkeys(("prompt_cache_hit_tokens", "reasoning_tokens", "num_search_queries"), counts),
        **dict.fromkeys(("prompt_tokens_details", "completion_tokens_details"), details),
        "server_tool_use": st.just({"web_search_requests": 2}),
    },
)


def with_sums(usage: dict[str, Any]) -> dict[str, Any]:
    """Totals that agree, which random ones hardly ever do."""
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    agree = isinstance(read, int) and isinstance(written, int)
    return {**usage, "total_tokens": read + written} if agree else usage


def test_what_nearly_every_call_says_goes_the_short_way() -> None:
    assert plain(FULL) == Usage(input=60, cache_read=40, output=20, reasoning=10)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_cache_hit_tokens": 50},
        {"citation_tokens": 5},
        {"server_tool_use": {"web_search_requests": 1}},
        {"total_tokens": 131},
        {"prompt_tokens": 100.0},
        {"prompt_tokens_details": {"cached_tokens": 101}},
        {"prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 1}},
        {"prompt_tokens_details": {"audio_tokens": 1}},
        {"completion_tokens_details": {"reasoning_tokens": 31}},
        {"completion_tokens_details": {"reasoning_tokens": True}},
        {"prompt_tokens": COUNT_MAX + 1, "total_tokens": COUNT_MAX + 31},
        {"completion_tokens": COUNT_MAX + 1, "total_tokens": COUNT_MAX + 101},
    ],
    ids=str,
)
def test_whatever_says_more_goes_the_long_way(changes: dict[str, Any]) -> None:
    assert plain({**FULL, **changes}) is None


def test_what_a_kind_or_a_model_does_otherwise_goes_the_long_way() -> None:
    assert plain(FULL, UsageRules(reasoning_beside=True)) is None
    assert plain(FULL, PLAIN, "gpt-4o-search-preview") is None


@given(usages | usages.map(with_sums), st.sampled_from(RULES), st.sampled_from(MODELS))
@example(FULL, PLAIN, "gpt-4o")
@example({**FULL, "prompt_cache_hit_tokens": 50}, PLAIN, None)
@example(FULL, UsageRules(reasoning_beside=True), None)
@example(FULL, PLAIN, "gpt-4o-search-preview")
def test_both_ways_come_to_the_same(usage: dict[str, Any], rules: UsageRules, model: str | None) -> None:
    short = plain(usage, rules, model)
    if short is not None:
        read = overlapping(usage, rules, model)
        assert (short, read.notes) == (read.exclusive(), {})
