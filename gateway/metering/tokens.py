"""Counting text, for replies whose provider reported no usage.

Exact for OpenAI's models, an estimate that leans upwards for all others, bounded in time for any text: what
tiktoken chokes on (a million spaces overflow the stack of its regular expressions) is fed to it in slices.
Measured: 4 to 35 MB/s, with the interpreter lock released.

Factors for other vendors' tokenizers, over o200k_base and rounded up: Claude 8/5 (from Claude 4.7 on 1.3 to
1.6 on English and code) and never under 3/2 tokens per character outside the Latin scripts (its tokenizer
has few of them; 4.8 times o200k_base measured on Thai); everything else 5/4. They are estimates: such counts
are marked `counted`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import tiktoken
from tiktoken.model import encoding_name_for_model

from gateway.metering.encodings import NAMES, DamagedRanks, Encodings

SLICE_CHARS_MAX = 8 << 10
"""One call into tiktoken: worst measured 2 ms (spaces), far from where its stack overflows (about 1 MB)."""
ENCODED_CHARS_MAX = 8 << 20
"""Beyond the largest context windows (2 million tokens); what is longer counts one token a byte."""
INLINE_CHARS_MAX = 32 << 10
"""Counted where it is, without going to a thread: at most 10 ms."""
MESSAGE_TOKENS = 4
"""Per message: role and separators (OpenAI's cookbook says 3, and 1 more with a name)."""
REPLY_TOKENS = 3
"""What primes the reply, once."""

_EXACT = Fraction(1)
_OTHERS = Fraction(5, 4)
_CLAUDE = Fraction(8, 5)
_CLAUDE_NON_LATIN = Fraction(3, 2)
_LATIN = re.compile("[\x00-\u024f\u2000-\u206f]+")
_SAFE_CUT = re.compile(r"(?<=\S)(?= [^\W\d_])|(?<=\n)(?=\S)")
"""Where no token spans: before the single space that starts a word, and between a line break and a word."""


@dataclass(frozen=True, slots=True)
class Family:
    """How a model's tokens relate to an encoding that is at hand."""

    encoding: str
    factor: Fraction = _EXACT
    non_latin: Fraction = Fraction(0)
    """The least tokens per character outside the Latin scripts."""


def family(model: str) -> Family:
    """The family of ``model``, whatever provider serves it (``vendor/model`` names included)."""
    name = model.lower().rpartition("/")[2]
    if "claude" in name:
        return Family("o200k_base", _CLAUDE, _CLAUDE_NON_LATIN)
    try:
        encoding = encoding_name_for_model(name)
    except KeyError:
        encoding = "o200k_base"
        if name.startswith(("gpt-", "o1", "o3", "o4", "chatgpt-", "ft:gpt-", "codex-")):
            return Family(encoding)  # newer than this tiktoken: gpt-6
        return Family(encoding, _OTHERS)
    if encoding in NAMES:
        return Family(encoding)
    return Family("o200k_base", _EXACT if encoding == "o200k_harmony" else _OTHERS)


def exactly_known(model: str) -> bool:
    """Whether a count is what the provider will count: then it may stand in for an upper bound."""
    try:
        return encoding_name_for_model(model.lower()) in NAMES
    except KeyError:
        return False


class TokenCounter:
    """Counts tokens of a model. Never raises on any text; safe to use from threads."""

    def __init__(self, encodings: Encodings) -> None:
        self._encodings = encodings

    def count(self, model: str, texts: Sequence[str]) -> int:
        """Tokens of ``texts``, each by itself. Blocks for about 0.1 s per MB: see `count_async`."""
        kin = family(model)
        return sum(self._count_one(kin, text) for text in texts if text)

    def count_prompt(self, model: str, texts: Sequence[str]) -> int:
        """Input tokens of a prompt whose messages have these texts, with what a chat template adds."""
        return self.count(model, texts) + MESSAGE_TOKENS * len(texts) + REPLY_TOKENS

    def inline(self, model: str, texts: Sequence[str]) -> bool:
        """Whether counting is short enough for the event loop."""
        return sum(map(len, texts)) <= INLINE_CHARS_MAX and self._encodings.loaded(family(model).encoding)

    async def count_async(self, model: str, texts: Sequence[str]) -> int:
        """`count`, in a thread when it would take the event loop more than about 10 ms."""
        if self.inline(model, texts):
            return self.count(model, texts)
        return await asyncio.to_thread(self.count, model, texts)

    def _count_one(self, kin: Family, text: str) -> int:
        rest = text[ENCODED_CHARS_MAX:]
        text = text[:ENCODED_CHARS_MAX]
        try:
            encoding = self._encodings.get(kin.encoding)
        except DamagedRanks:
            return utf8_bytes(text) + utf8_bytes(rest)
        tokens = sum(_encoded(encoding, piece) for piece in slices(text))
        scaled = -(-tokens * kin.factor.numerator // kin.factor.denominator)
        if kin.non_latin:
            foreign = len(_LATIN.sub("", text))
            scaled = max(scaled, -(-foreign * kin.non_latin.numerator // kin.non_latin.denominator))
        return scaled + utf8_bytes(rest)


def slices(text: str) -> Iterator[str]:
    """``text`` in slices of at most `SLICE_CHARS_MAX`, cut where no token spans if there is such a place."""
    start = 0
    while len(text) - start > SLICE_CHARS_MAX:
        # look for a border in the last quarter; a longer run without one is cut hard: a token more or less
        cut = start + SLICE_CHARS_MAX
        safe = _SAFE_CUT.search(text, cut - SLICE_CHARS_MAX // 4, cut)
        end = safe.start() if safe is not None else cut
        yield text[start:end]
        start = end
    yield text[start:]


def utf8_bytes(text: str) -> int:
    """No byte-level tokenizer makes more tokens than this."""
    return len(text.encode("utf-8", "surrogatepass"))


def _encoded(encoding: tiktoken.Encoding, text: str) -> int:
    try:
        return len(encoding.encode_ordinary(text))
    except BaseException as error:
        # a panic in tiktoken's Rust derives from BaseException and cannot be imported
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            return utf8_bytes(text)
        raise
