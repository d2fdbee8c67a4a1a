"""A compressed body decodes to what was sent, or is refused with a reason; never to more than the bound."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib

import brotli
import pytest
import zstandard

from gateway.errors import BadRequest, BodyTooLarge, UnsupportedEncoding
from gateway.proxy.decoding import ReplyDecoder, decode_body

ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
BOUND = 4 * 1024 * 1024


def raw_deflate(data: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-15)
    return encoder.compress(data) + encoder.flush()


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("size", [0, 1, 300_000, 1_000_000])
def test_every_encoding_gives_back_what_was_sent(name: str, size: int) -> None:
    data = os.urandom(size // 2) + b"a" * (size - size // 2)
    assert decode_body(name.upper(), ENCODERS[name](data), BOUND) == data


def test_deflate_without_its_zlib_header_is_understood() -> None:
    assert decode_body("deflate", raw_deflate(b"hello" * 100), BOUND) == b"hello" * 100


@pytest.mark.parametrize("name", ENCODERS)
def test_a_body_cut_short_is_refused(name: str) -> None:
    encoded = ENCODERS[name](os.urandom(5000))
    for cut in (1, len(encoded) // 2, len(encoded) - 1):
        with pytest.raises(BadRequest):
            decode_body(name, encoded[:cut], BOUND)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_body_that_is_not_what_its_header_says_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        decode_body(name, b'{"model": "gpt-4o"}', BOUND)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_bomb_is_refused_within_the_bound(name: str) -> None:
    bomb = ENCODERS[name](bytes(40 * 1024 * 1024))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            decode_body(name, bomb, BOUND)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 3 * BOUND


def test_an_unknown_encoding_is_named_in_the_refusal() -> None:
    with pytest.raises(UnsupportedEncoding, match="compress"):
        decode_body("compress", b"x", BOUND)


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_a_compressed_reply_reads_the_same_in_any_split(name: str) -> None:
    data = b"data: {}\n\n" * 1000
    encoded = ENCODERS[name](data)
    for step in (1, 7, len(encoded)):
        decoder = ReplyDecoder(name.encode())
        read = b"".join(decoder.feed(encoded[at : at + step]) for at in range(0, len(encoded), step))
        assert read == data


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("step", [1000, 1 << 30], ids=["in pieces", "at once"])
def test_a_reply_that_is_a_bomb_is_given_up_after_a_bounded_piece(name: str, step: int) -> None:
    bomb = ENCODERS[name](bytes(64 * BOUND))
    decoder = ReplyDecoder(name.encode(), piece_bytes_max=BOUND)
    tracemalloc.start()
    try:
        for at in range(0, len(bomb), step):
            assert len(decoder.feed(bomb[at : at + step])) <= BOUND
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * BOUND
    if step >= len(bomb):
        assert decoder.failed
        assert decoder.feed(bomb) == b"", "and stays given up"


def test_a_reply_that_cannot_be_decoded_is_left_out_quietly() -> None:
    assert ReplyDecoder(b"gzip").feed(b"not gzip") == b""
    assert ReplyDecoder(b"unknown").feed(b"anything") == b""
