"""The simulated model: text, tool arguments and JSON, all derived from the prompt, so that asking twice gives
the same answer twice.

Its tokenizer is as simple as can be: prose has one token a word (a space begins the next one), machine text
such as JSON one token for each four characters. The vocabulary is made of words that are one token each to
the GPT-4o tokenizer too, with and without a space before them, so that counting delivered prose with that one
gives the same number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.simulator.knobs import Knobs
from gateway.simulator.schema import example_of

VOCABULARY = """
the of and to in is that for it as was with be by on not he his but at are this have from or had an
they which one you were her all their there been many some so these would other into has more two
like him see time could no make than first its who now people my made over did down only way find
use may water long little very after words called just where most know get through back much go good
new write our me man any day same right look think also around another came come work three word
must because does part even
"""
WORDS = VOCABULARY.split()
MESSAGE_OVERHEAD_TOKENS = 3
IMAGE_INPUT_TOKENS = 85
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks of the model, whatever the dialect."""

    cap_tokens: int | None = None
    stops: tuple[str, ...] = ()
    tool: tuple[str, Mapping[str, Any]] | None = None
    """Name and parameter schema of the function to call."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema that the text has to satisfy."""
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """One choice. ``pieces`` are its tokens; they concatenate to text, or to the arguments of ``tool``."""

    pieces: tuple[str, ...]
    tokens: int
    """All tokens generated, reasoning included (and a stop sequence, though it is not shown)."""
    reasoning_tokens: int
    finish: str
    """stop | length | tool"""
    tool: str | None = None
    stop_sequence: str | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def batches(self, size: int) -> list[tuple[str, int]]:
        """The pieces joined ``size`` at a time, each with its tokens; all tokens are in there."""
        size = max(size, 1)
        found = [
            ("".join(self.pieces[i : i + size]), len(self.pieces[i : i + size]))
            for i in range(0, len(self.pieces), size)
        ]
        missing = self.tokens - len(self.pieces)
        if found:
            found[0] = (found[0][0], found[0][1] + missing)
        return found


def seed_of(model: str, prompt: object) -> int:
    """A number that depends on model and prompt only: never on caps, streaming or usage flags."""
    digest = hashlib.sha256(model.encode() + orjson.dumps(prompt, option=orjson.OPT_SORT_KEYS)).digest()
    return int.from_bytes(digest[:6], "big")


def words_in(text: str) -> int:
    """Tokens of prose."""
    return text.count(" ") + 1 if text else 0


def characters_in(value: object) -> int:
    """Tokens of machine text: a value by the length of its JSON."""
    return -(-len(orjson.dumps(value)) // CHARACTERS_PER_TOKEN) if value else 0


def content_tokens(content: object) -> int:
    """Tokens of a message's content: a string, or parts with text, media or data in any dialect."""
    if content is None:
        return 0
    if isinstance(content, str):
        return words_in(content)
    if isinstance(content, Sequence):
        return sum(_part_tokens(part) for part in content)
    return characters_in(content)


def _part_tokens(part: object) -> int:
    if isinstance(part, str):
        return words_in(part)
    if not isinstance(part, Mapping):
        return 1
    if isinstance(part.get("text"), str):
        return words_in(part["text"])
    if (
        part.get("type") in {"image_url", "input_image", "image"}
        or "inlineData" in part
        or "inline_data" in part
    ):
        return IMAGE_INPUT_TOKENS
    return characters_in(part)


def prose(seed: int, tokens: int) -> list[str]:
    """``tokens`` words; the first bare, the others with their space before them."""
    state, found = seed, []
    for _ in range(tokens):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        found.append(" " + WORDS[(state >> 12) % len(WORDS)])
    if found:
        found[0] = found[0][1:]
    return found


def generate(seed: int, wish: Wish, knobs: Knobs) -> Generation:
    """What the model answers to a prompt of this ``seed``."""
    cap = None if knobs.ignore_cap else wish.cap_tokens
    reasoning = knobs.reasoning_tokens or wish.reasoning_tokens
    if cap is not None:
        reasoning = min(reasoning, cap)
    room = None if cap is None else cap - reasoning
    if wish.tool is not None:
        pieces = _sliced(example_of(wish.tool[1], seed))
    elif wish.schema is not None:
        pieces = _sliced(example_of(wish.schema, seed))
    else:
        wanted = 8 + seed % 17 if knobs.output_tokens is None else knobs.output_tokens
        pieces = prose(seed, wanted if room is None else min(wanted, room + 1))
    finish = "stop" if wish.tool is None else "tool"
    if room is not None and len(pieces) > room:
        pieces, finish = pieces[:room], "length"
    tokens, stop = reasoning + len(pieces), None
    if wish.stops and wish.tool is None:
        kept, generated, stop = _stopped(pieces, wish.stops)
        if stop is not None:
            pieces, tokens, finish = kept, reasoning + generated, "stop"
    name = None if wish.tool is None else wish.tool[0]
    return Generation(tuple(pieces), tokens, reasoning, finish, tool=name, stop_sequence=stop)


def _sliced(value: object) -> list[str]:
    text = orjson.dumps(value).decode()
    return [text[i : i + CHARACTERS_PER_TOKEN] for i in range(0, len(text), CHARACTERS_PER_TOKEN)]


def _stopped(pieces: list[str], stops: tuple[str, ...]) -> tuple[list[str], int, str | None]:
    """Pieces up to the earliest stop sequence, tokens generated until it was seen, and which one it was."""
    text = "".join(pieces)
    hits = [(text.find(stop), stop) for stop in stops if stop and stop in text]
    if not hits:
        return pieces, len(pieces), None
    start, stop = min(hits)
    kept: list[str] = []
    generated, length = 0, 0
    for piece in pieces:
        if length >= start + len(stop):
            break
        generated += 1
        if length < start:
            kept.append(piece[: start - length])
        length += len(piece)
    return kept, generated, stop
