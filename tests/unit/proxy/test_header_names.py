"""Which of a client's headers go on is told by their names, and no client can have long ones kept."""

from __future__ import annotations

import tracemalloc

import pytest

from gateway.proxy.intake import GOES_ON


@pytest.mark.parametrize("name", [b"content-type", b"X-Custom", b"OpenAI-Beta", b"x" * 60_000])
def test_headers_of_the_request_go_on(name: bytes) -> None:
    assert GOES_ON[name]


@pytest.mark.parametrize(
    "name", [b"Connection", b"HOST", b"accept-encoding", b"X-Tollgate-User", b"x-tollgate-" + b"x" * 60_000]
)
def test_headers_of_the_connection_and_of_the_gateway_do_not(name: bytes) -> None:
    assert not GOES_ON[name]


def test_long_names_are_not_remembered() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(100):
            assert GOES_ON[b"x" * 60_000 + b"%d" % number]
        assert tracemalloc.get_traced_memory()[0] - before < 100_000
    finally:
        tracemalloc.stop()
