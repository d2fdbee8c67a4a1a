"""OpenAI: POST /v1/responses and /v1/responses/input_tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.simulator.generation import (
    MESSAGE_OVERHEAD_TOKENS,
    Generation,
    Wish,
    characters_in,
    content_tokens,
    generate,
    seed_of,
    words_in,
)
from gateway.simulator.openai_chat import CREATED_S
from gateway.simulator.openai_errors import FAILURE
from gateway.simulator.reply import (
    EVENT_STREAM,
    Ask,
    Count,
    EventWriter,
    Refusal,
    Reply,
    cap_of,
    input_count,
    member,
    unary,
    with_output,
)

FAILURE_EVENT = b"event: error\ndata: %b\n\n" % orjson.dumps(
    {"type": "error", "sequence_number": 0, **FAILURE, "error": FAILURE}
)
Item = dict[str, Any]


def responses(ask: Ask) -> Reply:
    body, model = ask.body, str(member(ask.body, "model", str))
    if "input" not in body:
        raise Refusal(400, "Missing required parameter: 'input'.", param="input")
    wish = Wish(
        cap_tokens=cap_of(body, "max_output_tokens"),
        tool=_tool(body),
        schema=_schema((body.get("text") or {}).get("format")),
    )
    seed = seed_of(model, [body["input"], body.get("instructions"), body.get("tools")])
    made = generate(seed, wish, ask.knobs)
    count = with_output(input_count(_input_tokens(body), ask.knobs), made.tokens, made.reasoning_tokens)
    items = _items(ask, made)
    if body.get("stream"):
        return _stream(ask, made, items, count)
    whole = _response(ask, count, items, _status(made))
    return unary(whole["id"], count, whole, ask.knobs)


def count_input(ask: Ask) -> Reply:
    tokens = _input_tokens(ask.body)
    body = {"object": "response.input_tokens", "input_tokens": tokens}
    return unary("", Count(), body, ask.knobs, usage=False)


def _input_tokens(body: Mapping[str, Any]) -> int:
    given = body.get("input")
    tokens = words_in(body.get("instructions") or "") + characters_in(body.get("tools"))
    if isinstance(given, str):
        return tokens + MESSAGE_OVERHEAD_TOKENS + words_in(given)
    return tokens + sum(MESSAGE_OVERHEAD_TOKENS + _item_tokens(item) for item in given or ())


def _item_tokens(item: Mapping[str, Any]) -> int:
    return content_tokens(item["content"]) if "content" in item else characters_in(item)


def _tool(body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    functions = [tool for tool in body.get("tools") or () if tool.get("type") == "function"]
    choice = body.get("tool_choice", "auto")
    given = body["input"]
    answered = isinstance(given, list) and given and given[-1].get("type") == "function_call_output"
    if isinstance(choice, Mapping):
        functions = [function for function in functions if function["name"] == choice.get("name")]
    elif choice == "none" or (choice == "auto" and answered):
        return None
    return (functions[0]["name"], functions[0].get("parameters") or {}) if functions else None


def _schema(text_format: object) -> Mapping[str, Any] | None:
    if isinstance(text_format, Mapping) and text_format.get("type") == "json_schema":
        return text_format.get("schema") or {}
    return None


def _status(made: Generation) -> str:
    return "incomplete" if made.finish == "length" else "completed"


def _items(ask: Ask, made: Generation) -> list[Item]:
    items: list[Item] = []
    if made.reasoning_tokens:
        items.append({"id": f"rs_{ask.nonce}", "type": "reasoning", "summary": []})
    status = _status(made)
    if made.tool is not None:
        call = {"call_id": f"call_{ask.nonce}", "name": made.tool, "arguments": made.text}
        items.append({"id": f"fc_{ask.nonce}", "type": "function_call", "status": status, **call})
    elif made.pieces:
        part = {"type": "output_text", "text": made.text, "annotations": [], "logprobs": []}
        message = {"id": f"msg_{ask.nonce}", "type": "message", "status": status, "role": "assistant"}
        items.append({**message, "content": [part]})
    return items


def _usage(count: Count) -> Item:
    long_lived = count.cache_write_1h_tokens
    return {
        "input_tokens": count.input_tokens,
        "input_tokens_details": {
            "cached_tokens": count.cached_input_tokens,
            "cache_write_tokens": count.cache_write_tokens,
            "cache_write_tokens_details": {
                "ttl_30m_tokens": count.cache_write_tokens - long_lived,
                "ttl_12h_tokens": long_lived,
            },
        },
        "output_tokens": count.output_tokens,
        "output_tokens_details": {"reasoning_tokens": count.reasoning_tokens},
        "total_tokens": count.input_tokens + count.output_tokens,
    }


def _response(ask: Ask, count: Count, items: list[Item], status: str) -> Item:
    """The response object: final with usage, or as it stands while in progress."""
    body, final = ask.body, status != "in_progress"
    reported = final and not ask.knobs.no_usage
    searches = {"web_search": {"num_requests": count.web_searches}} if count.web_searches else {}
    incomplete = {"reason": "max_output_tokens"} if status == "incomplete" else None
    return {
        "id": f"resp_{ask.nonce}",
        "object": "response",
        "created_at": CREATED_S,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": incomplete,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "model": body["model"],
        "output": items if final else [],
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": ask.knobs.service_tier or "default",
        "store": body.get("store", True),
        "temperature": 1.0,
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": _usage(count) if reported else None,
        **({"tool_usage": searches} if reported and searches else {}),
    }


class _Numbered(EventWriter):
    """Events with the sequence numbers that this API gives them."""

    def emit(self, kind: str, tokens: int = 0, **members: Any) -> None:
        self.add({"type": kind, "sequence_number": len(self.events), **members}, tokens)


def _stream(ask: Ask, made: Generation, items: list[Item], count: Count) -> Reply:
    writer = _Numbered(named=True, pad_bytes=ask.knobs.pad_bytes)
    opening = _response(ask, count, [], "in_progress")
    writer.emit("response.created", response=opening)
    writer.emit("response.in_progress", response=opening)
    for index, item in enumerate(items):
        where: dict[str, Any] = {"item_id": item["id"], "output_index": index}
        if item["type"] == "reasoning":
            writer.emit("response.output_item.added", output_index=index, item=item)
        elif item["type"] == "function_call":
            _stream_call(writer, item, where, made, ask.knobs.tokens_per_event)
        else:
            _stream_message(writer, item, where, made, ask.knobs.tokens_per_event)
        writer.emit("response.output_item.done", output_index=index, item=item)
    status = _status(made)
    writer.emit(f"response.{status}", response=_response(ask, count, items, status))
    return Reply(
        id=str(opening["id"]),
        count=count,
        events=writer.events,
        tokens=writer.tokens,
        streamed=True,
        content_type=EVENT_STREAM,
        terminators=1,
        failure=FAILURE_EVENT,
        reports_usage=not ask.knobs.no_usage,
    )


def _stream_call(writer: _Numbered, item: Item, where: dict[str, Any], made: Generation, size: int) -> None:
    opened = {**item, "status": "in_progress", "arguments": ""}
    writer.emit("response.output_item.added", output_index=where["output_index"], item=opened)
    kind = "response.function_call_arguments"
    for text, tokens in made.batches(size):
        writer.emit(f"{kind}.delta", tokens, **where, delta=text)
    writer.emit(f"{kind}.done", **where, arguments=made.text, name=made.tool)


def _stream_message(
    writer: _Numbered, item: Item, where: dict[str, Any], made: Generation, size: int
) -> None:
    opened = {**item, "status": "in_progress", "content": []}
    writer.emit("response.output_item.added", output_index=where["output_index"], item=opened)
    part = item["content"][0]
    where = {**where, "content_index": 0}
    writer.emit("response.content_part.added", **where, part={**part, "text": ""})
    for text, tokens in made.batches(size):
        writer.emit("response.output_text.delta", tokens, **where, delta=text, logprobs=[])
    writer.emit("response.output_text.done", **where, text=made.text, logprobs=[])
    writer.emit("response.content_part.done", **where, part=part)
