"""What bounds need beside prices: maximum output, hidden input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.book import PriceBook
from pricing.ceilings import Ceilings
from pricing.patterns import Pattern
from pricing.tiers import canonical
from tests.unit.pricing.conftest import NOW_S

CORPUS = Path(__file__).parents[4] / "shared" / "corpus"


@pytest.mark.parametrize(
    ("kind", "model", "tokens"),
    [
        ("openai", "gpt-3.5-turbo", 4096),
        ("openai", "gpt-4o-mini", 16_384),
        ("openai", "gpt-4.1-nano", 32_768),
        ("openai", "o3", 100_000),
        ("openai", "gpt-5.5", 128_000),
        ("openai", "gpt-6.1-sol", 128_000),
        ("anthropic", "claude-3-haiku-20240307", 4096),
        ("anthropic", "claude-3-5-sonnet-20241022", 8192),
        ("anthropic", "claude-3-7-sonnet-20250219", 128_000),
        ("anthropic", "claude-opus-4-1-20250805", 32_000),
        ("anthropic", "claude-opus-4-20250514", 32_000),
        ("anthropic", "claude-sonnet-4-20250514", 64_000),
        ("anthropic", "claude-haiku-4-5-20251001", 64_000),
        ("anthropic", "claude-opus-4-5-20251101", 64_000),
        ("anthropic", "claude-opus-5-5", 128_000),
        ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0", 64_000),
        ("openrouter", "anthropic/claude-opus-4.1", 32_000),
        ("gemini", "gemini-2.0-flash", 8192),
        ("gemini", "gemini-2.5-pro", 65_536),
        ("gemini", "gemini-4-argon", 65_536),
        ("mistral", "mistral-large-latest", 128_000),  # not in the table: the context window
    ],
)
def test_the_longest_reply_of_a_model(bundled: PriceBook, kind: str, model: str, tokens: int) -> None:
    assert bundled.price(kind, kind, model, NOW_S).max_output_tokens == tokens


def test_a_model_of_which_nothing_is_known_gets_a_large_bound(ceilings: Ceilings) -> None:
    assert ceilings.max_output_tokens("something-new", None) == 128_000
    assert ceilings.overhead_input_tokens("something-new") == 512


def plain_exchanges() -> list[tuple[str, str, int, int]]:
    """(id, model, input tokens billed, body bytes) of recorded calls whose whole input is in their body."""
    if not CORPUS.is_dir():
        return []
    expected: dict[str, Any] = json.loads((CORPUS / "expected.json").read_text(encoding="utf-8"))
    found = []
    for name, record in expected.items():
        if record.get("outcome") != "usage" or not record.get("input_tokens"):
            continue
        exchange = json.loads((CORPUS / "exchanges" / f"{name}.json").read_text(encoding="utf-8"))
        body = exchange["request_body"]
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        endpoint = exchange["endpoint"]
        if body and endpoint.startswith("POST") and not _refers_elsewhere(endpoint + text):
            found.append((name, _model(exchange, text), record["input_tokens"], len(text.encode())))
    return found


REFERENCES = (
    '"tools"',
    '"mcp_servers"',
    "previous_response",
    '"conversation"',
    "image",
    "file",
    "audio",
    "inline",
    "elided",
    '"url"',
    '"prompt":{',
    "plugins",
    "web_search",
    "agent",
    "document",
    "knowledge",
    '"messages":[]',
)


def _refers_elsewhere(text: str) -> bool:
    return any(mark in text for mark in REFERENCES)


def _model(exchange: dict[str, Any], text: str) -> str:
    """As the body names it (OpenRouter's ``models`` first), else the path, which may."""
    try:
        body = json.loads(text)
    except ValueError:
        return ""
    named = body.get("models") or [body.get("model")]
    return str(named[0] or exchange["endpoint"])


@pytest.mark.parametrize(("name", "model", "billed", "body_bytes"), plain_exchanges())
def test_no_recorded_call_is_billed_more_input_than_its_bytes_and_the_overhead(
    ceilings: Ceilings, name: str, model: str, billed: int, body_bytes: int
) -> None:
    assert billed <= body_bytes + ceilings.overhead_input_tokens(model)


# ------------------------------------------------------------------ names


@given(st.text("ab*-.", max_size=12), st.text("ab-.", max_size=12))
def test_a_pattern_matches_what_its_literal_parts_spell_in_order(text: str, model: str) -> None:
    def spells(pattern: str, name: str) -> bool:
        if not pattern:
            return not name
        if pattern[0] == "*":
            return any(spells(pattern[1:], name[start:]) for start in range(len(name) + 1))
        return bool(name) and name[0] == pattern[0] and spells(pattern[1:], name[1:])

    assert Pattern(text).matches(model.upper()) == spells(text, model)


@pytest.mark.parametrize(
    ("tier", "one_spelling"),
    [
        (None, ""),
        ("Standard", ""),
        ("geo:us+fast", "fast+geo:us"),
        ("fast + geo:us", "fast+geo:us"),
        ("on_demand_flex", "flex"),
        ("speed:fast+auto+geo:global", "fast"),
        ("priority", "priority"),
    ],
)
def test_a_tier_has_one_spelling(tier: str | None, one_spelling: str) -> None:
    assert canonical(tier) == one_spelling
    assert canonical(one_spelling) == one_spelling
