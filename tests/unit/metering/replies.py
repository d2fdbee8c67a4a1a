"""Replies as providers send them, shortened, and how to read them."""

from __future__ import annotations

import json
from typing import Any

from gateway.metering.reading import Reading, UsageReader


def sse(*docs: dict[str, Any], named: bool = False, ending: str = "\n") -> bytes:
    out = ""
    for doc in docs:
        name = f"event: {doc['type']}{ending}" if named else ""
        out += f"{name}data: {json.dumps(doc)}{ending}{ending}"
    return out.encode()


def read(reader: UsageReader, *pieces: bytes) -> Reading:
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


def delta(content: str, **more: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": content}, **more}]}


USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
DONE = b"data: [DONE]\n\n"
CHAT = (
    sse(delta("Hel"), delta("lo ä\u2028"), delta("", finish_reason="stop"), {"choices": [], "usage": USAGE})
    + DONE
)
CHAT_CRLF = CHAT.replace(b"\n", b"\r\n")
UNARY = json.dumps(
    {"id": "c1", "model": "m", "choices": [{"message": {"content": "Hi"}}], "usage": USAGE}
).encode()
CLAUDE = sse(
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "model": "claude-x",
            "usage": {
                "input_tokens": 10,
                "cache_creation_input_tokens": 30,
                "cache_read_input_tokens": 5,
                "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
                "output_tokens": 1,
                "service_tier": "standard",
                "speed": "fast",
                "inference_geo": "us",
            },
        },
    },
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {
        "type": "message_delta",
        "delta": {},
        "usage": {"input_tokens": 12, "output_tokens": 9, "server_tool_use": {"web_search_requests": 2}},
    },
    {"type": "message_stop"},
    named=True,
)
GEMINI = sse(
    {
        "candidates": [{"content": {"parts": [{"text": "Hel"}]}}],
        "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
        "modelVersion": "gemini-3",
        "responseId": "r1",
    },
    {
        "candidates": [{"content": {"parts": [{"text": "lo"}]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": 8,
            "candidatesTokenCount": 2,
            "thoughtsTokenCount": 3,
            "totalTokenCount": 13,
        },
    },
    ending="\r\n",
)
RESPONSES = sse(
    {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-x", "service_tier": "auto"}},
    {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hello"},
    {
        "type": "response.completed",
        "response": {
            "id": "resp_1",
            "model": "gpt-x",
            "service_tier": "flex",
            "usage": {
                "input_tokens": 5,
                "input_tokens_details": {"cached_tokens": 2},
                "output_tokens": 7,
                "output_tokens_details": {"reasoning_tokens": 6},
                "total_tokens": 12,
            },
        },
    },
    named=True,
)
