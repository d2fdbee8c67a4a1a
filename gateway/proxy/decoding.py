"""Content-encodings. Request bodies are decoded under a bound, replies only to read along.

Clients may send gzip, deflate, br or zstd (some SDKs do). Output is taken in pieces of a bounded size, so that a
decompression bomb is refused after at most one piece over the bound, whatever it would have grown to.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import IO, cast

import brotli
import zstandard

from gateway.errors import BadRequest, BodyTooLarge, UnsupportedEncoding

PIECE_BYTES = 256 * 1024
ZSTD_WINDOW_BYTES_MAX = 1 << 27
"""128 MiB: the most that the zstd command asks of a decoder by default."""

REPLY_PIECE_BYTES_MAX = 16 * 1024 * 1024
"""The most that one read of a compressed reply may decode to. Reads are a few hundred KB; text compresses tenfold, and
what compresses a hundredfold is made to."""

_CORRUPT = (zlib.error, brotli.error, zstandard.ZstdError, EOFError)


def decode_body(encoding: str, body: bytes, bytes_max: int) -> bytes:
    """``body`` without its content-encoding.

    Raises `UnsupportedEncoding`, `BadRequest` (not what the header says, or cut short) and `BodyTooLarge`.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    codec = _CODECS.get(name)
    if codec is None:
        raise UnsupportedEncoding(
            f"content-encoding: {name[:40]!r} is not supported; send gzip, deflate, br, zstd, or none of them."
        )
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in codec(body):
            size += len(piece)
            if size > bytes_max:
                raise BodyTooLarge(
                    f"The {name} body decodes to more than the {bytes_max} bytes accepted here."
                )
            pieces.append(piece)
    except _CORRUPT as error:
        raise BadRequest(
            f"The body is not whole and valid {name}, as its content-encoding header says."
        ) from error
    return b"".join(pieces)


class _TooMuch(Exception):
    """A piece of a reply decodes to more than it may."""


class ReplyDecoder:
    """Reads along with a compressed reply. Never raises: what cannot be decoded, or would decode to more than
    ``piece_bytes_max`` at once, is left out."""

    __slots__ = ("_decode", "failed")

    def __init__(self, encoding: bytes, piece_bytes_max: int = REPLY_PIECE_BYTES_MAX) -> None:
        start = _REPLY_CODECS.get(encoding.strip().lower())
        self._decode = start(piece_bytes_max) if start is not None else None
        self.failed = self._decode is None
        """The encoding is not known, or what came is not in it or is a bomb: from here on nothing is decoded."""

    def feed(self, data: bytes) -> bytes:
        if self._decode is None:
            return b""
        try:
            return self._decode(data)
        except (*_CORRUPT, _TooMuch):
            self._decode, self.failed = None, True
            return b""


def _inflated_reply(bytes_max: int) -> Callable[[bytes], bytes]:
    decoder = zlib.decompressobj(47)

    def decode(data: bytes) -> bytes:
        piece = decoder.decompress(data, bytes_max)
        if decoder.unconsumed_tail:
            raise _TooMuch
        return piece

    return decode


def _brotli_reply(bytes_max: int) -> Callable[[bytes], bytes]:
    decoder = brotli.Decompressor()

    def decode(data: bytes) -> bytes:
        piece: bytes = decoder.process(data, output_buffer_limit=bytes_max)
        if not decoder.can_accept_more_data():
            raise _TooMuch
        return piece

    return decode


class _Bounded:
    """Where zstandard writes what it decodes; raises `_TooMuch` before it is more than ``bytes_max``."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, piece: bytes) -> int:
        self._size += len(piece)
        if self._size > self._bytes_max:
            raise _TooMuch
        self._pieces.append(bytes(piece))
        return len(piece)

    def taken(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        return taken


def _zstd_reply(bytes_max: int) -> Callable[[bytes], bytes]:
    bounded = _Bounded(bytes_max)
    writer = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX).stream_writer(
        cast(IO[bytes], bounded),  # it only needs write()
        write_size=PIECE_BYTES,
    )

    def decode(data: bytes) -> bytes:
        writer.write(data)
        return bounded.taken()

    return decode


_REPLY_CODECS: dict[bytes, Callable[[int], Callable[[bytes], bytes]]] = {
    b"gzip": _inflated_reply,
    b"x-gzip": _inflated_reply,
    b"deflate": _inflated_reply,
    b"br": _brotli_reply,
    b"zstd": _zstd_reply,
}


def _inflate(window_bits: int) -> Callable[[bytes], Iterator[bytes]]:
    def pieces(body: bytes) -> Iterator[bytes]:
        decoder = zlib.decompressobj(window_bits)
        data = body
        while not decoder.eof:
            piece = decoder.decompress(data, PIECE_BYTES)
            data = decoder.unconsumed_tail
            if piece:
                yield piece
            elif not data and not decoder.eof:
                raise EOFError
        if decoder.unused_data:
            raise EOFError

    return pieces


def _deflate(body: bytes) -> Iterator[bytes]:
    """RFC 9110 means zlib's format; some senders leave its header out."""
    wrapped = len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _inflate(15 if wrapped else -15)(body)


def _brotli(body: bytes) -> Iterator[bytes]:
    decoder = brotli.Decompressor()
    data = body
    while not decoder.is_finished():
        piece = decoder.process(data, output_buffer_limit=PIECE_BYTES)
        data = b""
        if piece:
            yield piece
        elif decoder.can_accept_more_data() and not decoder.is_finished():
            raise EOFError


def _zstd(body: bytes) -> Iterator[bytes]:
    params = zstandard.get_frame_parameters(body)
    decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
    size = 0
    with decoder.stream_reader(body, read_across_frames=False) as reader:
        while piece := reader.read(PIECE_BYTES):
            size += len(piece)
            yield piece
    if params.content_size not in (zstandard.CONTENTSIZE_UNKNOWN, size):
        raise EOFError


_CODECS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _inflate(31),
    "x-gzip": _inflate(31),
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
