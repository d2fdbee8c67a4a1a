"""What the Anthropic Python SDK is made to do."""

from __future__ import annotations

from typing import Any

from tests.support.simulator_calls import Call
from tests.support.simulator_calls_openai import PARAMETERS, Event

MODEL = "claude-sonnet-5-5"
PROMPT = [{"role": "user", "content": "Say something nice."}]
TOOL = {"name": "get_weather", "description": "Weather in a city", "input_schema": PARAMETERS}


def _message(name: str, *, method: str = "messages.create", knobs: Any = None, **arguments: Any) -> Call:
    arguments = {"model": MODEL, "max_tokens": 100, "messages": PROMPT, **arguments}
    managed = method.endswith(".stream")
    return Call(
        name,
        "anthropic",
        method,
        arguments,
        MODEL,
        streamed=managed or bool(arguments.get("stream")),
        knobs=knobs or {},
        managed_stream=managed,
    )


_CACHED = {
    "input_tokens": 6000,
    "cached_tokens": 3000,
    "cache_write_tokens": 1500,
    "cache_write_1h_tokens": 500,
}
_THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}
_TOOL_RESULT = [
    *PROMPT,
    {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "21 degrees"}]},
]

ANTHROPIC_CALLS = (
    _message("message"),
    _message("message-capped", max_tokens=4),
    _message("message-stopped", stop_sequences=[" "]),
    _message("message-cached", knobs=_CACHED, system="You are brief."),
    _message("message-thinking", **_THINKING),
    _message("message-tool", tools=[TOOL]),
    _message("message-tool-result", tools=[TOOL], messages=_TOOL_RESULT),
    _message("message-structured", method="messages.parse", output_format=Event),
    _message("message-stream", stream=True),
    _message("message-stream-cached", stream=True, knobs=_CACHED),
    _message("message-stream-thinking", stream=True, **_THINKING),
    _message("message-stream-tool", stream=True, tools=[TOOL]),
    _message("message-stream-in-single-bytes", stream=True, knobs={"write_bytes": 1}),
    _message("message-stream-helper", method="messages.stream"),
    Call(
        "count-tokens",
        "anthropic",
        "messages.count_tokens",
        {"model": MODEL, "messages": PROMPT},
        MODEL,
        metered=False,
    ),
    Call("models", "anthropic", "models.list", {}, metered=False),
)
