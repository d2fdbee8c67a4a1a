"""OpenAI: POST /v1/images/generations. GPT image models report tokens; DALL-E does not, and may give URLs."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

from gateway.simulator.generation import seed_of, words_in
from gateway.simulator.openai_chat import CREATED_S, choices_of
from gateway.simulator.openai_errors import FAILURE_EVENT
from gateway.simulator.reply import (
    EVENT_STREAM,
    Ask,
    Count,
    EventWriter,
    Reply,
    input_count,
    member,
    unary,
    with_output,
)

OUTPUT_TOKENS = {
    ("low", "1024x1024"): 272,
    ("medium", "1024x1024"): 1056,
    ("high", "1024x1024"): 4160,
    ("low", "1024x1536"): 408,
    ("medium", "1024x1536"): 1584,
    ("high", "1024x1536"): 6240,
    ("low", "1536x1024"): 400,
    ("medium", "1536x1024"): 1568,
    ("high", "1536x1024"): 6208,
}
"""Tokens of one image by quality and size, as OpenAI documents them for gpt-image-1."""
PARTIAL_IMAGE_TOKENS = 100
"""Each partial image of a stream costs so many output tokens more (OpenAI's guide to image generation)."""


def generations(ask: Ask) -> Reply:
    body = ask.body
    model = str(body.get("model") or "dall-e-2")
    prompt = str(member(body, "prompt", str))
    images = choices_of(body, "n")
    seeds = [seed_of(model, prompt) + i for i in range(images)]
    if model.startswith("dall-e"):
        return _dall_e(ask, prompt, seeds)
    quality = body.get("quality") if body.get("quality") in {"low", "medium", "high"} else "medium"
    size = body.get("size") if (quality, body.get("size")) in OUTPUT_TOKENS else "1024x1024"
    count = input_count(words_in(prompt), ask.knobs)
    each = OUTPUT_TOKENS[str(quality), str(size)]
    shape = {"background": "opaque", "output_format": "png", "quality": quality, "size": size}
    if body.get("stream"):
        return _stream(ask, seeds[0], with_output(count, each, 0), shape)
    count = with_output(count, each * images, 0)
    data = [{"b64_json": _base64(seed)} for seed in seeds]
    whole: dict[str, Any] = {"created": CREATED_S, "data": data, **shape}
    if not ask.knobs.no_usage:
        whole["usage"] = _usage(count)
    return unary("", _with_images(count, images), whole, ask.knobs)


def _dall_e(ask: Ask, prompt: str, seeds: list[int]) -> Reply:
    in_base64 = ask.body.get("response_format") == "b64_json"
    data = [
        {
            "revised_prompt": prompt,
            **_image(seed, in_base64),
        }
        for seed in seeds
    ]
    count = Count(images=len(seeds))
    body = {"created": CREATED_S, "data": data}
    return unary("", count, body, ask.knobs, usage=False)


def _stream(ask: Ask, seed: int, count: Count, shape: dict[str, Any]) -> Reply:
    partials = int(ask.body.get("partial_images") or 0)
    count = with_output(count, count.output_tokens + partials * PARTIAL_IMAGE_TOKENS, 0)
    writer = EventWriter(named=True, pad_bytes=ask.knobs.pad_bytes)
    for index in range(partials):
        event = {"type": "image_generation.partial_image", "partial_image_index": index}
        image = {"b64_json": _base64(seed + index + 1), "created_at": CREATED_S}
        writer.add({**event, **image, **shape}, PARTIAL_IMAGE_TOKENS)
    done = {"type": "image_generation.completed", "b64_json": _base64(seed), "created_at": CREATED_S, **shape}
    if not ask.knobs.no_usage:
        done["usage"] = _usage(count)
    writer.add(done, count.output_tokens - partials * PARTIAL_IMAGE_TOKENS)
    return Reply(
        id="",
        count=_with_images(count, 1),
        events=writer.events,
        tokens=writer.tokens,
        streamed=True,
        content_type=EVENT_STREAM,
        terminators=1,
        failure=FAILURE_EVENT,
        reports_usage=not ask.knobs.no_usage,
    )


def _usage(count: Count) -> dict[str, Any]:
    return {
        "input_tokens": count.input_tokens,
        "input_tokens_details": {"text_tokens": count.input_tokens, "image_tokens": 0},
        "output_tokens": count.output_tokens,
        "total_tokens": count.input_tokens + count.output_tokens,
    }


def _with_images(count: Count, images: int) -> Count:
    return Count(input_tokens=count.input_tokens, output_tokens=count.output_tokens, images=images)


def _image(seed: int, in_base64: bool) -> dict[str, str]:
    return {"b64_json": _base64(seed)} if in_base64 else {"url": f"https://images.invalid/{seed:x}.png"}


def _base64(seed: int) -> str:
    return base64.b64encode(_png(seed)).decode()


def _png(seed: int) -> bytes:
    """A valid PNG of one pixel, coloured by the seed."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixel = bytes([0, seed & 255, seed >> 8 & 255, seed >> 16 & 255])
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    image = zlib.compress(pixel)
    return b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", image) + block(b"IEND", b"")
