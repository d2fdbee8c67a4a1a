"""Anthropic and Gemini: what is beside the totals, what is inside, what replaces what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.metering.anthropic import AnthropicReader
from gateway.metering.gemini import GeminiReader
from pricing.usage import Usage
from tests.unit.metering.replies import CLAUDE, read, sse


def test_a_claude_stream_cut_after_its_start_knows_its_input() -> None:
    start = CLAUDE[: CLAUDE.index(b"event: message_delta")]
    reading = read(AnthropicReader(), start)
    assert reading.input_only
    assert reading.usage == Usage(input=10, cache_read=5, cache_write=10, cache_write_1h=20)
    assert reading.texts == ("Hello",)
    assert reading.tier == "fast+geo:us"


def test_claude_writes_without_a_split_are_taken_for_the_dearer_when_they_may_be() -> None:
    body = json.dumps(
        {"usage": {"input_tokens": 1, "cache_creation_input_tokens": 7, "output_tokens": 2}}
    ).encode()
    assert read(AnthropicReader(), body).usage == Usage(input=1, cache_write=7, output=2)
    assert read(AnthropicReader(cache_ttl_1h=True), body).usage == Usage(input=1, cache_write_1h=7, output=2)


@pytest.mark.parametrize(
    ("top_input", "passes"),
    [(100, (("claude-b", Usage(input=40, output=4)), ("claude-a", Usage(input=7, output=1)))), (147, ())],
)
def test_passes_beside_the_top_level_are_kept_with_their_model(
    top_input: int, passes: tuple[tuple[str, Usage], ...]
) -> None:
    iterations = [
        {"type": "message", "input_tokens": 100, "output_tokens": 10},
        {"type": "advisor_message", "model": "claude-b", "input_tokens": 40, "output_tokens": 4},
        {"type": "compaction", "input_tokens": 7, "output_tokens": 1},
    ]
    output = 10 if top_input == 100 else 15
    usage = {"input_tokens": top_input, "output_tokens": output, "iterations": iterations}
    reading = read(AnthropicReader(), json.dumps({"model": "claude-a", "usage": usage}).encode())
    assert reading.passes == passes


def test_a_claude_error_event_is_a_failure() -> None:
    stream = CLAUDE[: CLAUDE.index(b"event: message_delta")] + sse(
        {"type": "error", "error": {"type": "overloaded_error"}}, named=True
    )
    reading = read(AnthropicReader(), stream)
    assert reading.failed
    assert reading.input_only


def test_gemini_media_and_cached_media_have_their_own_buckets() -> None:
    usage = {
        "promptTokenCount": 900,
        "cachedContentTokenCount": 300,
        "toolUsePromptTokenCount": 40,
        "candidatesTokenCount": 120,
        "thoughtsTokenCount": 30,
        "totalTokenCount": 1090,
        "serviceTier": "flex",
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 400},
            {"modality": 2, "tokenCount": 260},
            {"modality": "AUDIO", "tokenCount": 200},
            {"modality": "VIDEO", "tokenCount": 40},
        ],
        "cacheTokensDetails": [
            {"modality": "IMAGE", "tokenCount": 60},
            {"modality": "TEXT", "tokenCount": 240},
        ],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 100}],
    }
    reading = read(GeminiReader(), json.dumps({"usageMetadata": usage}).encode())
    assert reading.usage == Usage(
        input=200,
        cache_read=240,
        cache_read_image=60,
        input_image=200,
        input_audio=200,
        input_video=40,
        output=20,
        output_image=100,
        reasoning=30,
    )
    assert reading.tier == "flex"


@pytest.mark.parametrize(("model", "searches"), [("gemini-2.5-pro", 1), ("gemini-3-pro", 2)])
def test_gemini_grounding_is_per_request_before_gemini_3_and_per_query_after(
    model: str, searches: int
) -> None:
    chunk = {
        "candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b"]}}],
        "usageMetadata": {"promptTokenCount": 1},
        "modelVersion": model,
    }
    usage = read(GeminiReader(), sse(chunk, chunk)).usage
    assert usage == Usage(input=1, web_searches=searches)


def test_gemini_usage_that_the_text_has_outgrown_is_input_only_also_where_it_finished() -> None:
    early = {
        "candidates": [{"content": {"parts": [{"text": "Hi"}]}}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 1},
    }
    last = {"candidates": [{"content": {"parts": [{"text": "word " * 2000}]}, "finishReason": "STOP"}]}
    reading = read(GeminiReader(), sse(early, last))
    assert (reading.complete, reading.input_only) == (True, True)
    assert not read(GeminiReader(), sse(early, last | {"usageMetadata": early["usageMetadata"]})).input_only


def test_a_gemini_stream_is_complete_when_all_its_candidates_are_finished() -> None:
    started: list[dict[str, Any]] = [
        {"candidates": [{"finishReason": "STOP"}]},
        {"candidates": [{"index": 1}]},
    ]
    assert not read(GeminiReader(), sse(*started)).complete
    finished = {"candidates": [{"index": 1, "finishReason": "STOP"}]}
    assert read(GeminiReader(), sse(*started, finished)).complete


def test_a_gemini_array_and_its_error_are_read() -> None:
    chunk = {
        "candidates": [{"content": {"parts": [{"text": "x"}]}}],
        "usageMetadata": {"promptTokenCount": 1},
    }
    reading = read(GeminiReader(), json.dumps([chunk, {"error": {"code": 500}}], indent=1).encode())
    assert (reading.usage, reading.failed, reading.complete) == (Usage(input=1), True, True)
