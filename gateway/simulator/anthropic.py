"""Anthropic: POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.simulator.generation import (
    MESSAGE_OVERHEAD_TOKENS,
    Generation,
    Wish,
    characters_in,
    content_tokens,
    generate,
    prose,
    seed_of,
)
from gateway.simulator.openai_chat import stops_of
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

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
THINKING_TOKENS = 16
"""Thought spent where a request enables thinking and no knob says how much."""
FINISH = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use"}


def error_body(status: int, message: str, param: str | None) -> dict[str, Any]:
    kind = ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    named = f"{param}: {message}" if param else message
    return {"type": "error", "error": {"type": kind, "message": named}, "request_id": "req_simulated"}


FAILURE_EVENT = b"event: error\ndata: %b\n\n" % orjson.dumps(error_body(529, "Overloaded", None))


@dataclass(frozen=True, slots=True)
class _Block:
    """One content block: as it stands whole, as it opens in a stream, and its deltas with their tokens."""

    whole: dict[str, Any]
    opening: dict[str, Any]
    deltas: list[tuple[dict[str, Any], int]]


def messages(ask: Ask) -> Reply:
    body, model = ask.body, str(member(ask.body, "model", str))
    cap = cap_of(body, "max_tokens")
    if cap is None:
        raise Refusal(400, "Field required", param="max_tokens")
    turns = member(body, "messages", list)
    thinking = body.get("thinking") or {}
    budget = int(thinking.get("budget_tokens") or THINKING_TOKENS)
    if thinking.get("type") == "enabled" and budget >= cap:
        raise Refusal(400, "`max_tokens` must be greater than `thinking.budget_tokens`.", param="max_tokens")
    thinks = thinking.get("type") in {"enabled", "adaptive"}
    wish = Wish(
        cap_tokens=cap,
        stops=stops_of(body.get("stop_sequences")),
        tool=_tool(body, turns),
        schema=_schema(body),
        reasoning_tokens=min(budget, THINKING_TOKENS) if thinks else 0,
    )
    seed = seed_of(model, [turns, body.get("system"), body.get("tools")])
    made = generate(seed, wish, ask.knobs)
    count = with_output(input_count(_input_tokens(body), ask.knobs), made.tokens, made.reasoning_tokens)
    blocks = _blocks(ask, made, seed, visible_thought=thinks)
    if body.get("stream"):
        return _stream(ask, model, blocks, count, made)
    whole = _message(ask, model, [block.whole for block in blocks], _ending(made))
    if not ask.knobs.no_usage:
        whole["usage"] = _usage(count, ask)
    return unary(whole["id"], count, whole, ask.knobs)


def count_tokens(ask: Ask) -> Reply:
    member(ask.body, "messages", list)
    return unary("", Count(), {"input_tokens": _input_tokens(ask.body)}, ask.knobs, usage=False)


def _input_tokens(body: Mapping[str, Any]) -> int:
    turns = body.get("messages") or ()
    tokens = sum(MESSAGE_OVERHEAD_TOKENS + content_tokens(turn.get("content")) for turn in turns)
    return tokens + content_tokens(body.get("system")) + characters_in(body.get("tools"))


def _tool(body: Mapping[str, Any], turns: list[Any]) -> tuple[str, Mapping[str, Any]] | None:
    tools = [tool for tool in body.get("tools") or () if "input_schema" in tool]
    choice = body.get("tool_choice") or {"type": "auto"}
    last = turns[-1].get("content") if turns else None
    answered = isinstance(last, list) and any(part.get("type") == "tool_result" for part in last)
    if choice["type"] == "tool":
        tools = [tool for tool in tools if tool["name"] == choice.get("name")]
    elif choice["type"] == "none" or (choice["type"] == "auto" and answered):
        return None
    return (tools[0]["name"], tools[0]["input_schema"]) if tools else None


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
    return wanted.get("schema") if isinstance(wanted, Mapping) else None


def _blocks(ask: Ask, made: Generation, seed: int, *, visible_thought: bool) -> list[_Block]:
    blocks: list[_Block] = []
    size = ask.knobs.tokens_per_event
    batches = made.batches(size)
    if visible_thought and made.reasoning_tokens:
        blocks.append(_thinking(made, seed))
        batches = [(text, tokens) for text, tokens in batches]
        if batches:
            batches[0] = (batches[0][0], batches[0][1] - made.reasoning_tokens)
    if made.tool is not None:
        opening = {"type": "tool_use", "id": f"toolu_{ask.nonce}", "name": made.tool, "input": {}}
        whole = {**opening, "input": orjson.loads(made.text) if made.finish == "tool" else {}}
        deltas = [({"type": "input_json_delta", "partial_json": text}, tokens) for text, tokens in batches]
        blocks.append(_Block(whole, opening, deltas))
    elif made.pieces:
        texts = [({"type": "text_delta", "text": text}, tokens) for text, tokens in batches]
        whole = {"type": "text", "text": made.text, "citations": None}
        blocks.append(_Block(whole, {**whole, "text": ""}, texts))
    return blocks


def _thinking(made: Generation, seed: int) -> _Block:
    words = prose(seed ^ 0x5EED, made.reasoning_tokens)
    signature = base64.b64encode(f"signed {seed:x}".encode()).decode()
    deltas: list[tuple[dict[str, Any], int]] = [
        ({"type": "thinking_delta", "thinking": word}, 1) for word in words
    ]
    deltas.append(({"type": "signature_delta", "signature": signature}, 0))
    opening = {"type": "thinking", "thinking": "", "signature": ""}
    return _Block({**opening, "thinking": "".join(words), "signature": signature}, opening, deltas)


def _ending(made: Generation) -> dict[str, Any]:
    if made.stop_sequence is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": made.stop_sequence}
    return {"stop_reason": FINISH[made.finish], "stop_sequence": None}


def _message(ask: Ask, model: str, content: list[dict[str, Any]], ending: dict[str, Any]) -> dict[str, Any]:
    head = {"id": f"msg_{ask.nonce}", "type": "message", "role": "assistant", "model": model}
    return {**head, "content": content, **ending}


def _usage(count: Count, ask: Ask) -> dict[str, Any]:
    """Cached and written tokens are beside ``input_tokens``, thinking is inside ``output_tokens``."""
    cached, written, long = count.cached_input_tokens, count.cache_write_tokens, count.cache_write_1h_tokens
    usage: dict[str, Any] = {
        "input_tokens": count.input_tokens - cached - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "cache_creation": {"ephemeral_5m_input_tokens": written - long, "ephemeral_1h_input_tokens": long},
        "output_tokens": count.output_tokens,
        "service_tier": ask.knobs.service_tier or "standard",
    }
    if count.reasoning_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": count.reasoning_tokens}
    if count.web_searches:
        searches = {"web_search_requests": count.web_searches, "web_fetch_requests": 0}
        usage["server_tool_use"] = searches
    return usage


def _stream(ask: Ask, model: str, blocks: list[_Block], count: Count, made: Generation) -> Reply:
    reported = not ask.knobs.no_usage
    writer = EventWriter(named=True, pad_bytes=ask.knobs.pad_bytes)
    start = _message(ask, model, [], {"stop_reason": None, "stop_sequence": None})
    if reported:
        start["usage"] = {**_usage(with_output(count, 1, 0), ask)}
    writer.add({"type": "message_start", "message": start})
    for index, block in enumerate(blocks):
        writer.add({"type": "content_block_start", "index": index, "content_block": block.opening})
        if index == 0:
            writer.add({"type": "ping"})
        for delta, tokens in block.deltas:
            writer.add({"type": "content_block_delta", "index": index, "delta": delta}, tokens)
        writer.add({"type": "content_block_stop", "index": index})
    ending: dict[str, Any] = {"type": "message_delta", "delta": _ending(made)}
    if reported:
        final = _usage(count, ask)
        ending["usage"] = {
            name: final[name] for name in final if name not in {"cache_creation", "service_tier"}
        }
    writer.add(ending)
    writer.add({"type": "message_stop"})
    return Reply(
        id=start["id"],
        count=count,
        events=writer.events,
        tokens=writer.tokens,
        streamed=True,
        content_type=EVENT_STREAM,
        terminators=1,
        failure=FAILURE_EVENT,
        reports_usage=reported,
    )
