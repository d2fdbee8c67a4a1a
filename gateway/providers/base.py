"""What the gateway needs to know of one request, and what a provider dialect must be able to say.

A dialect is pure: bytes and values in, values out. It never waits and never opens anything. The proxy asks it,
in this order: which operation is this path (`match`), what does the body ask for (`read`), which bytes go out
(`Call.forward`), how is usage read from what comes back (`reader`), and how is a refusal said (`error`,
`stream_error`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from gateway.errors import TollgateError
from gateway.metering.reading import UsageReader
from pricing.usage import Usage


class Operation(StrEnum):
    CHAT = "chat"
    IMAGE = "image"
    AUDIO = "audio"
    EMBEDDING = "embedding"
    BATCH = "batch"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Route:
    """What one path means in one dialect."""

    name: str
    """Stable and low in cardinality (a metrics label), e.g. ``chat.completions``."""
    operation: Operation
    metered: bool = True
    """False: authenticated and passed through without a hold (model lists, token counting)."""
    model: str | None = None
    """The model, where the path names it (Gemini)."""
    streamed: bool | None = None
    """Whether the path alone decides streaming (Gemini); None: the body does."""


@dataclass(slots=True)
class Call:
    """One metered request as its dialect understood it: all that bounding, clamping and metering need."""

    route: Route
    model: str
    streamed: bool
    body: Sequence[bytes | memoryview]
    """The body as the client sent it (decoded), in pieces that concatenate to it."""
    input_tokens_max: int
    """An upper bound on the input tokens: text bytes plus overheads (no tokenizer was run)."""
    output_cap: int | None = None
    """Output tokens per choice that the client asked for; None when it named no cap."""
    choices: int = 1
    """How many outputs the cap applies to: n, best_of, candidateCount x number of prompts."""
    elastic: bool = True
    """Whether the output cap can be lowered (decides if the hold may be clamped)."""
    cap_floor: int = 0
    """The forwarded cap must be greater than this (Anthropic's thinking budget, a provider's least)."""
    extra: Usage = field(default_factory=Usage)
    """Ceilings for what is charged beside text tokens: searches, images, audio. Held in full."""
    hidden_output: bool = False
    """Some billed output does not show in the bytes (reasoning, server tools): drain on disconnect."""
    cache_ttl_1h: bool = False
    """The request may write to a cache with a longer time to live than the default."""
    tier: str | None = None
    """The service tier asked for, as the provider spells it; None: its default."""
    usage_injected: bool = False
    """The forwarded body asks for a usage event that the client did not ask for; it is removed again."""
    prompt_texts: tuple[str, ...] = ()
    """The text of the prompt, to be counted by a tokenizer if that is needed; not kept, not logged."""


class Dialect(Protocol):
    """One provider API. Implementations are stateless; one instance serves all requests."""

    name: str
    """``openai``, ``anthropic``, ``gemini``: how errors are shaped."""

    def match(self, method: str, path: str, query: Mapping[str, str]) -> Route | None:
        """The meaning of ``path`` (what follows the provider's base_url), or None: not understood."""

    def read(self, route: Route, body: bytes, headers: Mapping[str, str]) -> Call:
        """Understand a metered request. Raises `BadRequest` with ``param`` naming the offending member."""

    def forward(self, call: Call, output_cap: int | None) -> list[bytes | memoryview]:
        """The body to send: the client's bytes with only the cap (when given) and the usage flag spliced."""

    def reader(self, call: Call, content_type: str) -> UsageReader:
        """A fresh reader for the reply to ``call``, for both its unary and its streamed form."""

    def error(self, error: TollgateError, request_id: str) -> bytes:
        """The JSON body of a refusal, as this API's SDKs expect it."""

    def stream_error(self, error: TollgateError, request_id: str) -> bytes:
        """A complete stream frame that makes this API's SDKs raise, to follow a frame border."""

    def auth_headers(self, api_key: str) -> dict[str, str]:
        """How the provider wants its own key."""
