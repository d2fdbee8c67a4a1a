"""A body is read in one way or not at all, and edits change nothing but what they name."""

from __future__ import annotations

import json
import threading
import time
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest, BodyTooLarge
from gateway.providers import body as body_module
from gateway.providers.body import Document, members
from gateway.providers.lean import CUT_BYTES, lean
from gateway.providers.registry import DIALECTS
from gateway.providers.splice import Edit, splice

MIB = 1 << 20
NAMES = frozenset({"model", "max_tokens", "n"})

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40) | st.sampled_from(
    [
        '"max_tokens"',
        '\\"n\\":1',
        "\\",
        '"',
        '{"max_tokens":5}',
        "a" * (CUT_BYTES + 1),
        '\\"' * CUT_BYTES,
        "é" * 300,
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=6)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b"[1]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a":1}'.encode("utf-16"), "byte order mark"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":Infinity}', "not valid JSON"),
        (b'{"a":1}{"a":2}', "not valid JSON"),
        (b'{"a":1} x', "not valid JSON"),
        (b'{"a":1,}', "not valid JSON"),
        (b"{'a':1}", "not valid JSON"),
        (b'{"a":1', "not valid JSON"),
        (b'{"a":"b', "not valid JSON"),
        (b'{"a":01}', "not valid JSON"),
        (b'{"a":"\xff"}', "not valid UTF-8"),
        (b'{"a":"\xc0\xaf"}', "not valid UTF-8"),
        (b'{"a":"\n"}', "not valid JSON"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nested deeper"),
        (b"[" * 100_000 + b"]" * 100_000, "not valid JSON|nested deeper"),
    ],
)
def test_what_is_not_plain_json_is_refused_with_its_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        Document(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"max_tokens":1,"max_tokens":2}',
        b'{"max_tokens":1,"max\\u005ftokens":2}',
        b'{"\\u006dax_tokens":1,"max_tokens":2}',
        b'{"max_tokens":null,"max_tokens":2}',
        b'{"a":{"max_tokens":1,"max_tokens":1}}',
        b'{"a":"\\u0022","max_tokens":1,"max_tokens":2}',
        b'{"a":"\\u0022\\u0022","max_tokens":1,"max_tokens":2}',
    ],
)
def test_a_member_given_twice_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        Document(body)
    assert refused.value.param == "max_tokens"


@pytest.mark.parametrize(
    "name",
    [
        "Max_Tokens",
        "MAX_TOKENS",
        "max_token\u017f",
        "max\\u005ftokens",
        "\\u006dax_tokens",
        "N",
        "mode\\u006c",
    ],
)
def test_a_second_spelling_is_refused_even_alone(name: str) -> None:
    document = Document(b'{"x":{},"%b":1}' % name.encode())
    with pytest.raises(BadRequest):
        document.check_names(NAMES)


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "messages": [{"content": '{"max_tokens":1,"max_tokens":2,"Max_Tokens":3}'}]},
        {"model": "m", "tools": [{"parameters": {"Max_Tokens": {}, "max_tokens": {}, "n": {}}}]},
        {"model": "m", "text": '"max_tokens"', "max_tokens": 5, '"n"': "\\"},
        {"model": "m", "maximum": "max_tokens", "text": 'say "max_tokens', "max_tokens": 5},
    ],
)
def test_names_inside_strings_and_schemas_are_nobodys_business(body: dict[str, Any]) -> None:
    for written in (orjson.dumps(body), json.dumps(body).encode(), json.dumps(body, indent=2).encode()):
        document = Document(written)
        document.check_names(NAMES)
        if "max_tokens" in body:
            span = document.span("max_tokens")
            assert written[span.start : span.end] == b"5"


@given(objects, st.booleans())
def test_every_member_is_found_where_it_stands(root: dict[str, Any], ascii_only: bool) -> None:
    body = json.dumps(root, ensure_ascii=ascii_only).encode()
    found = {name: json.loads(body[start:end]) for name, start, end in members(body, 0)}
    assert found == root
    document = Document(body)
    for name, value in root.items():
        span = document.span(name)
        assert json.loads(body[span.start : span.end]) == value


@given(objects, st.booleans())
def test_the_lean_reading_of_a_body_is_the_whole_one(root: dict[str, Any], ascii_only: bool) -> None:
    body = json.dumps(root, ensure_ascii=ascii_only).encode()
    cut = lean(body)
    rebuilt: Any = json.loads(cut.data)
    assert _without_long(rebuilt).keys() == _without_long(root).keys()
    for (start, end), after in zip(cut.strings, cut.after, strict=True):
        assert body[start - 1 : start] == b'"' == body[end : end + 1]
        assert end - start > CUT_BYTES
        assert cut.offset(after) == end + 1
        json.loads(body[start - 1 : end + 1])


def _without_long(root: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in root.items()
        if len(json.dumps(name)) < CUT_BYTES and "\x00" not in name
    }


@given(objects)
def test_members_of_a_large_body_are_found_at_their_place_in_the_original(root: dict[str, Any]) -> None:
    large = {"pad": "A" * (body_module.PARSE_WHOLE_BYTES_MAX + 1), **root, "max_tokens": 77}
    body = orjson.dumps(large)
    document = Document(body)
    assert not document.whole
    span = document.span("max_tokens")
    assert body[span.start : span.end] == b"77"


@pytest.mark.parametrize("tail", [b"\\", b"\xff", b"\xe4\xb8", b"\x01", b"\\x", b"\\u12", b""])
def test_a_large_string_is_checked_though_it_is_not_parsed(tail: bytes) -> None:
    broken = b'{"a":"' + b"A" * (2 * MIB) + tail + (b'"}' if tail else b"")
    with pytest.raises(BadRequest, match="not valid"):
        Document(broken)


def test_a_large_body_with_a_member_given_twice_is_refused() -> None:
    pad = b"A" * (2 * MIB)
    with pytest.raises(BadRequest) as refused:
        Document(b'{"max_tokens":1,"a":"' + pad + b'","max_tokens":2}')
    assert refused.value.param == "max_tokens"


def test_a_large_body_of_small_members_is_refused() -> None:
    with pytest.raises(BodyTooLarge, match="too many small members"):
        Document(b'{"a":[' + b",".join([b"123456"] * MIB) + b"]}")
    with pytest.raises(BodyTooLarge, match="too many small members"):
        Document(b'{"a":[' + b",".join([b'"short"'] * MIB) + b"]}")


@given(st.binary(max_size=60), st.data())
def test_splicing_changes_the_named_spans_only(body: bytes, data: st.DataObject) -> None:
    cuts = sorted(
        data.draw(st.lists(st.integers(0, len(body)), max_size=6).filter(lambda x: len(x) % 2 == 0))
    )
    edits = [Edit(a, b, data.draw(st.binary(max_size=4))) for a, b in zip(cuts[::2], cuts[1::2], strict=True)]
    expected, at = b"", 0
    for edit in edits:
        expected += body[at : edit.start] + edit.data
        at = edit.end
    assert b"".join(splice((body,), edits)) == expected + body[at:]


def _image_body(size: int) -> bytes:
    image = b"data:image/png;base64," + b"A" * size
    return (
        b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":[{"type":"text","text":"what"},'
        b'{"type":"image_url","image_url":{"url":"' + image + b'"}}]}],"max_tokens":900}'
    )


def test_a_64_mb_body_is_read_and_forwarded_within_2_2_times_its_size() -> None:
    dialect = DIALECTS["openai"]
    route = dialect.match("POST", "/v1/chat/completions", {})
    assert route is not None
    size = 64 * MIB
    tracemalloc.start()
    try:
        body = _image_body(size - 400)
        tracemalloc.reset_peak()
        call = dialect.read(route, body, {})
        pieces = dialect.forward(call, 100)
        assert sum(map(len, pieces)) == len(body) + len(b'"stream_options":{"include_usage":true},')
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 2.2 * size
    assert bytes(pieces[-2]) == b"100"
    assert call.input_tokens_max < 10_000


def test_reading_a_64_mb_body_in_a_thread_lets_other_threads_run() -> None:
    dialect = DIALECTS["openai"]
    route = dialect.match("POST", "/v1/chat/completions", {})
    assert route is not None
    body = _image_body(64 * MIB)
    reading = threading.Thread(target=dialect.read, args=(route, body, {}))
    turns = 0
    started = time.process_time()
    reading.start()
    while reading.is_alive():
        reading.join(0.001)
        turns += 1
    assert turns >= (time.process_time() - started) / 0.05
