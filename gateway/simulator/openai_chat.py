"""OpenAI: POST /v1/chat/completions and the older /v1/completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.simulator.generation import (
    MESSAGE_OVERHEAD_TOKENS,
    Generation,
    Wish,
    characters_in,
    content_tokens,
    generate,
    seed_of,
)
from gateway.simulator.knobs import Knobs
from gateway.simulator.openai_errors import FAILURE_EVENT
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

CREATED_S = 1_790_000_000
"""Replies must not depend on the clock, or two of them could not be compared."""
DONE = b"data: [DONE]\n\n"
CHOICES_MAX = 128
FINISH = {"tool": "tool_calls"}
"""Where this dialect's word for the end differs from ours."""


def chat(ask: Ask) -> Reply:
    body, model = ask.body, str(member(ask.body, "model", str))
    messages = member(body, "messages", list)
    if not messages:
        raise Refusal(400, "'messages' must not be empty.", param="messages")
    wish = Wish(
        cap_tokens=cap_of(body, "max_tokens", "max_completion_tokens"),
        stops=stops_of(body.get("stop")),
        tool=_tool(body, messages),
        schema=_schema(body.get("response_format")),
    )
    seed = seed_of(model, [messages, body.get("tools")])
    choices = [generate(seed + i, wish, ask.knobs) for i in range(choices_of(body, "n"))]
    tokens = sum(
        MESSAGE_OVERHEAD_TOKENS + content_tokens(m.get("content")) + characters_in(m.get("tool_calls"))
        for m in messages
    )
    count = _count(tokens + characters_in(body.get("tools")), choices, ask.knobs)
    head = _head(f"chatcmpl-{ask.nonce}", "chat.completion", model, ask.knobs)
    if body.get("stream"):
        return _chat_stream(ask, head, choices, count)
    return unary(
        head["id"],
        count,
        {
            **head,
            "choices": [_chat_choice(i, choice, ask.nonce) for i, choice in enumerate(choices)],
            **({} if ask.knobs.no_usage else {"usage": usage_of(count)}),
        },
        ask.knobs,
    )


def completions(ask: Ask) -> Reply:
    body, model = ask.body, str(member(ask.body, "model", str))
    prompts = _prompts(body.get("prompt", ""))
    each, best_of = choices_of(body, "n"), choices_of(body, "best_of")
    wish = Wish(cap_tokens=cap_of(body, "max_tokens") or 16, stops=stops_of(body.get("stop")))
    drafts = [
        [generate(seed_of(model, prompt) + i, wish, ask.knobs) for i in range(max(each, best_of))]
        for prompt in prompts
    ]
    shown = [choice for drafted in drafts for choice in drafted[:each]]
    tokens = sum(len(p) if isinstance(p, list) else content_tokens(p) for p in prompts)
    count = _count(tokens, [choice for drafted in drafts for choice in drafted], ask.knobs)
    head = _head(f"cmpl-{ask.nonce}", "text_completion", model, ask.knobs)
    if body.get("stream"):
        return _completion_stream(ask, head, shown, count)
    return unary(
        head["id"],
        count,
        {
            **head,
            "choices": [
                {"index": i, "text": choice.text, "logprobs": None, "finish_reason": choice.finish}
                for i, choice in enumerate(shown)
            ],
            **({} if ask.knobs.no_usage else {"usage": usage_of(count)}),
        },
        ask.knobs,
    )


def usage_of(count: Count) -> dict[str, Any]:
    """Cached, written and reasoning tokens are inside the totals."""
    return {
        "prompt_tokens": count.input_tokens,
        "completion_tokens": count.output_tokens,
        "total_tokens": count.input_tokens + count.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": count.cached_input_tokens,
            "cache_write_tokens": count.cache_write_tokens,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": count.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def stops_of(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(stop) for stop in value) if isinstance(value, Sequence) else ()


def choices_of(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if value is None:
        return 1
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= CHOICES_MAX:
        raise Refusal(400, f"'{name}' must be an integer between 1 and {CHOICES_MAX}.", param=name)
    return value


def _count(input_tokens: int, choices: Sequence[Generation], knobs: Knobs) -> Count:
    return with_output(
        input_count(input_tokens, knobs),
        sum(choice.tokens for choice in choices),
        sum(choice.reasoning_tokens for choice in choices),
    )


def _head(reply_id: str, kind: str, model: str, knobs: Knobs) -> dict[str, Any]:
    return {
        "id": reply_id,
        "object": kind,
        "created": CREATED_S,
        "model": model,
        "service_tier": knobs.service_tier or "default",
        "system_fingerprint": "fp_simulated",
    }


def _tool(body: Mapping[str, Any], messages: list[Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The function to call: the one that was named, else the first, unless its result is already there."""
    functions = [tool["function"] for tool in body.get("tools") or () if tool.get("type") == "function"]
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, Mapping):
        wanted = choice.get("function", {}).get("name")
        functions = [function for function in functions if function["name"] == wanted]
    elif choice == "none" or (choice == "auto" and messages[-1].get("role") == "tool"):
        return None
    return (functions[0]["name"], functions[0].get("parameters") or {}) if functions else None


def _schema(response_format: object) -> Mapping[str, Any] | None:
    if not isinstance(response_format, Mapping):
        return None
    if response_format.get("type") == "json_schema":
        return response_format["json_schema"].get("schema") or {}
    if response_format.get("type") == "json_object":
        return {"type": "object", "properties": {"result": {"type": "string"}}}
    return None


def _prompts(prompt: object) -> list[Any]:
    """A prompt is a string or a list of tokens; several are a list of those."""
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return prompt
    return [prompt]


def _chat_choice(index: int, choice: Generation, nonce: str) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": choice.text,
        "refusal": None,
        "annotations": [],
    }
    if choice.tool is not None:
        function = {"name": choice.tool, "arguments": choice.text}
        message["content"] = None
        message["tool_calls"] = [{"id": f"call_{nonce}_{index}", "type": "function", "function": function}]
    finish = FINISH.get(choice.finish, choice.finish)
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish}


class _Chunks:
    """Writes the chunks of one stream: the constant members around each choice, usage null until the end."""

    def __init__(self, ask: Ask, head: dict[str, Any], object_name: str) -> None:
        self.writer = EventWriter(pad_bytes=ask.knobs.pad_bytes)
        options = ask.body.get("stream_options") or {}
        self._asked = bool(options.get("include_usage")) and not ask.knobs.no_usage
        self._head = {**head, "object": object_name}
        self._null = {"usage": None} if self._asked else {}

    def choice(self, choice: dict[str, Any], tokens: int = 0) -> None:
        self.writer.add({**self._head, "choices": [choice], **self._null}, tokens)

    def end(self, count: Count) -> Reply:
        if self._asked:
            self.writer.add({**self._head, "choices": [], "usage": usage_of(count)})
        self.writer.raw(DONE)
        return Reply(
            id=self._head["id"],
            count=count,
            events=self.writer.events,
            tokens=self.writer.tokens,
            streamed=True,
            content_type=EVENT_STREAM,
            terminators=1,
            failure=FAILURE_EVENT,
            reports_usage=self._asked,
        )


def _chat_stream(ask: Ask, head: dict[str, Any], choices: list[Generation], count: Count) -> Reply:
    chunks = _Chunks(ask, head, "chat.completion.chunk")

    def delta(index: int, delta: dict[str, Any], finish: str | None = None, tokens: int = 0) -> None:
        chunks.choice({"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}, tokens)

    for index, choice in enumerate(choices):
        opening: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
        if choice.tool is not None:
            function = {"name": choice.tool, "arguments": ""}
            call = {"index": 0, "id": f"call_{ask.nonce}_{index}", "type": "function", "function": function}
            opening = {"role": "assistant", "content": None, "tool_calls": [call]}
        delta(index, opening)
        for text, tokens in choice.batches(ask.knobs.tokens_per_event):
            part: dict[str, Any] = {"content": text}
            if choice.tool is not None:
                part = {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
            delta(index, part, tokens=tokens)
    for index, choice in enumerate(choices):
        delta(index, {}, FINISH.get(choice.finish, choice.finish))
    return chunks.end(count)


def _completion_stream(ask: Ask, head: dict[str, Any], shown: list[Generation], count: Count) -> Reply:
    chunks = _Chunks(ask, head, "text_completion")
    for index, choice in enumerate(shown):
        for text, tokens in choice.batches(ask.knobs.tokens_per_event):
            chunks.choice({"index": index, "text": text, "logprobs": None, "finish_reason": None}, tokens)
        chunks.choice({"index": index, "text": "", "logprobs": None, "finish_reason": choice.finish})
    return chunks.end(count)
