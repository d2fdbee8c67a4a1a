"""OpenAI: POST /v1/embeddings."""

from __future__ import annotations

import base64
from typing import Any

from gateway.simulator.generation import seed_of, words_in
from gateway.simulator.reply import Ask, Refusal, Reply, input_count, member, unary
from gateway.simulator.vectors import packed, vector

DIMENSIONS = {"text-embedding-3-large": 3072}
DIMENSIONS_DEFAULT = 1536


def embeddings(ask: Ask) -> Reply:
    body, model = ask.body, str(member(ask.body, "model", str))
    inputs = _inputs(member(body, "input", (str, list)))
    dimensions = body.get("dimensions") or DIMENSIONS.get(model, DIMENSIONS_DEFAULT)
    in_base64 = body.get("encoding_format") == "base64"
    data: list[dict[str, Any]] = []
    for index, text in enumerate(inputs):
        values = vector(seed_of(model, text), dimensions)
        shown = base64.b64encode(packed(values)).decode() if in_base64 else values
        data.append({"object": "embedding", "index": index, "embedding": shown})
    tokens = sum(words_in(text) if isinstance(text, str) else len(text) for text in inputs)
    count = input_count(tokens, ask.knobs)
    usage = {"prompt_tokens": count.input_tokens, "total_tokens": count.input_tokens}
    whole: dict[str, Any] = {"object": "list", "model": model, "data": data}
    if not ask.knobs.no_usage:
        whole["usage"] = usage
    return unary("", count, whole, ask.knobs)


def _inputs(value: Any) -> list[Any]:
    """A text, a list of texts, a list of tokens, or a list of those."""
    if isinstance(value, str) or (value and isinstance(value[0], int)):
        return [value]
    if not value:
        raise Refusal(400, "'input' must not be empty.", param="input")
    return list(value)
