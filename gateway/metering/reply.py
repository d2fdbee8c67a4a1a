"""What all readers share: segments, framing, and JSON that is not trusted.

The first byte that is not white space says how a reply is framed: ``{`` one JSON document, ``[`` a JSON
array, anything else SSE. Bytes are parsed in segments cut at fixed offsets, so that how they arrived cannot
matter and `feed` costs an append.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import orjson

from gateway.metering.document import Document
from gateway.metering.json_array import JsonArrayScanner
from gateway.metering.reading import Reading
from gateway.metering.sse import Event, SseScanner
from gateway.metering.texts import Texts

SEGMENT_BYTES = 16 << 10
"""About a hundred events, under a millisecond of parsing; what a stream keeps unparsed at most."""

_LEADING = b" \t\r\n\xef\xbb\xbf"

Json = Mapping[str, Any]


class ReplyReader(ABC):
    """Turns the bytes of a reply into JSON objects, in order, and asks at the end what they said."""

    __slots__ = (
        "_finished", "_foreign", "_framing", "_known", "_pending", "_pending_bytes", "complete", "failed", "notes",
    )  # fmt: skip

    MARKS: ClassVar[frozenset[str]]
    """Members of which every reply in this form has one at its top level, in its first events at the latest."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._framing: Document | JsonArrayScanner | SseScanner | None = None
        self._finished: Reading | None = None
        self._known = False
        self._foreign = False
        self.complete = False
        self.failed = False
        self.notes: dict[str, None] = {}

    def feed(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= SEGMENT_BYTES:
            self._drain()

    def finish(self) -> Reading:
        if self._finished is None:
            self._last(b"".join(self._pending))
            self._pending = []
            if self._framing is not None:
                self._read(self._framing.finish())
                if self._framing.skipped:
                    self.note("oversized_event")
                if isinstance(self._framing, JsonArrayScanner):
                    self.complete = self.complete or self._framing.ended
            self._finished = self._marked(self.reading())
        return self._finished

    def _marked(self, reading: Reading) -> Reading:
        foreign = self._foreign
        if isinstance(self._framing, SseScanner):
            foreign = foreign or self._framing.foreign  # comments, which keep a connection open, say nothing
        elif isinstance(self._framing, Document):
            foreign = True
        if self._known or self.failed or not foreign:
            return reading
        return replace(reading, unread=True, notes=(*reading.notes, "unread_reply"))

    def text_so_far(self) -> tuple[int, int]:
        """(characters of generated text read, bytes that are not read yet)."""
        texts = getattr(self, "_texts", None)
        return (texts.chars if isinstance(texts, Texts) else 0), self._pending_bytes

    @property
    def streamed(self) -> bool:
        """Whether the reply came as a stream of events."""
        return isinstance(self._framing, (SseScanner, JsonArrayScanner))

    @abstractmethod
    def document(self, doc: Json) -> None:
        """Take the one JSON document of a unary reply."""

    @abstractmethod
    def event(self, name: bytes, doc: Json) -> None:
        """Take one event of a stream."""

    @abstractmethod
    def reading(self) -> Reading:
        """What all that was taken amounts to."""

    def done(self) -> None:
        """The stream said ``[DONE]``."""
        self.complete = True

    def note(self, remark: str) -> None:
        self.notes[remark] = None

    def _drain(self) -> None:
        data = b"".join(self._pending)
        whole = len(data) - len(data) % SEGMENT_BYTES
        for at in range(0, whole, SEGMENT_BYTES):
            self._segment(data[at : at + SEGMENT_BYTES])
        self._pending = [data[whole:]]
        self._pending_bytes = len(data) - whole

    def _last(self, data: bytes) -> None:
        """The last segment. When it is the only one and holds a document, there is nothing to collect."""
        only = data.lstrip(_LEADING) if self._framing is None else b""
        if only.startswith(b"{"):
            self._accept(_parsed(only), b"", unary=True)
        else:
            self._segment(data)

    def _segment(self, data: bytes) -> None:
        if self._finished is not None:
            return
        if self._framing is None:
            data = data.lstrip(_LEADING)
            if not data:
                return
            self._framing = _framing(data[0])
        self._read(self._framing.feed(data))

    def _read(self, events: list[Event]) -> None:
        unary, take = isinstance(self._framing, Document), self.event
        for name, data in events:
            if data == b"[DONE]":
                self.done()
                continue
            doc = _parsed(data)
            if self._known and type(doc) is dict and "error" not in doc and name != b"error" and not unary:
                take(name, doc)
            else:
                self._accept(doc, name, unary=unary)

    def _accept(self, doc: object, name: bytes, *, unary: bool) -> None:
        if not self._known:
            self._known = isinstance(doc, dict) and not self.MARKS.isdisjoint(doc)
            self._foreign = not self._known
        if name == b"error" and (doc is None or isinstance(doc, dict)):
            self.failed = True
        if not isinstance(doc, dict):
            return
        if doc.get("error"):
            self.failed = True
        if unary:
            self.complete = True
            self.document(doc)
        else:
            self.event(name, doc)


def _parsed(data: bytes) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        # what orjson refuses and providers send: half of an escaped surrogate pair, NaN
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _framing(first: int) -> Document | JsonArrayScanner | SseScanner:
    if first == ord("{"):
        return Document()
    if first == ord("["):
        return JsonArrayScanner()
    return SseScanner()


COUNT_MAX = 10**15
"""A thousand million times the largest context; what is said to be more could not be written to a row."""


def count(value: object) -> int:
    """A token count as providers send it: an integer, rarely a whole float; anything else is 0."""
    if type(value) is int:
        return value if 0 <= value <= COUNT_MAX else COUNT_MAX if value > 0 else 0
    if isinstance(value, float) and value > 0 and value == value and value != float("inf"):
        return int(min(-(-value // 1), COUNT_MAX))
    return 0


def members(value: object) -> Json:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Json]:
    """The objects in ``value`` if it is a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def json_text(value: Json) -> str:
    """A call's arguments that came as an object, as the text that they were generated as."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # what `_parsed` lets pass, and orjson does not write
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def output_index(item: Json) -> int:
    """Which of the outputs asked for this is about; the first where it does not say."""
    index = item.get("index")
    return index if type(index) is int else 0


def string(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
