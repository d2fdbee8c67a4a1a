"""What the gateway needs to know of one request, and what a provider dialect must be able to say.

A dialect is pure: bytes and values in, values out. It never waits and never opens anything. The proxy asks
it, in this order: which operation is this path (`match`), what does the body ask for (`read`), which bytes go
out (`forward`), how is usage read from what comes back (`reader`), and how is a refusal said (`error`,
`stream_error`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.errors import TollgateError
from gateway.metering.reading import UsageFilter, UsageReader
from gateway.providers.splice import CapMember, CapSlot, Edit
from pricing.usage import NOTHING, Usage


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
    array_stream: bool = False
    """The stream is one JSON array sent in pieces (Gemini without ``alt=sse``), not server-sent events."""


@dataclass(slots=True)
class Call:
    """One metered request as its dialect understood it: all that bounding, clamping and metering need."""

    route: Route
    model: str
    streamed: bool
    body: Sequence[bytes | memoryview]
    """The body as the client sent it (decoded), in pieces that concatenate to it."""
    input_tokens_max: int
    """An upper bound on the input tokens: text bytes, messages, images, tools (no tokenizer was run).

    Only the fixed overhead of the model itself comes on top. May be dearer than plain input where the model
    prices cache writes or images apart.
    """
    output_cap: int | None = None
    """Output tokens per choice that the client asked for; None: it named no cap; 0: no output by tokens."""
    choices: int = 1
    """How many outputs the cap applies to: n, best_of, candidateCount x number of prompts."""
    elastic: bool = True
    """Whether the output cap can be lowered (decides if the hold may be clamped)."""
    cap_floor: int = 0
    """The forwarded cap must be greater than this (Anthropic's thinking budget, a provider's least)."""
    extra: Usage = NOTHING
    """Ceilings for what is charged beside text tokens: searches, images, audio. Held in full."""
    input_unbounded: bool = False
    """The body refers to input that it does not contain (earlier responses, files, documents): the input may
    reach the model's context window, and that is the bound."""
    models_also: tuple[str, ...] = ()
    """Further models that may serve or bill this call (fallbacks, advisors): hold at the dearest of all."""
    output_kinds: tuple[str, ...] = ("output",)
    """The `Usage` buckets that capped output may fall in; price the cap at the dearest of them."""
    hidden_output: bool = False
    """Some billed output does not show in the bytes (reasoning, server tools): drain on disconnect."""
    cache_ttl_1h: bool = False
    """The request may write to a cache with a longer time to live than the default."""
    tier: str | None = None
    """The service tier asked for, as the provider spells it; None: the request says nothing."""
    speed: str | None = None
    """Anthropic's ``speed``; None: the request says nothing."""
    geo: str | None = None
    """Anthropic's ``inference_geo``; None: the request says nothing."""
    usage_injected: bool = False
    """The forwarded body asks for a usage event that the client did not ask for; it is removed again."""
    prompt_texts: Callable[[], tuple[str, ...]] | None = None
    """Extracts the text of the prompt, to be counted by a tokenizer if that is needed; never kept or logged.
    None: the body is too large, or its input is not text, so the bound above is all there is."""
    text_bytes: int = 0
    """The part of one pass of ``input_tokens_max`` that stands for text (see `counted_bound`)."""
    passes: int = 1
    """How often the input may be read again (and billed) by server-side tool loops."""
    edits: tuple[Edit, ...] = ()
    """What is spliced in any case (the usage flag)."""
    caps: tuple[CapMember, ...] = ()
    """The cap members that the client sent."""
    cap_slot: CapSlot | None = None
    """Where a cap is written when the client sent none."""

    image_label: str = ""
    """"quality size" of the images asked for, where they are priced by the image."""

    def counted_bound(self, text_tokens: int) -> int:
        """``input_tokens_max`` with the byte count of the text replaced by what a tokenizer counted."""
        return self.input_tokens_max - self.passes * max(0, self.text_bytes - text_tokens)


class Dialect(Protocol):
    """One provider API. Implementations are stateless; one instance serves all requests."""

    @property
    def name(self) -> str:
        """``openai``, ``anthropic``, ``gemini``: how errors are shaped."""

    @property
    def kind(self) -> str:
        """The ``kind`` of the configuration, e.g. ``groq``."""

    def match(self, method: str, path: str, query: Mapping[str, str]) -> Route | None:
        """The meaning of ``path`` (what follows the provider's base_url), or None: not understood."""

    def read(self, route: Route, body: bytes, headers: Mapping[str, str]) -> Call:
        """Understand a metered request. Raises `BadRequest` with ``param`` naming the offending member."""

    def forward(self, call: Call, output_cap: int | None) -> list[bytes | memoryview]:
        """The body to send: the client's bytes with only the cap (when given) and the usage flag spliced."""

    def reader(self, call: Call, content_type: str) -> UsageReader:
        """A fresh reader for the reply to ``call``, for both its unary and its streamed form."""

    def usage_filter(self, call: Call) -> UsageFilter | None:
        """What removes the injected usage event from a streamed reply; None when nothing was injected."""

    def error(self, error: TollgateError, request_id: str) -> bytes:
        """The JSON body of a refusal, as this API's SDKs expect it."""

    def stream_error(
        self, route: Route, error: TollgateError, request_id: str, *, first: bool = False
    ) -> bytes:
        """A complete stream frame that makes this API's SDKs raise, to follow a frame border.

        ``first``: nothing of the stream was sent yet (matters to streams that are one JSON array).
        """

    def auth_headers(self, api_key: str) -> dict[str, str]:
        """How the provider wants its own key."""
