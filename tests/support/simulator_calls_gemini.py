"""What the Google Gen AI Python SDK is made to do."""

from __future__ import annotations

from typing import Any

from google.genai import types

from tests.support.simulator_calls import Call
from tests.support.simulator_calls_openai import PARAMETERS, Event

MODEL = "gemini-2.5-flash"
EMBEDDING_MODEL = "gemini-embedding-001"
_FUNCTION = types.FunctionDeclaration(
    name="get_weather", description="Weather in a city", parameters_json_schema=PARAMETERS
)
_TOOLS = {"tools": [types.Tool(function_declarations=[_FUNCTION])]}
_STRUCTURED = {"response_mime_type": "application/json", "response_schema": Event}
_CACHED = {"input_tokens": 2000, "cached_tokens": 1024, "reasoning_tokens": 40, "output_tokens": 30}


def _generate(name: str, *, knobs: Any = None, **config: Any) -> Call:
    return _of("models.generate_content", name, knobs, config)


def _stream(name: str, *, knobs: Any = None, **config: Any) -> Call:
    return _of("models.generate_content_stream", name, knobs, config)


def _of(method: str, name: str, knobs: Any, config: dict[str, Any]) -> Call:
    arguments: dict[str, Any] = {"model": MODEL, "contents": "Say something nice."}
    if config:
        arguments["config"] = types.GenerateContentConfig(**config)
    streamed = method.endswith("_stream")
    return Call(name, "gemini", method, arguments, MODEL, streamed=streamed, knobs=knobs or {})


GEMINI_CALLS = (
    _generate("generate"),
    _generate("generate-capped", max_output_tokens=4),
    _generate("generate-several-candidates", candidate_count=2),
    _generate("generate-cached-and-thinking", knobs=_CACHED),
    _generate("generate-with-system", system_instruction="You are brief.", stop_sequences=[" "]),
    _generate("generate-tool", **_TOOLS),
    _generate("generate-structured", **_STRUCTURED),
    _stream("generate-stream"),
    _stream("generate-stream-capped", max_output_tokens=3),
    _stream("generate-stream-cached-and-thinking", knobs=_CACHED),
    _stream("generate-stream-tool", **_TOOLS),
    _stream("generate-stream-structured", **_STRUCTURED),
    _stream("generate-stream-in-single-bytes", knobs={"write_bytes": 1}),
    Call(
        "embed",
        "gemini",
        "models.embed_content",
        {"model": EMBEDDING_MODEL, "contents": ["some words", "and others"]},
        EMBEDDING_MODEL,
        operation="embedding",
    ),
    Call(
        "count-tokens",
        "gemini",
        "models.count_tokens",
        {"model": MODEL, "contents": "Say something nice."},
        MODEL,
        metered=False,
    ),
)
