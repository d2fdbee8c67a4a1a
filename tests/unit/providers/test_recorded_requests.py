"""Recorded requests of real clients: each is understood, and its input bound holds against the bill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.providers.base import Call
from gateway.providers.paths import clean_path
from gateway.providers.registry import DIALECTS

CORPUS = Path(__file__).parents[3].parent / "shared" / "corpus"
KINDS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "groq": "groq",
    "deepseek": "deepseek",
    "openrouter": "openrouter",
    "mistral": "mistral",
    "xai": "xai",
    "ollama": "ollama",
    "together": "together",
    "vllm": "openai-compatible",
    "crusoe": "openai-compatible",
    "cerebras": "openai-compatible",
    "gpustack": "openai-compatible",
    "bedrock-mantle": "openai-compatible",
}
NEEDS_MODEL = {"openai-responses-n-05"}
"""Refused on purpose: the model is in a stored prompt, so the request has no price."""
COMPACTED = {"anthropic-messages-n-09", "anthropic-messages-s-04"}
"""Their recorded bodies are cut short, so bytes bound nothing."""


def _exchanges() -> list[Any]:
    found = []
    for path in sorted((CORPUS / "exchanges").glob("*.json")) if CORPUS.is_dir() else []:
        exchange = json.loads(path.read_text())
        kind = KINDS.get(exchange["provider"])
        if kind is None or not isinstance(exchange["request_body"], dict):
            continue
        method, _, target = exchange["endpoint"].partition(" ")
        raw_path, _, query = target.partition("?")
        pairs = dict(pair.partition("=")[::2] for pair in query.split("&") if pair)
        route = DIALECTS[kind].match(method, raw_path, pairs)
        if route is not None and route.metered:
            found.append(pytest.param(exchange, kind, route, id=exchange["id"]))
    return found


EXPECTED = json.loads((CORPUS / "expected.json").read_text()) if CORPUS.is_dir() else {}


def _read(exchange: dict[str, Any], kind: str, route: Any) -> Call:
    clean_path(exchange["endpoint"].partition(" ")[2].partition("?")[0])
    return DIALECTS[kind].read(route, orjson.dumps(exchange["request_body"]), {})


@pytest.mark.parametrize(("exchange", "kind", "route"), _exchanges())
def test_a_recorded_request_is_understood_and_its_bound_holds(
    exchange: dict[str, Any], kind: str, route: Any
) -> None:
    if exchange["id"] in NEEDS_MODEL:
        with pytest.raises(Exception, match="Name the model"):
            _read(exchange, kind, route)
        return
    call = _read(exchange, kind, route)
    assert call.model
    billed = EXPECTED[exchange["id"]]["input_tokens"]
    if billed is None or call.input_unbounded or exchange["id"] in COMPACTED:
        return
    assert billed <= call.input_tokens_max + call.extra.input_audio


@pytest.mark.parametrize(("exchange", "kind", "route"), _exchanges())
def test_a_recorded_request_is_forwarded_as_it_came(exchange: dict[str, Any], kind: str, route: Any) -> None:
    if exchange["id"] in NEEDS_MODEL:
        return
    call = _read(exchange, kind, route)
    forwarded = orjson.loads(b"".join(DIALECTS[kind].forward(call, None)))
    if call.usage_injected:
        assert forwarded["stream_options"]["include_usage"] is True
        for body in (forwarded, exchange["request_body"]):
            body.setdefault("stream_options", {}).pop("include_usage", None)
    assert forwarded == exchange["request_body"]
