"""The injected usage event is removed and nothing else is touched, wherever the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.metering.filter import HELD_BYTES_MAX, UsageEventFilter

TEXT = b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":null}\n\n'
FILTERS = b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}],"usage":null}\n\n'
USAGE = b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
SPACED = b'data: {"id": "c1", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}\n\n'
IN_CHOICE = b'data: {"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":1}}\n\n'
COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"
QUOTED = b'data: {"choices":[{"delta":{"content":"\\"choices\\":[],\\"usage\\":{\\"a\\":1}"}}]}\n\n'


def run(pieces: list[bytes]) -> bytes:
    sieve = UsageEventFilter()
    return b"".join([*map(sieve.feed, pieces), sieve.flush()])


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(at), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def lines(data: bytes, ending: bytes) -> bytes:
    return data.replace(b"\n", ending)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("usage", [USAGE, SPACED])
def test_only_the_usage_event_is_removed_at_every_pair_of_cuts(ending: bytes, usage: bytes) -> None:
    stream = lines(COMMENT + FILTERS + TEXT + usage + DONE, ending)
    wanted = lines(COMMENT + FILTERS + TEXT + DONE, ending)
    start = stream.index(usage[:12].replace(b"\n", ending), len(lines(COMMENT + FILTERS, ending)))
    for first in range(len(stream)):
        for second in {first, start, start + 20, min(first + 1, len(stream)), len(stream) - len(DONE)}:
            assert run(cut(stream, [first, second])) == wanted
    assert run([stream[i : i + 1] for i in range(len(stream))]) == wanted


@settings(max_examples=300)
@given(
    events=st.lists(
        st.sampled_from([TEXT, FILTERS, USAGE, SPACED, IN_CHOICE, COMMENT, DONE, QUOTED]), max_size=8
    ),
    ending=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    data=st.data(),
)
def test_any_stream_under_any_cut_loses_its_usage_events_and_no_other_byte(
    events: list[bytes], ending: bytes, data: st.DataObject
) -> None:
    stream = lines(b"".join(events), ending)
    wanted = lines(b"".join(event for event in events if event not in (USAGE, SPACED)), ending)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    assert run(cut(stream, cuts)) == wanted


def test_a_chunk_of_whole_events_passes_as_the_same_object() -> None:
    sieve = UsageEventFilter()
    assert sieve.feed(TEXT) is TEXT


def test_an_incomplete_event_passes_as_soon_as_it_has_a_choice() -> None:
    sieve = UsageEventFilter()
    assert sieve.feed(b'data: {"choices":[') == b""
    assert sieve.feed(b'{"delta"') == b'data: {"choices":[{"delta"'
    assert sieve.feed(b':{"content":"x') == b':{"content":"x'
    assert sieve.feed(b'"}}]}\n\n' + USAGE) == b'"}}]}\n\n'


def test_an_event_too_large_to_be_usage_is_let_through() -> None:
    sieve = UsageEventFilter()
    start = b'data: {"x":"' + b"a" * HELD_BYTES_MAX
    assert sieve.feed(start) == start
    assert sieve.feed(b'"}\n') == b'"}\n'
    assert sieve.feed(b"\n" + USAGE + TEXT) == b"\n" + TEXT


def test_a_json_document_in_place_of_a_stream_is_not_held_back() -> None:
    sieve = UsageEventFilter()
    assert sieve.feed(b'{"error": {"message"') == b'{"error": {"message"'
    assert sieve.feed(b': "no"}}') == b': "no"}}'
    assert sieve.flush() == b""


def test_a_broken_event_at_the_end_of_the_stream_is_delivered() -> None:
    assert run([TEXT, b'data: {"choices":[],"usa']) == TEXT + b'data: {"choices":[],"usa'


def test_a_usage_event_that_the_end_cuts_off_before_its_blank_line_is_removed() -> None:
    assert run([TEXT, USAGE.rstrip(b"\n")]) == TEXT
