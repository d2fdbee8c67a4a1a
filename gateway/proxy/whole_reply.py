"""A reply all of which is known, written to an HTTP/1.1 client in one piece.

aiohttp's `Response` copies its headers, completes them, serialises them and joins them with the body in a dozen
calls. Here a provider's headers go on as the bytes that they came as.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time

Header = tuple[bytes, bytes]
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class WholeReply(web.StreamResponse):
    """What aiohttp's connection asks of a response: to be prepared, ended, and whether the connection goes on."""

    def __init__(self, status: int, headers: Sequence[Header], body: bytes, *, dated: bool) -> None:
        """``dated``: there is a date among ``headers``."""
        # Not the base's: it makes a state, headers and a reason of which nothing is used.
        self._status = status
        self._lines = _lines(headers)
        if not self._lines.isascii():
            self._lines = _lines([(name, text(value).encode()) for name, value in headers])
        self._body_bytes = body
        if self._lines.count(b"\n") != len(headers) or self._lines.count(b"\r") != len(headers):
            raise ValueError("a header has a line break in it")
        self._dated = dated

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write all of it. Raises ConnectionError when the client is gone."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._keep_alive = request.keep_alive
        date = b"" if self._dated else b"date: %b\r\n" % rfc822_formatted_time().encode("ascii")
        end = b"" if self._keep_alive else b"connection: close\r\n"
        transport.write(
            b"%b%b\r\ncontent-length: %d\r\n%b%b\r\n%b"
            % (_status_line(self._status), self._lines, len(self._body_bytes), date, end, self._body_bytes)
        )
        if request.protocol.writing_paused:
            await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """All of it was written by `prepare`."""


def takes(request: web.BaseRequest, status: int) -> bool:
    """Whether a reply of this status to this request has a body of a stated length, and HTTP/1.1 throughout."""
    return request.version == HttpVersion11 and request.method != "HEAD" and status not in (204, 304)


def text(value: bytes) -> str:
    """A header's value, which aiohttp writes as UTF-8; anything else was Latin-1 once (RFC 9110, 5.5)."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _lines(headers: Sequence[Header]) -> bytes:
    """Each with a line break before it."""
    return b"\r\n".join([b"", *map(b": ".join, headers)])


@lru_cache(maxsize=1000)
def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {_REASONS.get(status, '')}".encode("ascii")
