"""The official Python SDKs understand the simulated provider, and see the usage that is in its books."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.support.simulator import SimulatorProcess, new_label
from tests.support.simulator_calls import Call, Target, call_async, call_sync
from tests.support.simulator_calls_anthropic import ANTHROPIC_CALLS
from tests.support.simulator_calls_gemini import GEMINI_CALLS
from tests.support.simulator_calls_openai import OPENAI_CALLS, Event

CALLS = (*OPENAI_CALLS, *ANTHROPIC_CALLS, *GEMINI_CALLS)
BY_NAME = {f"{call.provider}:{call.name}": call for call in CALLS}


def _id(call: Call) -> str:
    return f"{call.provider}:{call.name}"


def _make(simulator: SimulatorProcess, name: str) -> Any:
    call = BY_NAME[name]
    return call_sync(call, Target(simulator.url, "any-key"), new_label(call.name))[0]


@pytest.mark.parametrize("call", CALLS, ids=_id)
async def test_sync_and_async_clients_get_the_same_result(call: Call, simulator: SimulatorProcess) -> None:
    target, label = Target(simulator.url, "any-key"), new_label(call.name)
    first, _ = call_sync(call, target, label)
    second, _ = await call_async(call, target, label)
    assert first == second
    if call.metered:
        entries = simulator.requests(label, at_least=2)
        assert [entry["outcome"] for entry in entries] == ["completed", "completed"]
        assert [entry["streamed"] for entry in entries] == [call.streamed] * 2
        assert entries[0]["count"] == entries[1]["count"]


@pytest.mark.parametrize("call", [call for call in CALLS if call.metered], ids=_id)
def test_the_sdk_sees_the_usage_that_the_books_have(call: Call, simulator: SimulatorProcess) -> None:
    label = new_label(call.name)
    result, _ = call_sync(call, Target(simulator.url, "any-key"), label)
    [entry] = simulator.requests(label)
    seen = SEEN_USAGE[call.provider](result)
    assert entry["usage_reported"] == (seen is not None)
    if seen is not None:
        count = entry["count"]
        names = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
        assert seen == tuple(count[name] for name in names)


def _openai_usage(result: Any) -> tuple[int, int, int, int] | None:
    last = result if isinstance(result, dict) else _last_with(result, "usage")
    usage = (last.get("response") or last).get("usage") if last else None
    if usage is None:
        return None
    prompt = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    made = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    return (
        usage.get("prompt_tokens", usage.get("input_tokens")),
        prompt.get("cached_tokens", 0),
        usage.get("completion_tokens", usage.get("output_tokens", 0)),
        made.get("reasoning_tokens", 0),
    )


def _last_with(events: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    found = [event for event in events if (event.get("response") or event).get(name)]
    return found[-1] if found else None


def _anthropic_usage(result: Any) -> tuple[int, int, int, int] | None:
    if isinstance(result, dict):
        usage = result["usage"]
    elif result[-1].get("usage"):
        usage = result[-1]["usage"]
    else:
        usage = next(event for event in result if event["type"] == "message_start")["message"]["usage"]
        final = next(event for event in result if event["type"] == "message_delta")["usage"]
        usage = {**usage, **{name: value for name, value in final.items() if value is not None}}
    cached, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0)
    return usage["input_tokens"] + cached + written, cached, usage["output_tokens"], thought


def _gemini_usage(result: Any) -> tuple[int, int, int, int] | None:
    usage = (result if isinstance(result, dict) else result[-1])["usage_metadata"]
    thought = usage.get("thoughts_token_count") or 0
    cached = usage.get("cached_content_token_count") or 0
    return usage["prompt_token_count"], cached, (usage.get("candidates_token_count") or 0) + thought, thought


SEEN_USAGE = {"openai": _openai_usage, "anthropic": _anthropic_usage, "gemini": _gemini_usage}


# ------------------------------------------------------------------ what results contain


def test_a_cap_is_honoured_and_reported(simulator: SimulatorProcess) -> None:
    chat = _make(simulator, "openai:chat-capped")
    assert chat["choices"][0]["finish_reason"] == "length"
    assert chat["usage"]["completion_tokens"] == 4
    response = _make(simulator, "openai:respond-capped")
    assert (response["status"], response["usage"]["output_tokens"]) == ("incomplete", 20)
    message = _make(simulator, "anthropic:message-capped")
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 4)
    generated = _make(simulator, "gemini:generate-capped")
    assert generated["candidates"][0]["finish_reason"] == "MAX_TOKENS"


def test_a_cap_covers_reasoning(simulator: SimulatorProcess) -> None:
    call = Call(
        "capped-reasoning",
        "openai",
        "chat.completions.create",
        {**BY_NAME["openai:chat"].arguments, "max_completion_tokens": 25},
        knobs={"reasoning_tokens": 20, "output_tokens": 50},
    )
    result, _ = call_sync(call, Target(simulator.url, "any-key"), new_label(call.name))
    assert result["usage"]["completion_tokens"] == 25
    assert result["usage"]["completion_tokens_details"]["reasoning_tokens"] == 20
    assert len(result["choices"][0]["message"]["content"].split()) == 5


def test_stop_sequences_end_the_text(simulator: SimulatorProcess) -> None:
    chat = _make(simulator, "openai:chat-stopped")
    assert chat["choices"][0]["finish_reason"] == "stop"
    assert " " not in chat["choices"][0]["message"]["content"]
    message = _make(simulator, "anthropic:message-stopped")
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", " ")


def test_streamed_text_is_the_unary_text(simulator: SimulatorProcess) -> None:
    unary = _make(simulator, "openai:chat")["choices"][0]["message"]["content"]
    chunks = _make(simulator, "openai:chat-stream")
    assert "".join(chunk["choices"][0]["delta"]["content"] or "" for chunk in chunks) == unary
    whole = _make(simulator, "anthropic:message")["content"][0]["text"]
    events = _make(simulator, "anthropic:message-stream")
    deltas = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(deltas) == whole


def test_usage_is_null_in_other_chunks_and_absent_unless_asked_for(simulator: SimulatorProcess) -> None:
    asked = _make(simulator, "openai:chat-stream-with-usage")
    assert [chunk["usage"] for chunk in asked[:-1]] == [None] * (len(asked) - 1)
    assert asked[-1]["choices"] == []
    plain = _make(simulator, "openai:chat-stream")
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in plain)


def test_tools_are_called_with_arguments_that_fit_their_schema(simulator: SimulatorProcess) -> None:
    called = _make(simulator, "openai:chat-tool")["choices"][0]
    assert called["finish_reason"] == "tool_calls"
    arguments = json.loads(called["message"]["tool_calls"][0]["function"]["arguments"])
    assert set(arguments) == {"city", "unit"}
    assert arguments["unit"] in {"c", "f"}
    chunks = _make(simulator, "openai:chat-tool-stream")
    pieces = [
        call["function"]["arguments"]
        for chunk in chunks
        for choice in chunk["choices"]
        for call in choice["delta"]["tool_calls"] or ()
    ]
    assert json.loads("".join(pieces)) == arguments
    block = _make(simulator, "anthropic:message-tool")["content"][0]
    assert (block["type"], set(block["input"])) == ("tool_use", {"city", "unit"})
    part = _make(simulator, "gemini:generate-tool")["candidates"][0]["content"]["parts"][0]
    assert set(part["function_call"]["args"]) == {"city", "unit"}
    item = _make(simulator, "openai:respond-tool")["output"][0]
    assert (item["type"], item["name"]) == ("function_call", "get_weather")


def test_after_a_tool_result_comes_text(simulator: SimulatorProcess) -> None:
    assert _make(simulator, "openai:chat-tool-result")["choices"][0]["finish_reason"] == "stop"
    assert _make(simulator, "anthropic:message-tool-result")["stop_reason"] == "end_turn"


def test_structured_output_is_what_was_asked_for(simulator: SimulatorProcess) -> None:
    chat = _make(simulator, "openai:chat-structured")
    assert Event.model_validate(chat["choices"][0]["message"]["parsed"]).guests
    response = _make(simulator, "openai:respond-structured")
    assert Event.model_validate(response["output"][0]["content"][0]["parsed"])
    message = _make(simulator, "anthropic:message-structured")
    assert Event.model_validate_json(message["content"][0]["text"])
    generated = _make(simulator, "gemini:generate-structured")
    assert Event.model_validate_json(generated["candidates"][0]["content"]["parts"][0]["text"])


def test_embeddings_are_the_same_as_floats_and_as_base64(simulator: SimulatorProcess) -> None:
    by_default = _make(simulator, "openai:embed")["data"][0]["embedding"]
    assert by_default == _make(simulator, "openai:embed-as-floats")["data"][0]["embedding"]
    assert len(by_default) == 1536
    several = _make(simulator, "openai:embed-several")
    assert [len(entry["embedding"]) for entry in several["data"]] == [64, 64]
    assert len(_make(simulator, "gemini:embed")["embeddings"]) == 2


def test_images_come_as_png_or_as_an_address(simulator: SimulatorProcess) -> None:
    image = _make(simulator, "openai:image")
    assert base64.b64decode(image["data"][0]["b64_json"]).startswith(b"\x89PNG")
    assert image["usage"]["output_tokens"] == 272
    by_url = _make(simulator, "openai:image-by-url")
    assert by_url["data"][0]["url"].startswith("https://images.invalid/")
    assert by_url["usage"] is None
    kinds = [event["type"] for event in _make(simulator, "openai:image-stream")]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
