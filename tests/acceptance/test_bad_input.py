"""What cannot be understood is refused in the caller's dialect, reaches no provider, leaves no trace in the books."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import brotli
import pytest
import zstandard

from tests.support.hostile import (
    ANTHROPIC,
    BODY_BYTES_MAX,
    GEMINI,
    OPENAI,
    WORDINGS,
    HostileGateway,
    Wording,
)
from tests.support.raw_http import CutShort, RawConnection
from tests.support.raw_http import request as orderly
from tests.support.simulator import SimulatorProcess

ALL = pytest.mark.parametrize("api", WORDINGS, ids=lambda api: api.name)
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
ENCODINGS = pytest.mark.parametrize("encoding", ENCODERS)


@pytest.fixture
def untouched(hostile: HostileGateway, simulator: SimulatorProcess) -> Iterator[HostileGateway]:
    """Nothing that the test does reaches a provider, is held, charged or recorded."""
    before = hostile.standing()
    assert before.holds == 0
    rows = hostile.settled_rows()
    hostile.said.say()
    yield hostile
    assert simulator.totals()["requests"] == 0
    assert hostile.said.received == []
    assert hostile.standing() == before
    assert hostile.settled_rows() == rows


# ------------------------------------------------------------------ keys


@ALL
@pytest.mark.parametrize(
    ("key", "code"), [(None, "missing_api_key"), ("wrong", "invalid_api_key"), ("", "missing_api_key")]
)
def test_no_key_and_a_wrong_key(untouched: HostileGateway, api: Wording, key: str | None, code: str) -> None:
    api.assert_refused(untouched.exchange(api.call(key)), 401, code)


@ALL
def test_an_expired_key(untouched: HostileGateway, api: Wording) -> None:
    api.assert_refused(untouched.exchange(api.call(untouched.expired_key)), 401, "expired_api_key")


@ALL
def test_the_admin_token_and_the_providers_keys_are_no_client_keys(
    untouched: HostileGateway, api: Wording
) -> None:
    for key in (untouched.admin_token, "upstream-openai-key", "x" * 5_000):
        reply = untouched.exchange(api.call(key))
        assert reply.status == 401
        assert key.encode() not in reply.body


def test_a_key_with_bytes_that_no_key_has(untouched: HostileGateway) -> None:
    for key in (b"\xff\xfe", b"tg-\xc3\xa9", b"a\tb"):
        data = OPENAI.call("KEY").replace(b"KEY", key)
        OPENAI.assert_refused(untouched.exchange(data), 401, "missing_api_key")


def test_a_revoked_key_is_refused_within_a_second_or_so(
    hostile: HostileGateway, simulator: SimulatorProcess
) -> None:
    key = hostile.command("keys", "create", "--org", "acme", "--name", "to revoke").strip()
    assert hostile.exchange(OPENAI.call(key)).status == 200
    listing = hostile.command("keys", "list").splitlines()
    [key_id] = [line.split()[0] for line in listing if "to revoke" in line]
    hostile.command("keys", "revoke", key_id)
    asked = simulator.totals()["requests"]
    reply = hostile.exchange(OPENAI.call(key))
    OPENAI.assert_refused(reply, 401, "revoked_api_key")
    assert simulator.totals()["requests"] == asked


def test_a_stream_ends_whose_key_got_another_secret_while_its_body_was_sent(hostile: HostileGateway) -> None:
    key = hostile.command("keys", "create", "--org", "acme", "--name", "to rotate").strip()
    listing = hostile.command("keys", "list").splitlines()
    [key_id] = [line.split()[0] for line in listing if "to rotate" in line]
    body = json.dumps({**OPENAI.body, "stream": True, "max_tokens": 400}).encode()
    data = OPENAI.request(body, key, {"x-sim-output-tokens": "300", "x-sim-chunk-ms": "20"})
    admin = {"authorization": f"Bearer {hostile.admin_token}"}
    with RawConnection(hostile.port) as slow:
        # Whoever is asked for the body has been let in.
        slow.send(data[: -len(body)].replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n"))
        assert slow.interim().status == 100
        assert hostile.exchange(orderly(f"/api/keys/{key_id}/rotate", b"{}", admin)).status == 200
        while hostile.exchange(OPENAI.call(key)).status != 401:
            pass
        slow.send(body)
        try:
            assert slow.reply().status == 401, "it was ended before it began"
        except CutShort:
            pass


# ------------------------------------------------------------------ bodies that are not what they should be


@ALL
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b'"text"', b"{'model': 1}", b'{"a": NaN}', b'{"a": 1}}', b'{"a": 1} {"b": 2}',
        b"\xff\xfe{}", b"\xef\xbb\xbf{}", b'{"a": "\xff"}', b'{"a": "\x00"}', b'{"a": "\\ud800"}' + b"x",
        b"[" * 100_000, b'{"a":' * 100_000, b"\x00", b'{"a": 1e999999}', b'{"a": ' + b"9" * 100_000 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)  # fmt: skip
def test_broken_json(untouched: HostileGateway, api: Wording, body: bytes) -> None:
    reply = untouched.exchange(api.request(body, untouched.key))
    error = api.assert_refused(reply, 400, "invalid_request")
    assert len(error["message"]) < 500


@ALL
@pytest.mark.parametrize("framing", ["declared", "chunked"])
def test_a_body_over_the_bound(untouched: HostileGateway, api: Wording, framing: str) -> None:
    body = json.dumps({**api.body, "padding": "x" * BODY_BYTES_MAX}).encode()
    data = api.request(body, untouched.key)
    if framing == "chunked":
        head = data[: -len(body)].replace(b"content-length: %d" % len(body), b"transfer-encoding: chunked")
        pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
        data = head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    api.assert_refused(untouched.exchange(data), 413, "request_too_large")


def test_a_body_that_declares_too_much_is_refused_before_it_is_sent(untouched: HostileGateway) -> None:
    head = OPENAI.request(b"", untouched.key).replace(b"content-length: 0", b"content-length: 9999999999")
    OPENAI.assert_refused(untouched.exchange(head), 413, "request_too_large")


# ------------------------------------------------------------------ content-encodings


@ALL
@ENCODINGS
def test_a_compressed_body_works(
    hostile: HostileGateway, simulator: SimulatorProcess, api: Wording, encoding: str
) -> None:
    body = json.dumps(api.body).encode()
    data = api.request(ENCODERS[encoding](body), hostile.key, {"content-encoding": encoding})
    assert hostile.exchange(data).status == 200
    [asked] = simulator.requests()
    assert asked["body_bytes"] == len(body)
    assert "content-encoding" not in asked["header_names"]


@ALL
@pytest.mark.parametrize("encoding", ["compress", "gzip, br", "aws-chunked", "\xff", "x" * 500])
def test_an_unknown_content_encoding(untouched: HostileGateway, api: Wording, encoding: str) -> None:
    data = api.request(b"{}", untouched.key, {"content-encoding": encoding})
    api.assert_refused(untouched.exchange(data), 415, "unsupported_content_encoding")


@ALL
@ENCODINGS
def test_a_corrupt_compressed_body(untouched: HostileGateway, api: Wording, encoding: str) -> None:
    whole = ENCODERS[encoding](json.dumps(api.body).encode())
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
    for body in (json.dumps(api.body).encode(), whole[:-9], flipped, whole + b"more", b"", b"\x00" * 50):
        data = api.request(body, untouched.key, {"content-encoding": encoding})
        api.assert_refused(untouched.exchange(data), 400, "invalid_request")


@ALL
@ENCODINGS
def test_a_decompression_bomb(untouched: HostileGateway, api: Wording, encoding: str) -> None:
    bomb = ENCODERS[encoding](b'{"a":"' + b" " * (64 << 20) + b'"}')
    assert len(bomb) < BODY_BYTES_MAX
    data = api.request(bomb, untouched.key, {"content-encoding": encoding})
    api.assert_refused(untouched.exchange(data), 413, "request_too_large")


def test_a_second_content_encoding_header_is_not_overlooked(untouched: HostileGateway) -> None:
    body = gzip.compress(json.dumps(OPENAI.body).encode())
    data = OPENAI.request(body, untouched.key, {"content-encoding": "identity", "Content-Encoding": "gzip"})
    assert untouched.exchange(data).status in (400, 415)


# ------------------------------------------------------------------ members

CAPS: list[Any] = [
    -1,
    0,
    1.5,
    1.0,
    "20",
    True,
    False,
    [20],
    {"a": 1},
    10**30,
    2**31,
    -(2**63),
    1e400,
    "",
    "x",
]


@pytest.mark.parametrize("value", CAPS, ids=repr)
def test_an_output_cap_that_is_none(untouched: HostileGateway, value: Any) -> None:
    shown = "1e400" if value == 1e400 else json.dumps(value)
    plain = json.dumps({name: item for name, item in OPENAI.body.items() if name != "max_tokens"})[:-1]
    for name in ("max_tokens", "max_completion_tokens", "n"):
        body = f'{plain}, "{name}": {shown}}}'.encode()
        error = OPENAI.assert_refused(
            untouched.exchange(OPENAI.request(body, untouched.key)), 400, "invalid_request"
        )
        assert value == 1e400 or error["param"] == name
    error = ANTHROPIC.assert_refused(
        untouched.exchange(
            ANTHROPIC.request(
                json.dumps({**ANTHROPIC.body, "max_tokens": "VALUE"}).replace('"VALUE"', shown).encode(),
                untouched.key,
            )
        ),
        400,
        "invalid_request",
    )
    assert value == 1e400 or "max_tokens" in error["message"]
    for name in ("maxOutputTokens", "max_output_tokens", "candidateCount", "candidate_count"):
        body = json.dumps({**GEMINI.body, "generationConfig": {name: "VALUE"}}).replace('"VALUE"', shown)
        error = GEMINI.assert_refused(
            untouched.exchange(GEMINI.request(body.encode(), untouched.key)), 400, "invalid_request"
        )
        assert value == 1e400 or name in error["message"]


OPENAI_TWICE = [
    '"max_tokens": 1', '"max_tok\\u0065ns": 99', '"MAX_TOKENS": 99', '"Model": "gpt-4o"', '"model": "gpt-4o"',
    '"mod\\u0065l": "gpt-4o"', '"N": 5', '"\\u006e": 5', '"Stream": true', '"stream_Options": {}',
]  # fmt: skip


@pytest.mark.parametrize("member", OPENAI_TWICE)
def test_a_member_given_twice_or_spelled_otherwise(untouched: HostileGateway, member: str) -> None:
    body = json.dumps(OPENAI.body)[:-1] + ", " + member + "}"
    reply = untouched.exchange(OPENAI.request(body.encode(), untouched.key))
    OPENAI.assert_refused(reply, 400, "invalid_request")


@pytest.mark.parametrize(
    "member", ['"max_tokens": 1', '"max_tok\\u0065ns": 99', '"Max_Tokens": 99', '"Stream": true']
)
def test_a_member_given_twice_to_anthropic(untouched: HostileGateway, member: str) -> None:
    body = json.dumps(ANTHROPIC.body)[:-1] + ", " + member + "}"
    reply = untouched.exchange(ANTHROPIC.request(body.encode(), untouched.key))
    ANTHROPIC.assert_refused(reply, 400, "invalid_request")


@pytest.mark.parametrize(
    "config",
    [
        '"generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 99}',
        '"generationConfig": {"maxOutputTokens": 1, "maxOutputTokens": 99}',
        '"generationConfig": {"maxoutputtokens": 1}',
        '"generationConfig": {"maxOutputToken\\u0073": 1}',
        '"generationConfig": {"candidateCount": 1, "candidate_count": 8}',
        '"generationConfig": {}, "generation_config": {}',
        '"GenerationConfig": {}',
        '"generation_Config": {}',
        '"generation\\u0043onfig": {}',
    ],
)
def test_a_member_given_twice_to_gemini(untouched: HostileGateway, config: str) -> None:
    body = json.dumps({"contents": GEMINI.body["contents"]})[:-1] + ", " + config + "}"
    reply = untouched.exchange(GEMINI.request(body.encode(), untouched.key))
    GEMINI.assert_refused(reply, 400, "invalid_request")


# ------------------------------------------------------------------ models


@pytest.mark.parametrize("api", [OPENAI, ANTHROPIC], ids=lambda api: api.name)
def test_a_model_without_a_price(untouched: HostileGateway, api: Wording) -> None:
    reply = untouched.exchange(api.call(untouched.key, model="nobody-sells-this"))
    api.assert_refused(reply, 403, "unpriced_model")


def test_a_gemini_model_without_a_price(untouched: HostileGateway) -> None:
    data = GEMINI.call(untouched.key).replace(b"gemini-2.5-flash", b"nobody-sells-this")
    GEMINI.assert_refused(untouched.exchange(data), 403, "unpriced_model")


@pytest.mark.parametrize(
    "model", [None, 1, "", " gpt-4o-mini", "gpt-4o\n", "x" * 10_000, ["gpt-4o"], "\u0000"]
)
def test_a_model_that_is_no_name(untouched: HostileGateway, model: Any) -> None:
    error = OPENAI.assert_refused(
        untouched.exchange(OPENAI.call(untouched.key, model=model)), 400, "invalid_request"
    )
    assert error["param"] == "model"


def test_a_request_that_could_cost_more_than_can_be_counted(untouched: HostileGateway) -> None:
    tools = [{"type": "web_search_20250305", "name": f"w{n}", "max_uses": 1000} for n in range(20_000)]
    reply = untouched.exchange(ANTHROPIC.call(untouched.key, tools=tools))
    assert "more than any budget" in ANTHROPIC.assert_refused(reply, 400, "invalid_request")["message"]


# ------------------------------------------------------------------ attribution


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-tollgate-tags", "novalue"), ("x-tollgate-tags", "=x"), ("x-tollgate-tags", "a=b=c,d"),
        ("x-tollgate-tags", ",".join(f"k{n}=v" for n in range(40))), ("x-tollgate-tags", "a=" + "v" * 300),
        ("x-tollgate-user", "u" * 300), ("x-tollgate-conversation", "c" * 300),
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_attribution_that_is_not_usable(untouched: HostileGateway, name: str, value: str) -> None:
    data = OPENAI.request(json.dumps(OPENAI.body).encode(), untouched.key, {name: value})
    error = OPENAI.assert_refused(untouched.exchange(data), 400, "invalid_request")
    assert error["param"] == name


@pytest.mark.parametrize("name", ["x-tollgate-user", "x-tollgate-conversation", "x-tollgate-tags"])
def test_attribution_that_is_not_utf_8(untouched: HostileGateway, name: str) -> None:
    data = OPENAI.request(json.dumps(OPENAI.body).encode(), untouched.key, {name: "a=VALUE"})
    reply = untouched.exchange(data.replace(b"VALUE", b"\xff\xfe"))
    assert OPENAI.assert_refused(reply, 400, "invalid_request")["param"] == name


def test_the_name_of_a_tag_that_is_not_utf_8(untouched: HostileGateway) -> None:
    name = "x-tollgate-tags"
    data = OPENAI.request(json.dumps(OPENAI.body).encode(), untouched.key, {name: "NAME=a"})
    reply = untouched.exchange(data.replace(b"NAME", b"\xff\xfe"))
    assert OPENAI.assert_refused(reply, 400, "invalid_request")["param"] == name


# ------------------------------------------------------------------ the end


def test_after_all_this_the_books_agree(hostile: HostileGateway) -> None:
    with RawConnection(hostile.port) as connection:  # and it still works
        assert connection.send(OPENAI.call(hostile.key)).reply().status == 200
    assert hostile.standing().holds == 0
    assert hostile.command("reconcile").splitlines()[-1] == "drift 0"
