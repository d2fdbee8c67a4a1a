"""What the OpenAI Python SDK is made to do."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from tests.support.simulator_calls import Call

CHAT_MODEL = "gpt-4o-mini"
PROMPT = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Say something nice."}]
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
FUNCTION = {"name": "get_weather", "description": "Weather in a city", "parameters": PARAMETERS}
TOOL = {"type": "function", "function": {**FUNCTION, "strict": True}}
FLAT_TOOL = {"type": "function", **FUNCTION, "strict": True}


class Event(BaseModel):
    """What structured output is asked to be."""

    name: str
    day: int
    guests: list[str]


def _chat(name: str, *, method: str = "chat.completions.create", knobs: Any = None, **arguments: Any) -> Call:
    arguments = {"model": CHAT_MODEL, "messages": PROMPT, **arguments}
    streamed = bool(arguments.get("stream"))
    return Call(name, "openai", method, arguments, CHAT_MODEL, streamed=streamed, knobs=knobs or {})


def _respond(name: str, *, method: str = "responses.create", knobs: Any = None, **arguments: Any) -> Call:
    arguments = {"model": CHAT_MODEL, "input": "Say something nice.", **arguments}
    streamed = bool(arguments.get("stream"))
    return Call(name, "openai", method, arguments, CHAT_MODEL, streamed=streamed, knobs=knobs or {})


def _embed(name: str, model: str = "text-embedding-3-small", **arguments: Any) -> Call:
    arguments = {"model": model, **arguments}
    return Call(name, "openai", "embeddings.create", arguments, model, operation="embedding")


def _image(name: str, model: str, **arguments: Any) -> Call:
    arguments = {"model": model, "prompt": "a small red house", **arguments}
    streamed = bool(arguments.get("stream"))
    return Call(name, "openai", "images.generate", arguments, model, operation="image", streamed=streamed)


_COUNTED = {"include_usage": True}
_TOOL_RESULT = [
    *PROMPT,
    {
        "role": "assistant",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees"},
]
_CACHED = {"input_tokens": 2000, "cached_tokens": 1024, "reasoning_tokens": 40, "output_tokens": 30}

OPENAI_CALLS = (
    _chat("chat"),
    _chat("chat-capped", max_tokens=4),
    _chat("chat-capped-by-the-new-name", max_completion_tokens=4),
    _chat("chat-several-choices", n=3),
    _chat("chat-stopped", stop=[" "]),
    _chat("chat-cached-and-reasoning", knobs=_CACHED),
    _chat("chat-stream", stream=True),
    _chat("chat-stream-with-usage", stream=True, stream_options=_COUNTED),
    _chat("chat-stream-capped", stream=True, max_tokens=3),
    _chat("chat-stream-several-choices", stream=True, n=2, stream_options=_COUNTED),
    _chat("chat-stream-cached-and-reasoning", stream=True, knobs=_CACHED),
    _chat("chat-stream-in-single-bytes", stream=True, knobs={"write_bytes": 1}),
    _chat("chat-stream-at-once", stream=True, knobs={"write_bytes": 1_000_000}),
    _chat("chat-stream-compressed", stream=True, knobs={"gzip": 1}),
    _chat("chat-stream-compressed-at-once", stream=True, knobs={"gzip": 1, "write_bytes": 1_000_000}),
    _chat("chat-compressed", knobs={"gzip": 1}),
    _chat("chat-tool", tools=[TOOL]),
    _chat(
        "chat-tool-named", tools=[TOOL], tool_choice={"type": "function", "function": {"name": "get_weather"}}
    ),
    _chat("chat-tool-stream", tools=[TOOL], stream=True, stream_options=_COUNTED),
    _chat("chat-tool-result", tools=[TOOL], messages=_TOOL_RESULT),
    _chat("chat-structured", method="chat.completions.parse", response_format=Event),
    _chat("chat-long-answer", knobs={"output_tokens": 3000}),
    Call(
        "completion",
        "openai",
        "completions.create",
        {"model": "gpt-3.5-turbo-instruct", "prompt": "Once upon", "max_tokens": 9},
        "gpt-3.5-turbo-instruct",
    ),
    Call(
        "completion-stream-of-two-prompts",
        "openai",
        "completions.create",
        {"model": "gpt-3.5-turbo-instruct", "prompt": ["Once upon", "In the end"], "n": 2, "stream": True},
        "gpt-3.5-turbo-instruct",
        streamed=True,
    ),
    _respond("respond"),
    _respond("respond-capped", max_output_tokens=20, knobs={"output_tokens": 50}),
    _respond(
        "respond-to-messages", input=[{"role": "user", "content": "Hello there"}], instructions="Be brief."
    ),
    _respond("respond-cached-and-reasoning", knobs=_CACHED),
    _respond("respond-stream", stream=True),
    _respond("respond-stream-reasoning", stream=True, knobs=_CACHED),
    _respond("respond-tool", tools=[FLAT_TOOL]),
    _respond("respond-tool-stream", tools=[FLAT_TOOL], stream=True),
    _respond("respond-structured", method="responses.parse", text_format=Event),
    _embed("embed", input="some words to embed"),
    _embed("embed-as-floats", input="some words to embed", encoding_format="float"),
    _embed("embed-several", input=["one text", "another one"], dimensions=64),
    _embed("embed-tokens", input=[[1, 2, 3], [4, 5]]),
    _image("image", "gpt-image-1", size="1024x1024", quality="low"),
    _image("image-stream", "gpt-image-1", quality="low", stream=True, partial_images=2),
    _image("image-by-url", "dall-e-3"),
    Call("models", "openai", "models.list", {}, metered=False),
)
