"""Understanding a JSON request body so that nobody can read it differently.

JSON parsers disagree about members given twice and, some of them, about the case of names: what one sees as
``max_tokens: 10`` another sees as ``max_tokens: 100000``. So a body is accepted only if no object in it names
a member twice, if no member that decides the price comes under a second spelling, and if it is plain UTF-8
JSON.

Uniqueness is proven without a parser of our own: written out again, a parsed document has exactly as many
quotation marks as the original unless the parser dropped a member (a name has two of them; a quotation mark
inside a string stays one byte as long as none was spelled ``\\u0022``, which is looked for first).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NoReturn

import orjson
import regex as re  # the standard library's possessive groups are broken before Python 3.11.5

from gateway.errors import BadRequest
from gateway.providers.lean import MARK, Lean, lean
from gateway.providers.splice import CapMember, CapSlot, Edit
from pricing.record import record

PARSE_WHOLE_BYTES_MAX = 1 << 20
"""Bodies up to 1 MiB are parsed as they are (about 4 ms); larger ones are made lean first."""
DEPTH_MAX = 254
"""The deepest nesting that orjson writes; no provider's schema comes near."""

_ESCAPED_ASCII = re.compile(rb"\\u00[2-7]")
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_FLAT = rb'(?:%b|[^"\[\]{}]++)*+' % _STRING
_SKIP = re.compile(rb'(?:%b|[^"\[\]{}]++|\[%b\]|\{%b\})*+' % (_STRING, _FLAT, _FLAT))
"""Everything up to a bracket that is not one of a pair around nothing but strings and scalars."""
_KEY = re.compile(rb"[ \t\r\n,]*(%b)[ \t\r\n]*:[ \t\r\n]*" % _STRING)
_SCALAR = re.compile(rb"%b|[-+.0-9A-Za-z]+" % _STRING)
_TTL = re.compile(rb'"ttl"[ \t\r\n]*:[ \t\r\n]*"(?!5m")')
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")


@record(frozen=True, slots=True)
class Span:
    """Where a member's value stands, in the bytes of the body."""

    start: int
    end: int


class Document:
    """A parsed body: values by name for reading, spans by name for splicing."""

    __slots__ = ("_escaped", "_lean", "_text", "body", "root")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self._lean: Lean | None = lean(body) if len(body) > PARSE_WHOLE_BYTES_MAX else None
        self._text = body if self._lean is None else self._lean.data
        """The JSON that was parsed: the body, or the lean form of it."""
        # Not `in`, here and below: for bytes in bytes, Python first makes and drops an exception.
        self._escaped = self._text.find(b"\\u00") >= 0
        """Whether any plain character may be spelled with an escape."""
        self.root: dict[str, Any] = _parse(self._text, self._escaped)

    @property
    def whole(self) -> bool:
        """Whether the values are all there (nothing was cut out)."""
        return self._lean is None

    def length(self, value: str) -> int:
        """An upper bound of the bytes that a string takes in the body (exact where it was cut)."""
        if self._lean is not None and value.startswith(MARK):
            start, end = self._lean.strings[int(value[len(MARK) :])]
            return end - start
        return len(value)

    def head(self, value: str) -> str:
        """The first characters of a string, enough to see what kind of URL it is."""
        if self._lean is not None and value.startswith(MARK):
            start, end = self._lean.strings[int(value[len(MARK) :])]
            return self.body[start : min(end, start + 80)].decode("ascii", "replace").replace("\\/", "/")
        return value[:80]

    def span(self, *path: str) -> Span:
        """Where the value at ``path`` stands. The path must exist."""
        start, end = self._span(path)
        if self._lean is None:
            return Span(start, end)
        return Span(self._lean.offset(start), self._lean.offset(end))

    def _span(self, path: tuple[str, ...]) -> tuple[int, int]:
        text = self._text
        key = b'"%b"' % path[-1].encode()
        at = text.find(key)
        if at >= 0 and text.find(key, at + 1) < 0 and not self._escaped:
            colon = _COLON.match(text, at + len(key))
            if colon is not None:
                return colon.end(), _value_end(text, colon.end())
        start, end = 0, len(text)
        for name in path:
            for member, member_start, member_end in members(text, start):
                if member == name:
                    start, end = member_start, member_end
                    break
            else:
                raise KeyError(name)
        return start, end

    def inside(self, *path: str) -> int:
        """The position just after the opening brace of the object at ``path`` (the root when empty)."""
        return (self.span(*path).start if path else self.body.index(b"{")) + 1

    # ------------------------------------------------------------------ what an edit needs

    def insertion(self, member: bytes, *path: str) -> Edit:
        """The edit that adds ``member`` (``"name":value``) as the first of the object at ``path``."""
        at = self.inside(*path)
        return Edit(at, at, member if not self._at(path) else member + b",")

    def cap_member(self, value: int, *path: str) -> CapMember:
        span = self.span(*path)
        return CapMember(span.start, span.end, value)

    def cap_slot(self, *path: str) -> CapSlot:
        """Where a cap goes that is absent or null: into its null, else at the head of its object, which is
        made when it is absent or null itself."""
        if len(path) == 1 and path[0] not in self.root:  # nearly always
            at = self.inside()
            return CapSlot(at, at, _opening(path[0]), b"," if self.root else b"")
        depth = 0
        holder: Any = self.root
        while depth < len(path) - 1 and isinstance(inner := holder.get(path[depth]), dict):
            holder = inner
            depth += 1
        parents, name, rest = path[:depth], path[depth], path[depth + 1 :]
        before = b"".join(b'{"%b":' % inner.encode() for inner in rest)
        after = b"}" * len(rest)
        if name in holder:
            span = self.span(*parents, name)
            return CapSlot(span.start, span.end, before, after)
        at = self.inside(*parents)
        return CapSlot(at, at, b'"%b":%b' % (name.encode(), before), after + (b"," if holder else b""))

    def _at(self, path: Iterable[str]) -> Any:
        value: Any = self.root
        for name in path:
            value = value.get(name)
            if value is None:
                return None
        return value

    # ------------------------------------------------------------------ names

    def asks_long_ttl(self) -> bool:
        """Whether any ``ttl`` in the body is something else than five minutes."""
        text = self._text
        if self._escaped and _ESCAPED_ASCII.search(text):
            text = orjson.dumps(self.root)
        return text.find(b'"ttl"') >= 0 and _TTL.search(text) is not None

    def check_names(self, controlled: frozenset[str], *path: str, camel: bool = False) -> None:
        """Refuse a second spelling of a member that decides the price, in the object at ``path``.

        Case variants are refused even alone: some servers (Go's encoding/json) read them, others do not.
        ``camel``: the API takes camelCase and snake_case alike (protobuf JSON); either may come, not both.
        """
        holder = self._at(path) if path else self.root
        if not isinstance(holder, dict):
            return
        folded = _folded(controlled, camel)
        if camel or not folded.keys().isdisjoint(map(str.casefold, holder.keys() - controlled)):
            _check_spellings(holder, controlled, folded, path, camel=camel)
        if self._escaped and _ESCAPED_ASCII.search(self._text):
            self._check_escapes(controlled, path)

    def _check_escapes(self, controlled: frozenset[str], path: tuple[str, ...]) -> None:
        at = self._span(path)[0] if path else 0
        for name, _, _ in members(self._text, at, raw=True):
            if "\\" in name and (plain := orjson.loads(f'"{name}"')) in controlled:
                _refuse(plain, f"{plain!r} is spelled with escapes; write the name plainly.", path)


def _check_spellings(
    holder: Mapping[str, Any],
    controlled: frozenset[str],
    folded: Mapping[str, str],
    path: tuple[str, ...],
    *,
    camel: bool,
) -> None:
    seen: dict[str, str] = {}
    for name in holder:
        if name in controlled and not camel:
            continue
        fold = _fold(name, camel)
        if fold not in folded:
            continue
        if name not in controlled:
            wanted = folded[fold]
            _refuse(name, f"{name!r} is another spelling of {wanted!r}; send it as {wanted!r}.", path)
        if fold in seen:
            _refuse(name, f"{name!r} is given twice, also as {seen[fold]!r}; send one of them.", path)
        seen[fold] = name


def members(text: bytes, at: int, *, raw: bool = False) -> Iterator[tuple[str, int, int]]:
    """(name, start, end) of each member's value in the object that opens at or after ``at``.

    ``text`` must be valid JSON. ``raw``: names as they are spelled, escapes unresolved.
    """
    at = text.index(b"{", at) + 1
    while (key := _KEY.match(text, at)) is not None:
        name = key.group(1)
        start = key.end()
        at = _value_end(text, start)
        yield name[1:-1].decode() if raw else str(orjson.loads(name)), start, at


def _value_end(text: bytes, start: int) -> int:
    """The end of the value that starts at ``start``."""
    if text[start] not in b"{[":
        scalar = _SCALAR.match(text, start)
        return start if scalar is None else scalar.end()
    depth = 0
    at = start
    while True:
        depth += 1 if text[at] in b"{[" else -1
        if depth == 0:
            return at + 1
        skipped = _SKIP.match(text, at + 1)
        at = at + 1 if skipped is None else skipped.end()


def _parse(text: bytes, escaped: bool) -> dict[str, Any]:
    try:
        root = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {_reason(text, error)}.") from error
    if not isinstance(root, dict):
        raise BadRequest("The body must be a JSON object.")
    try:
        written = orjson.dumps(root)
    except TypeError as error:  # orjson says this of what it can read but not write: too deep
        raise BadRequest(f"The body is nested deeper than {DEPTH_MAX} levels.") from error
    if written.count(b'"') != text.count(b'"') or (escaped and b"\\u0022" in text):
        json.loads(text, object_pairs_hook=_unique)
    return root


def _reason(text: bytes, error: orjson.JSONDecodeError) -> str:
    if text.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return "it starts with a byte order mark; send UTF-8 without one"
    if not text:
        return "it is empty"
    if "recursion" in error.msg.lower():
        return f"it is nested deeper than {DEPTH_MAX} levels"
    if "utf-8" in error.msg.lower():
        return "it is not valid UTF-8"
    return f"{error.msg} at line {error.lineno}, column {error.colno}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        twice = twice[:64]
        _refuse(twice, f"{twice!r} is given twice in one object; send it once.", ())
    return found


def _refuse(name: str, message: str, path: tuple[str, ...]) -> NoReturn:
    raise BadRequest(message, param=".".join((*path, name))[:200])


def _fold(name: str, camel: bool) -> str:
    folded = name.casefold()
    return folded.replace("_", "") if camel else folded


@lru_cache(maxsize=64)
def _opening(name: str) -> bytes:
    return b'"%b":' % name.encode()


@lru_cache(maxsize=64)
def _folded(controlled: frozenset[str], camel: bool) -> Mapping[str, str]:
    return {_fold(name, camel): name for name in sorted(controlled, reverse=True)}
