"""Gemini: models/MODEL:VERB for generating, embedding and counting, under /v1, /v1beta and /v1alpha."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from gateway.simulator.generation import Generation, Wish, characters_in, content_tokens, generate, seed_of
from gateway.simulator.openai_chat import choices_of, stops_of
from gateway.simulator.reply import (
    EVENT_STREAM,
    JSON,
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
from gateway.simulator.vectors import vector

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP"}
DIMENSIONS_DEFAULT = 3072


def error_body(status: int, message: str, param: str | None) -> dict[str, Any]:
    kind = STATUSES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    named = f"{param}: {message}" if param else message
    return {"error": {"code": status, "message": named, "status": kind}}


def member_of(body: Mapping[str, Any], name: str) -> Any:
    """A member by its JSON name or its field name (``snake_case``): this API takes either, and the SDK mixes
    them. Where a request has both, the latter is taken.
    """
    field_name = re.sub("([A-Z])", lambda letter: "_" + letter[1].lower(), name)
    return body.get(field_name, body.get(name))


def _named(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One member under its JSON name."""
    return {name: member_of(body, name)}


def answer(ask: Ask) -> Reply:
    verb = VERBS.get(ask.verb)
    if verb is None:
        raise Refusal(404, f"models/{ask.model} does not support {ask.verb!r}.")
    return verb(ask)


def _generate(ask: Ask) -> Reply:
    body = ask.body
    contents = member(body, "contents", list)
    config = member_of(body, "generationConfig") or {}
    wish = Wish(
        cap_tokens=cap_of(_named(config, "maxOutputTokens"), "maxOutputTokens"),
        stops=stops_of(member_of(config, "stopSequences")),
        tool=_tool(body, contents),
        schema=_schema(config),
    )
    seed = seed_of(ask.model, [contents, member_of(body, "systemInstruction"), body.get("tools")])
    choices = [
        generate(seed + i, wish, ask.knobs)
        for i in range(choices_of(_named(config, "candidateCount"), "candidateCount"))
    ]
    count = with_output(
        input_count(_input_tokens(body), ask.knobs),
        sum(choice.tokens for choice in choices),
        sum(choice.reasoning_tokens for choice in choices),
    )
    if ask.verb == "streamGenerateContent":
        return _stream(ask, choices, count)
    candidates = [_candidate(i, choice, _parts(choice), choice.finish) for i, choice in enumerate(choices)]
    return unary(ask.nonce, count, _response(ask, candidates, count), ask.knobs)


def _embed(ask: Ask) -> Reply:
    batch = ask.verb == "batchEmbedContents"
    asked = member(ask.body, "requests", list) if batch else [ask.body]
    found, tokens = [], 0
    for request in asked:
        content = member(request, "content", Mapping)
        options = member_of(request, "embedContentConfig") or request
        size = member_of(options, "outputDimensionality") or DIMENSIONS_DEFAULT
        found.append({"values": vector(seed_of(ask.model, content), size)})
        tokens += content_tokens(content.get("parts"))
    count = input_count(tokens, ask.knobs)
    whole: dict[str, Any] = {"embeddings": found} if batch else {"embedding": found[0]}
    if not ask.knobs.no_usage:
        whole["usageMetadata"] = {"promptTokenCount": count.input_tokens}
    return unary("", count, whole, ask.knobs)


def _count_tokens(ask: Ask) -> Reply:
    body = member_of(ask.body, "generateContentRequest") or ask.body
    total = _input_tokens(body)
    details = [{"modality": "TEXT", "tokenCount": total}]
    return unary("", Count(), {"totalTokens": total, "promptTokensDetails": details}, ask.knobs, usage=False)


VERBS: dict[str, Callable[[Ask], Reply]] = {
    "generateContent": _generate,
    "streamGenerateContent": _generate,
    "embedContent": _embed,
    "batchEmbedContents": _embed,
    "countTokens": _count_tokens,
}


def _input_tokens(body: Mapping[str, Any]) -> int:
    system = (member_of(body, "systemInstruction") or {}).get("parts")
    tokens = sum(content_tokens(content.get("parts")) for content in body.get("contents") or ())
    return tokens + content_tokens(system) + characters_in(body.get("tools"))


def _tool(body: Mapping[str, Any], contents: list[Any]) -> tuple[str, Mapping[str, Any]] | None:
    declared = [
        function
        for tool in body.get("tools") or ()
        for function in member_of(tool, "functionDeclarations") or ()
    ]
    config = member_of(member_of(body, "toolConfig") or {}, "functionCallingConfig") or {}
    mode = config.get("mode", "AUTO")
    allowed = member_of(config, "allowedFunctionNames")
    answered = bool(contents) and any(
        member_of(part, "functionResponse") for part in contents[-1].get("parts") or ()
    )
    if mode == "NONE" or (mode == "AUTO" and answered):
        return None
    if allowed:
        declared = [function for function in declared if function["name"] in allowed]
    if not declared:
        return None
    schema = (
        member_of(declared[0], "parametersJsonSchema") or declared[0].get("parameters") or {"type": "object"}
    )
    return declared[0]["name"], schema


def _schema(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if member_of(config, "responseMimeType") != "application/json":
        return None
    plain = {"type": "object", "properties": {"result": {"type": "string"}}}
    return member_of(config, "responseJsonSchema") or member_of(config, "responseSchema") or plain


def _parts(choice: Generation) -> list[dict[str, Any]]:
    """A function call comes whole: this API does not send arguments in pieces."""
    if choice.tool is None:
        return [{"text": choice.text}] if choice.pieces else []
    if choice.finish != "tool":
        return []
    signature = base64.b64encode(b"simulated").decode()
    call = {"name": choice.tool, "args": orjson.loads(choice.text)}
    return [{"functionCall": call, "thoughtSignature": signature}]


def _candidate(
    index: int, choice: Generation, parts: list[dict[str, Any]], finish: str | None
) -> dict[str, Any]:
    found: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": index}
    return found if finish is None else {**found, "finishReason": FINISH[finish]}


def _response(ask: Ask, candidates: list[dict[str, Any]], count: Count) -> dict[str, Any]:
    whole: dict[str, Any] = {"candidates": candidates}
    if not ask.knobs.no_usage:
        whole["usageMetadata"] = _usage(count)
    return {**whole, "modelVersion": ask.model, "responseId": ask.nonce}


def _usage(count: Count) -> dict[str, Any]:
    """Cached tokens are inside the prompt, thoughts beside the candidates."""
    usage: dict[str, Any] = {
        "promptTokenCount": count.input_tokens,
        "candidatesTokenCount": count.output_tokens - count.reasoning_tokens,
        "totalTokenCount": count.input_tokens + count.output_tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": count.input_tokens}],
    }
    if count.cached_input_tokens:
        usage["cachedContentTokenCount"] = count.cached_input_tokens
    if count.reasoning_tokens:
        usage["thoughtsTokenCount"] = count.reasoning_tokens
    return usage


def _stream(ask: Ask, choices: list[Generation], count: Count) -> Reply:
    """Each chunk carries the usage so far; the last one seen counts."""
    pieces = [
        chunk for i, choice in enumerate(choices) for chunk in _chunks(i, choice, ask.knobs.tokens_per_event)
    ]
    reasoning = count.reasoning_tokens
    so_far, writer = 0, EventWriter()
    for number, (candidate, tokens) in enumerate(pieces):
        so_far += tokens
        last = number == len(pieces) - 1
        stand = count if last else with_output(count, max(so_far, reasoning), reasoning)
        response = _response(ask, [candidate], stand)
        if number == 0 and ask.knobs.pad_bytes:
            response["x_padding"] = "x" * ask.knobs.pad_bytes
        writer.raw(_framed(orjson.dumps(response), number, last, sse=ask.sse), tokens)
    failure = orjson.dumps(error_body(503, "The simulated model is overloaded.", None))
    return Reply(
        id=ask.nonce,
        count=count,
        events=writer.events,
        tokens=writer.tokens,
        streamed=True,
        content_type=EVENT_STREAM if ask.sse else JSON,
        terminators=1,
        failure=b"data: %b\r\n\r\n" % failure if ask.sse else b",\r\n%b\n]" % failure,
        reports_usage=not ask.knobs.no_usage,
    )


def _chunks(index: int, choice: Generation, size: int) -> list[tuple[dict[str, Any], int]]:
    if choice.tool is not None:
        return [(_candidate(index, choice, _parts(choice), choice.finish), choice.tokens)]
    batches = choice.batches(size) or [("", choice.tokens)]
    found = []
    for number, (text, tokens) in enumerate(batches):
        finish = choice.finish if number == len(batches) - 1 else None
        found.append((_candidate(index, choice, [{"text": text}], finish), tokens))
    return found


def _framed(chunk: bytes, number: int, last: bool, *, sse: bool) -> bytes:
    if sse:
        return b"data: %b\r\n\r\n" % chunk
    return (b"[" if number == 0 else b",\r\n") + chunk + (b"\n]" if last else b"")
