"""Models that what was used is compared with when nobody names any: a few of each maker, from small to large.

Names are those of the bundled catalogue; one that has no price any more is left out, so nothing breaks when this list
gets old. State: 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping

USUAL_MAX = 8
"""Of one operation."""

USUAL: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "chat": {
        "openai": ("gpt-6-luna", "gpt-6.1-terra", "gpt-6.1-sol"),
        "anthropic": ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"),
        "google": ("gemini-3.5-flash-lite", "gemini-3.7-flash", "gemini-4-argon"),
    },
    "embedding": {
        "openai": ("text-embedding-3-small", "text-embedding-3-large"),
        "google": ("gemini-embedding-001", "gemini-embedding-2"),
    },
    "image": {
        "openai": ("gpt-image-1-mini", "gpt-image-2"),
    },
}
"""Operation -> provider in the catalogue -> models, the smallest first."""
