"""Every kind of provider by its name in the configuration. A new one is one module and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.providers.anthropic import AnthropicDialect
from gateway.providers.base import Dialect
from gateway.providers.gemini import GeminiDialect
from gateway.providers.openai.chat import Options
from gateway.providers.openai.dialect import OpenAiDialect

_FREE_AT_OPENAI = frozenset({"/responses/input_tokens", "/moderations"})
_SHOWN = Options(hides_reasoning=False)
_HIDDEN = Options(hides_reasoning=True)

_DIALECTS: tuple[Dialect, ...] = (
    AnthropicDialect(),
    GeminiDialect(),
    OpenAiDialect("openai", options=Options("max_completion_tokens"), free_posts=_FREE_AT_OPENAI),
    OpenAiDialect("openai-compatible"),
    OpenAiDialect("deepseek", ("", "/v1"), _SHOWN),
    OpenAiDialect("fireworks", ("/inference/v1",), _SHOWN),
    OpenAiDialect("groq", ("/openai/v1",), _SHOWN),
    OpenAiDialect("mistral", options=Options(inject_usage=False, hides_reasoning=False)),
    OpenAiDialect("ollama", options=_SHOWN),
    OpenAiDialect("openrouter", ("/api/v1",), _HIDDEN),
    OpenAiDialect("together", options=_SHOWN),
    OpenAiDialect("xai", options=_HIDDEN),
)

DIALECTS: Mapping[str, Dialect] = {dialect.kind: dialect for dialect in _DIALECTS}
"""One stateless instance for each kind."""
