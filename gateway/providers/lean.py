"""Making a large JSON body small enough to parse: long strings are cut out and remembered by position.

A body of 64 MB is nearly all base64 or prose inside a few string values. This pass walks over its strings
without building them, checks what it cuts (escapes, control characters, UTF-8), and leaves a lean document
of the same structure for the parser. It is pure and may run in a worker thread: no single call into C looks
at more than `WINDOW` bytes, except one `bytes.find` at memory speed, so other threads keep running.
"""

from __future__ import annotations

import codecs
import secrets
from bisect import bisect_right
from dataclasses import dataclass, field

import regex as re  # the standard library's possessive groups are broken before Python 3.11.5

from gateway.errors import BadRequest, BodyTooLarge

CUT_BYTES = 256
"""Strings longer than this are cut: longer than any name or enum value, shorter than most prose."""
LEAN_BYTES_MAX = 2 << 20
"""What the parser gets at most: 2 MiB take orjson about 20 ms, the longest that one call may hold the GIL."""
WINDOW = 256 << 10

MARK = "\x00" + secrets.token_hex(8) + ":"
"""Stands for a cut string. Random per process, so that no client can write one. NUL: it is no name."""
_MARK_JSON = MARK.replace("\x00", "\\u0000").encode()

_RUN = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')
_SHORT = re.compile(rb'[^"]*+"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})){0,%d}+"' % CUT_BYTES)


@dataclass(slots=True)
class Lean:
    """A document without its long strings."""

    data: bytes
    strings: list[tuple[int, int]] = field(default_factory=list)
    """Of each cut string: where its content starts and ends in the original."""
    after: list[int] = field(default_factory=list)
    """Of each cut string: where the lean document continues after its closing quote."""

    def offset(self, lean_offset: int) -> int:
        """The position in the original body of a position in the lean document (outside of marks)."""
        index = bisect_right(self.after, lean_offset) - 1
        if index < 0:
            return lean_offset
        return self.strings[index][1] + 1 + (lean_offset - self.after[index])


def lean(body: bytes) -> Lean:
    """Cut the long strings out of ``body``. Raises `BadRequest` on a string that is not JSON."""
    out: list[bytes] = []
    result = Lean(b"")
    kept = 0
    size = 0
    at = 0
    while True:
        short = _SHORT.match(body, at, min(at + WINDOW, len(body)))
        if short is not None:
            at = short.end()
            if size + at - kept > LEAN_BYTES_MAX:
                raise _too_fine()
            continue
        quote = body.find(b'"', at)
        if quote < 0:
            break
        end = _string_end(body, quote + 1)
        if end - quote - 1 > CUT_BYTES:
            mark = b'"%b%d"' % (_MARK_JSON, len(result.strings))
            out += (body[kept:quote], mark)
            size += quote - kept + len(mark)
            kept = end + 1
            result.strings.append((quote + 1, end))
            result.after.append(size)
        at = end + 1
        if size + at - kept > LEAN_BYTES_MAX:
            raise _too_fine()
    if size + len(body) - kept > LEAN_BYTES_MAX:
        raise _too_fine()
    out.append(body[kept:])
    result.data = b"".join(out)
    return result


def _string_end(body: bytes, start: int) -> int:
    """The position of the quote that closes the string whose content begins at ``start``."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    at = start
    while True:
        match = _RUN.match(body, at, min(at + WINDOW, len(body)))
        end = match.end() if match else at
        try:
            decoder.decode(body[at:end])
            if end < len(body) and body[end] == 0x22:
                decoder.decode(b"", final=True)
                return end
        except UnicodeDecodeError as error:
            raise BadRequest(f"The body is not valid UTF-8 near byte {at + error.start}.") from error
        if end == at:
            what = "ends inside a string" if end >= len(body) - 12 else "has a string that is not valid JSON"
            raise BadRequest(f"The body is not valid JSON: it {what}, near byte {at}.")
        at = end


def _too_fine() -> BodyTooLarge:
    return BodyTooLarge(
        "This body has too many small members: besides strings longer than "
        f"{CUT_BYTES} bytes it may hold {LEAN_BYTES_MAX >> 20} MiB. Send fewer messages or items at a time."
    )
