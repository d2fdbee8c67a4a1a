"""What goes over the wire in every measurement: the same requests, the same replies, for every contender."""

from __future__ import annotations

import json
from typing import Any

PATH = "/v1/chat/completions"
MODEL = "gpt-4o-mini"
STREAM_HEADER = "x-bench-stream"
"""``chunks,interval_ms``: how the provider should pace its stream. Proxies pass it on like any header."""

PROMPT = "Summarise the following notes for a colleague who was not at the meeting. " * 6
REPLY = "The team agreed to ship the smaller change first and to measure before the next one. " * 4

# What the official Python SDK sends.
SDK_HEADERS = {
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": "OpenAI/Python 2.8.1",
    "x-stainless-lang": "python",
    "x-stainless-package-version": "2.8.1",
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.12.3",
    "x-stainless-async": "false",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "600",
}

_HEAD = {
    "id": "chatcmpl-CbenchmarkBenchmarkBenchmark1",
    "created": 1767225600,
    "model": "gpt-4o-mini-2024-07-18",
}
USAGE = {
    "prompt_tokens": 103,
    "completion_tokens": 72,
    "total_tokens": 175,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def request(key: str, stream: tuple[int, int] | None) -> bytes:
    """One HTTP request; ``stream`` is (chunks, interval in ms), None asks for a JSON reply."""
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "You are a careful assistant."},
            {"role": "user", "content": PROMPT},
        ],
        "temperature": 0.2,
    }
    headers = {"host": "127.0.0.1", **SDK_HEADERS, "authorization": f"Bearer {key}"}
    if stream is not None:
        body["stream"] = True
        headers[STREAM_HEADER] = "{},{}".format(*stream)
    content = json.dumps(body, separators=(",", ":")).encode()
    headers["content-length"] = str(len(content))
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def unary_reply() -> bytes:
    """A whole HTTP reply."""
    message: dict[str, Any] = {"role": "assistant", "content": REPLY, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    document = {
        **_HEAD,
        "object": "chat.completion",
        "choices": [choice],
        "usage": USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_560af6e559",
    }
    content = json.dumps(document, separators=(",", ":")).encode()
    return _reply_head("application/json", f"content-length: {len(content)}") + content


def stream_head() -> bytes:
    """Status line and headers of a streamed reply."""
    return _reply_head("text/event-stream; charset=utf-8", "transfer-encoding: chunked")


def stream_chunk(usage_asked: bool) -> bytes:
    """One event of one token, framed as one HTTP chunk. Where usage was asked for, OpenAI says null in each."""
    choice = {"index": 0, "delta": {"content": " measured"}, "logprobs": None, "finish_reason": None}
    return _event([choice], {"usage": None} if usage_asked else {})


def stream_end(usage_asked: bool) -> bytes:
    """The usage event if it was asked for, ``[DONE]``, and the last chunk."""
    usage = _event([], {"usage": USAGE}) if usage_asked else b""
    return usage + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _event(choices: list[Any], more: dict[str, Any]) -> bytes:
    document = {
        **_HEAD,
        "object": "chat.completion.chunk",
        "service_tier": "default",
        "system_fingerprint": "fp_560af6e559",
        "choices": choices,
        **more,
    }
    return _chunk(b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _reply_head(content_type: str, framing: str) -> bytes:
    lines = (
        "HTTP/1.1 200 OK",
        "date: Thu, 01 Jan 2026 00:00:00 GMT",
        f"content-type: {content_type}",
        framing,
        "openai-organization: bench",
        "openai-processing-ms: 412",
        "openai-version: 2020-10-01",
        "x-ratelimit-limit-requests: 10000",
        "x-ratelimit-remaining-requests: 9999",
        "x-request-id: req_benchmarkbenchmarkbenchmark0001",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n"
