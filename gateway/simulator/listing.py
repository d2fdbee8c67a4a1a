"""The models that the simulated provider lists, in each dialect's form. It answers for any other as well."""

from __future__ import annotations

from typing import Any

from gateway.simulator.openai_chat import CREATED_S

OPENAI = ("gpt-4o", "gpt-4o-mini", "gpt-5.5", "gpt-image-1", "dall-e-3", "text-embedding-3-small")
ANTHROPIC = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")
GEMINI = ("gemini-2.5-flash", "gemini-4-argon", "gemini-embedding-001")


def openai_listing() -> dict[str, Any]:
    models = [
        {"id": name, "object": "model", "created": CREATED_S, "owned_by": "simulator"} for name in OPENAI
    ]
    return {"object": "list", "data": models}


def anthropic_listing() -> dict[str, Any]:
    created = "2026-09-21T00:00:00Z"
    models = [{"type": "model", "id": n, "display_name": n, "created_at": created} for n in ANTHROPIC]
    return {"data": models, "has_more": False, "first_id": ANTHROPIC[0], "last_id": ANTHROPIC[-1]}


def gemini_listing() -> dict[str, Any]:
    verbs = ["generateContent", "countTokens", "embedContent"]
    limits = {"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}
    return {
        "models": [
            {"name": f"models/{n}", "displayName": n, **limits, "supportedGenerationMethods": verbs}
            for n in GEMINI
        ]
    }
