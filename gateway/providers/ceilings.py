"""Ceilings for input that a request causes without containing it: media, server-side tools, tool prompts.

Every figure is in tokens unless its name says otherwise, and is meant to be an upper bound in practice: what
exceeds it is still charged as the provider reports it, flagged as an overrun. Figures are of 2026-11; where a
provider publishes a formula, the ceiling is its worst case; where it does not, it is about twice the largest
value seen in recorded traffic. A server-side tool that is not listed here is refused, not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

MESSAGE_TOKENS = 8
"""Framing of one message. OpenAI's cookbook counts 3 (4 with a name); others use up to 7 special tokens."""

USES_DEFAULT = 5
"""How often a server-side tool is expected to be used at most where the request does not say (`max_uses`,
`max_tool_calls`). Each use makes the model read its whole input once more."""


@dataclass(frozen=True, slots=True)
class ToolCeiling:
    """What one server-side (or provider-defined) tool may add to a call."""

    prompt: int = 0
    """Tokens of the hidden description of the tool."""
    per_use: int = 0
    """Tokens that one use may put into the context; 0 with ``server`` False: the client runs the tool."""
    searches_per_use: int = 0
    """Billable searches of one use."""
    server: bool = True
    """The provider runs it, in a loop of its own."""
    images_per_use: int = 0
    """Generated images of one use."""


CLIENT = ToolCeiling(server=False)

# OpenAI, and those who speak its Responses API. Recorded: web search 9,463 input tokens for a search (medium
# context), file search 1,177, code interpreter 1,493, remote MCP 1,401, image generation 1,812; a hosted web
# search at xAI 5,913, at OpenRouter 16,924.
OPENAI_TOOLS: dict[str, ToolCeiling] = {
    "function": CLIENT,
    "custom": CLIENT,
    "namespace": CLIENT,
    "local_shell": ToolCeiling(prompt=1_000, server=False),
    "apply_patch": ToolCeiling(prompt=1_000, server=False),
    "computer_use_preview": ToolCeiling(prompt=2_000, server=False),
    "computer": ToolCeiling(prompt=2_000, server=False),
    "tool_search": ToolCeiling(prompt=1_000, per_use=500),
    "shell": ToolCeiling(prompt=2_000, per_use=8_000),
    "web_search": ToolCeiling(prompt=2_000, per_use=10_000, searches_per_use=1),
    "web_search_preview": ToolCeiling(prompt=2_000, per_use=10_000, searches_per_use=1),
    "x_search": ToolCeiling(prompt=2_000, per_use=10_000, searches_per_use=1),
    "file_search": ToolCeiling(prompt=2_000, per_use=17_000),  # 20 chunks of 800 tokens, and their framing
    "collections_search": ToolCeiling(prompt=2_000, per_use=17_000),
    "code_interpreter": ToolCeiling(prompt=2_000, per_use=8_000),
    "code_execution": ToolCeiling(prompt=2_000, per_use=8_000),
    "browser_search": ToolCeiling(prompt=2_000, per_use=10_000, searches_per_use=1),
    "mcp": ToolCeiling(prompt=10_000, per_use=10_000),  # the prompt is the server's own list of tools
    "image_generation": ToolCeiling(prompt=2_000, per_use=2_000, images_per_use=1),
    "openrouter:web_search": ToolCeiling(prompt=2_000, per_use=10_000, searches_per_use=1),
    "openrouter:web_fetch": ToolCeiling(prompt=2_000, per_use=32_000),
    "openrouter:datetime": ToolCeiling(prompt=500, per_use=200),
    "openrouter:advisor": ToolCeiling(prompt=2_000, per_use=4_000),
}

# Anthropic: a type is matched without its date (web_search_20260318 -> web_search). The prompts of the tools
# that the client runs are published: bash 245, text editor 700, computer use 735 + 499 for its system prompt.
ANTHROPIC_TOOLS: dict[str, ToolCeiling] = {
    "custom": CLIENT,
    "bash": ToolCeiling(prompt=500, server=False),
    "text_editor": ToolCeiling(prompt=1_400, server=False),
    "computer": ToolCeiling(prompt=2_500, server=False),
    "memory": ToolCeiling(prompt=1_500, server=False),
    "web_search": ToolCeiling(prompt=2_500, per_use=10_000, searches_per_use=1),
    "web_fetch": ToolCeiling(prompt=2_500, per_use=32_000),
    "code_execution": ToolCeiling(prompt=5_000, per_use=8_000),
    "tool_search_tool_regex": ToolCeiling(prompt=1_500, per_use=2_000),
    "tool_search_tool_bm25": ToolCeiling(prompt=1_500, per_use=2_000),
    "mcp_toolset": ToolCeiling(prompt=10_000, per_use=10_000),
    "advisor": ToolCeiling(prompt=2_000, per_use=4_000),
}
ANTHROPIC_TOOLS_PROMPT = 1_000
"""The system prompt that any tool adds: 264 to 530 published, 590 seen beside a body of 504 bytes."""
OPENAI_TOOLS_PROMPT = 500
"""The same for OpenAI-like APIs, which convert schemas to text; models behind OpenRouter bring their own."""
GEMINI_TOOLS_PROMPT = 300

# Gemini: by member name, in either spelling. Recorded: code execution 573 tool-use prompt tokens, file search
# 439. Search is billed per query for newer models, and one use may send several queries.
GEMINI_TOOLS: dict[str, ToolCeiling] = {
    "functiondeclarations": CLIENT,
    "computeruse": ToolCeiling(prompt=2_000, server=False),
    "googlesearch": ToolCeiling(prompt=1_000, per_use=8_000, searches_per_use=2),
    "googlesearchretrieval": ToolCeiling(prompt=1_000, per_use=8_000, searches_per_use=2),
    "googlemaps": ToolCeiling(prompt=1_000, per_use=8_000, searches_per_use=1),
    "urlcontext": ToolCeiling(prompt=1_000, per_use=32_000),
    "codeexecution": ToolCeiling(prompt=1_000, per_use=4_000),
    "filesearch": ToolCeiling(prompt=1_000, per_use=8_000),
}

GROK_PROMPT_TOKENS = 1_000
"""xAI's models bring a prompt of their own: 679 tokens seen beside a body of 250 bytes."""

IMAGE_TOKENS = 16_384
"""One image at a provider without a formula here: Qwen-VL's maximum, the greatest known of open models."""
OPENAI_IMAGE_TOKENS = 3_779
"""Patch models: 1,536 patches x 2.46; tile models stay below (85 + 8 x 170)."""
OPENAI_IMAGE_ORIGINAL_TOKENS = 24_600
"""``detail: original``: 10,000 patches x 2.46."""
OPENAI_IMAGE_4O_MINI_TOKENS = 48_169
"""gpt-4o-mini bills 2,833 + 5,667 per tile; 2048x768 has 8 tiles."""
ANTHROPIC_IMAGE_TOKENS = 8_464
"""92 x 92 patches of 28 pixels: a square of 2,576 pixels (Opus 4.7 and later; earlier ones stop at 1,600)."""
GEMINI_IMAGE_TOKENS = 5_160
"""258 per tile of 768 pixels, at 20 tiles; Gemini 3 stops at 2,240."""

AUDIO_BYTES_PER_TOKEN = {"mp3": 25, "wav": 100, "pcm16": 100, "pcm": 100}
"""Decoded bytes for which at most one token is billed: 32 tokens a second (Gemini; OpenAI 10, Voxtral 12.5)
at the lowest bit rate of the format (MP3 8 kbit/s; PCM 8,000 samples of one byte gives a margin of 2.5)."""
AUDIO_BYTES_PER_TOKEN_OTHER = 4
"""Opus, FLAC, AAC and others, which pack silence far closer."""
AUDIO_TOKENS_LEAST = 500
"""Padding: short clips are billed at the encoder's chunk (Whisper-like encoders: 30 s at 12.5 tokens)."""

IMAGE_OUTPUT_TOKENS: dict[str, dict[str, int]] = {
    "low": {"1024x1024": 272, "1024x1536": 408, "1536x1024": 400},
    "medium": {"1024x1024": 1_056, "1024x1536": 1_584, "1536x1024": 1_568},
    "high": {"1024x1024": 4_160, "1024x1536": 6_240, "1536x1024": 6_208},
}
"""Output tokens of one image of the gpt-image models, as published for gpt-image-1."""
IMAGE_OUTPUT_TOKENS_MAX = 6_240
PARTIAL_IMAGE_TOKENS = 100
"""Each partial image of a streamed generation."""
