"""The SSE scanner: the same events however the bytes are cut, and nothing that stalls or grows."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metering.json_array import JsonArrayScanner
from gateway.metering.sse import EVENT_BYTES_MAX, Event, SseScanner

SCANNED = [
    (b"data: a\n\n", [(b"", b"a")]),
    (b"data:a\n\n", [(b"", b"a")]),
    (b"data:  a\n\n", [(b"", b" a")]),
    (b"event: e\r\ndata: a\r\n\r\n", [(b"e", b"a")]),
    (b"event:e\rdata: a\r\rdata: b\r\r", [(b"e", b"a"), (b"", b"b")]),
    (b": comment\n\ndata: a\n\n", [(b"", b"a")]),
    (b"id: 7\nretry: 3\ndata: a\n\n", [(b"", b"a")]),
    (b"data: a\ndata: b\n\n", [(b"", b"a\nb")]),
    (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
    (b"data: a\n", [(b"", b"a")]),
    (b"data: a", [(b"", b"a")]),
    (b"event: lonely\n\ndata: a\n\n", [(b"", b"a")]),
    ("data: x\u2028y\u0085z\x0b\x0c\n\n".encode(), [(b"", "x\u2028y\u0085z\x0b\x0c".encode())]),
    (b'error: {"a":1}\n\n', [(b"error", b'{"a":1}')]),
    (b"", []),
    (b"\n\n\n", []),
]


def scan(pieces: list[bytes]) -> list[Event]:
    scanner = SseScanner()
    events = [event for piece in pieces for event in scanner.feed(piece)]
    return events + scanner.finish()


@pytest.mark.parametrize(("stream", "events"), SCANNED)
def test_events_are_those_of_the_stream_whole_and_byte_by_byte_and_at_every_cut(
    stream: bytes, events: list[Event]
) -> None:
    assert scan([stream]) == events
    assert scan([stream[i : i + 1] for i in range(len(stream))]) == events
    for cut in range(len(stream)):
        assert scan([stream[:cut], b"", stream[cut:]]) == events


@given(
    st.lists(
        st.sampled_from(
            [
                b"data: x",
                b"data:",
                b"event: e",
                b": c",
                b"id",
                b"",
                b"\r",
                b"\n",
                b"\r\n",
                b"\n\n",
                b"data: y\n\n",
            ]
        )
    ).map(b"".join),
    st.data(),
)
def test_any_bytes_under_any_cut_give_the_same_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in itertools.pairwise([0, *cuts, len(stream)])]
    byte_by_byte = scan([stream[at : at + 1] for at in range(len(stream))])
    assert scan(pieces) == scan([stream]) == byte_by_byte


def test_an_event_beyond_the_bound_is_skipped_and_the_next_one_is_read() -> None:
    scanner = SseScanner()
    assert scanner.feed(b"data: ") == []
    for _ in range(EVENT_BYTES_MAX // (1 << 20) + 1):
        assert scanner.feed(b"no media, ! " * 90_000) == []
    assert scanner.feed(b"\n\ndata: next\n\n") == [(b"", b"next")]
    assert scanner.skipped == 1


def test_an_event_of_too_many_lines_is_skipped_and_the_next_one_is_read() -> None:
    scanner = SseScanner()
    line = b"data: " + b"x" * 65_530 + b"\n"
    for _ in range(EVENT_BYTES_MAX // 65_000):
        assert scanner.feed(line) == []
    assert scanner.feed(b"\ndata: next\n\n") == [(b"", b"next")]
    assert scanner.skipped == 1


def test_media_is_cut_out_of_a_large_event_that_arrives_in_pieces() -> None:
    scanner = SseScanner()
    scanner.feed(b'data: {"b64_json":"')
    for _ in range(40):
        assert scanner.feed(b"iVBOR" * 100_000) == []
    (event,) = scanner.feed(b'","usage":{"total_tokens":3}}\n\n')
    assert len(event[1]) < 2_000_000
    assert event[1].endswith(b'","usage":{"total_tokens":3}}')


ARRAY = b'[{"a": "x\\"]}\\\\", "b": [1, {"c": "["}]}\n,\r\n{"d":{}},\n{"e":"\\u00e9"}]'
ELEMENTS = [b'{"a": "x\\"]}\\\\", "b": [1, {"c": "["}]}', b'{"d":{}}', b'{"e":"\\u00e9"}']


def test_the_elements_of_an_array_come_out_whole_at_every_pair_of_cuts() -> None:
    for first, second in itertools.combinations(range(len(ARRAY) + 1), 2):
        scanner = JsonArrayScanner()
        pieces = [ARRAY[:first], ARRAY[first:second], ARRAY[second:]]
        assert [event[1] for piece in pieces for event in scanner.feed(piece)] == ELEMENTS
        assert scanner.ended


def test_an_array_element_beyond_the_bound_is_skipped() -> None:
    scanner = JsonArrayScanner()
    scanner.feed(b'[{"a":"')
    for _ in range(EVENT_BYTES_MAX // (1 << 20) + 1):
        assert scanner.feed(b"no media, ! " * 90_000) == []
    assert [event[1] for event in scanner.feed(b'"},{"b":1}]')] == [b'{"b":1}']
    assert scanner.skipped == 1
