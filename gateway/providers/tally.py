"""Adding up what a request may cost beside its output: one tally a request, filled as its body is walked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from gateway.errors import BadRequest
from gateway.providers import ceilings
from gateway.providers.body import Document
from gateway.providers.ceilings import ToolCeiling
from pricing.usage import NOTHING, Usage

_BASE64_BYTES, _BASE64_CHARS = 3, 4


class Tally:
    """An upper bound on the input, and ceilings for what is billed beside it.

    The text bound is the size of the body: a byte-level tokenizer makes at most one token of a byte, and JSON
    writes no text shorter than UTF-8 does. Base64 media is taken out of it, at a ceiling per piece instead.
    """

    __slots__ = (
        "_document", "_media_bytes", "audio_tokens", "hidden", "images", "media", "media_tokens", "messages",
        "models", "output_tokens", "passes", "searches", "text_growth", "tool_tokens", "unbounded",
    )  # fmt: skip

    def __init__(self, document: Document) -> None:
        self._document = document
        self._media_bytes = 0
        self.media: list[int] = []
        """Hashes of the strings taken out, so that a later count of the text leaves out the same ones."""
        self.messages = 1
        self.text_growth = 0
        """Tokens that text may have beyond one a byte."""
        self.media_tokens = 0
        self.audio_tokens = 0
        self.tool_tokens = 0
        self.output_tokens = 0
        """Output that other models may add (advisors), in full."""
        self.searches = 0
        self.images = 0
        self.passes = 1
        self.hidden = False
        self.unbounded = False
        self.models: list[str] = []

    # ------------------------------------------------------------------ media

    def image(self, tokens: int, data: str | None) -> None:
        """An image at its ceiling; ``data`` is its base64 where the body carries it."""
        self.media_tokens += tokens
        if data is not None:
            self._take_out(data)

    def _take_out(self, data: str) -> None:
        self._media_bytes += self._document.length(data)
        self.media.append(hash(data))

    def image_url(self, url: object, tokens: int) -> None:
        """An image by data URL or by address. Providers scale images, so an address costs the same."""
        inline = isinstance(url, str) and self._document.head(url).startswith("data:image/")
        self.image(tokens, str(url) if inline else None)

    def audio(self, data: object, form: str) -> None:
        if not isinstance(data, str):
            self.unbounded = True
            return
        length = self._document.length(data)
        per_token = ceilings.AUDIO_BYTES_PER_TOKEN.get(form, ceilings.AUDIO_BYTES_PER_TOKEN_OTHER)
        decoded = length * _BASE64_BYTES // _BASE64_CHARS
        self.audio_tokens += ceilings.AUDIO_TOKENS_LEAST + decoded // per_token
        self._take_out(data)

    def reference(self) -> None:
        """Input that the body does not contain, or whose size its bytes do not bound (a PDF, a video)."""
        self.unbounded = True

    # ------------------------------------------------------------------ tools

    def tool(self, ceiling: ToolCeiling, uses: int | None) -> None:
        """A tool whose ceiling is known; ``uses`` as the request limits them, None when it does not."""
        self.tool_tokens += ceiling.prompt
        if not ceiling.server:
            return
        most = ceilings.USES_DEFAULT if uses is None else uses
        self.hidden = True
        self.passes = max(self.passes, most + 1)
        # What the k-th use brought is read again in every later pass.
        self.tool_tokens += most * (most + 1) // 2 * ceiling.per_use
        self.searches += most * ceiling.searches_per_use
        self.images += most * ceiling.images_per_use

    # ------------------------------------------------------------------ the sums

    @property
    def text_bytes(self) -> int:
        return max(0, len(self._document.body) - self._media_bytes) + self.text_growth

    def input_tokens_max(self) -> int:
        once = self.text_bytes + self.media_tokens + self.messages * ceilings.MESSAGE_TOKENS
        return once * self.passes + self.tool_tokens

    def extra(self) -> Usage:
        if not (self.audio_tokens or self.searches or self.images or self.output_tokens):
            return NOTHING
        return Usage(
            input_audio=self.audio_tokens * self.passes,
            output=self.output_tokens,
            output_image=self.images * ceilings.IMAGE_OUTPUT_TOKENS_MAX,
            web_searches=self.searches,
        )


def known_tool(table: Mapping[str, ToolCeiling], name: object, param: str) -> ToolCeiling:
    """The ceiling of a tool, or a refusal: what may cost anything cannot be held against a budget."""
    ceiling = table.get(name) if isinstance(name, str) else None
    if ceiling is None:
        shown = (
            repr(name) if isinstance(name, str) and len(name) <= 64 and name.isprintable() else "of this type"
        )
        raise BadRequest(
            f"The tool {shown} runs at the provider, and no ceiling is known for what it may cost. "
            "Remove it, or use a function tool instead.",
            param=param,
        )
    return ceiling


def texts(root: Mapping[str, Any], names: tuple[str, ...], media: tuple[int, ...]) -> tuple[str, ...]:
    """All strings (and names of members) under the given members, but for the media that a tally took out."""
    left = Counter(media)
    found: list[str] = []
    pending: list[Any] = [root.get(name) for name in names]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            if left and left.get(hash(value), 0) > 0:
                left[hash(value)] -= 1
            else:
                found.append(value)
        elif isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            found.extend(value)
            pending.extend(value.values())
    return tuple(found)


def lazy_texts(body: bytes, names: tuple[str, ...], tally: Tally) -> Callable[[], tuple[str, ...]]:
    """For `Call.prompt_texts`: nothing is extracted unless a tokenizer is needed."""
    media = tuple(tally.media)

    def extract() -> tuple[str, ...]:
        return texts(orjson.loads(body), names, media)

    return extract
