"""Requests that abuse HTTP itself: none reaches a provider as something that it was not admitted as."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.hostile import ANTHROPIC, GEMINI, OPENAI, WORDINGS, HostileGateway, Wording
from tests.support.raw_http import CutShort, RawConnection, request
from tests.support.simulator import SimulatorProcess

BODY = json.dumps(OPENAI.body).encode()
GOOD = b'{"id":"x","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}'
SAID = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(GOOD),
    GOOD,
)


@pytest.fixture
def untouched(hostile: HostileGateway, simulator: SimulatorProcess) -> Iterator[HostileGateway]:
    """Nothing that the test does reaches a provider, is held, charged or recorded."""
    before = hostile.standing()
    hostile.said.say(SAID)
    yield hostile
    assert simulator.totals()["requests"] == 0
    assert hostile.said.received == []
    assert hostile.said.stray == []
    assert hostile.standing() == before


@pytest.fixture
def said(hostile: HostileGateway) -> HostileGateway:
    """The gateway, with a provider that answers every request at /said/... with a good reply."""
    hostile.said.say(SAID)
    return hostile


def head_with(key: str, *lines: str, path: str = "/said/v1/chat/completions") -> bytes:
    """A request head with exactly these framing headers."""
    always = [
        f"POST {path} HTTP/1.1",
        "host: t",
        f"authorization: Bearer {key}",
        "content-type: application/json",
    ]
    return ("\r\n".join([*always, *lines]) + "\r\n\r\n").encode("latin-1")


# ------------------------------------------------------------------ one body, two lengths


@pytest.mark.parametrize(
    "lines",
    [
        ("content-length: 10", "content-length: 20"),
        ("content-length: 10", "content-length: 10"),
        ("content-length: 10, 20"),
        ("content-length: 10, 10"),
        ("content-length: -1",),
        ("content-length: +10",),
        ("content-length: 0x10",),
        ("content-length: 1_0",),
        ("content-length: 1e1",),
        ("content-length: 99999999999999999999999",),
        ("content-length: ten",),
        ("content-length:",),
        ("content-length: 10", "transfer-encoding: chunked"),
        ("transfer-encoding: chunked", "content-length: 10"),
        ("transfer-encoding: chunked, identity",),
        ("transfer-encoding: identity",),
        ("transfer-encoding: xchunked",),
        ("transfer-encoding: chunked, chunked",),
        ("transfer-encoding: chunked", "transfer-encoding: identity"),
        ("transfer-encoding: identity", "transfer-encoding: chunked"),
        ("transfer-encoding : chunked",),
        (" transfer-encoding: chunked",),
        ("transfer-encoding:\x0bchunked",),
        ("content-length : 10",),
        ("content length: 10",),
        ("x: y\r\n content-length: 10",),
        ("x: y\ncontent-length: 10",),
        ("x: y\rcontent-length: 10",),
        ("content-length: 10\x00",),
    ],
    ids=repr,
)
def test_framing_that_two_servers_could_read_differently(
    untouched: HostileGateway, lines: tuple[str, ...]
) -> None:
    lines = (lines,) if isinstance(lines, str) else lines
    smuggled = b"POST /said/v1/chat/completions HTTP/1.1\r\nhost: t\r\n\r\n"
    data = head_with(untouched.key, *lines) + b"0\r\n\r\n" + smuggled
    with RawConnection(untouched.port) as connection:
        reply = connection.send(data).reply()
        assert reply.status == 400
        assert reply.json()["error"]["code"] == "invalid_request"
        assert untouched.key.encode() not in reply.body
        while True:  # whatever else is answered, nothing is admitted
            try:
                assert 400 <= connection.reply().status < 500
            except CutShort:
                break


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n", b"-1\r\nx\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n", b"5\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n" b"\r\n", b"5\r\nhello0\r\n\r\n",
    ],
    ids=lambda chunks: repr(chunks[:20]),
)  # fmt: skip
def test_chunks_that_are_none(untouched: HostileGateway, chunks: bytes) -> None:
    data = head_with(untouched.key, "transfer-encoding: chunked") + chunks
    with RawConnection(untouched.port) as connection:
        reply = connection.send_if_wanted(data).reply()
    OPENAI.assert_refused(reply, 400, "invalid_request")


def test_a_chunk_extension_without_end_is_a_body_that_stalls(untouched: HostileGateway) -> None:
    data = head_with(untouched.key, "transfer-encoding: chunked") + b"5;" + b"e" * 100_000
    OPENAI.assert_refused(untouched.exchange(data), 408, "request_timeout")


def test_a_body_that_ends_before_its_length(untouched: HostileGateway) -> None:
    data = head_with(untouched.key, f"content-length: {len(BODY) + 10}") + BODY
    with RawConnection(untouched.port) as connection:
        connection.send(data)
        reply = connection.reply()  # once the body has stalled for too long
    OPENAI.assert_refused(reply, 408, "request_timeout")


def test_a_body_whose_client_leaves_before_its_end(untouched: HostileGateway) -> None:
    data = head_with(untouched.key, f"content-length: {len(BODY) + 10}") + BODY
    with RawConnection(untouched.port) as connection:
        connection.send(data)
    assert untouched.exchange(request("/health/live", method="GET", body=None)).status == 200


@pytest.mark.parametrize("api", WORDINGS, ids=lambda api: api.name)
def test_a_body_longer_than_its_length(untouched: HostileGateway, api: Wording) -> None:
    body = json.dumps(api.body).encode()
    data = api.request(body, untouched.key)
    data = data.replace(b"content-length: %d" % len(body), b"content-length: %d" % (len(body) - 1))
    reply = untouched.exchange(data)  # what follows the body is no HTTP, so the connection's own words answer
    assert (reply.status, reply.header("x-tollgate-error")) == (400, "invalid_request")


def test_a_compressed_transfer_coding_is_not_decoded(untouched: HostileGateway) -> None:
    data = head_with(untouched.key, "transfer-encoding: gzip, chunked") + b"5\r\nhello\r\n0\r\n\r\n"
    assert untouched.exchange(data).status == 400


def test_a_chunked_body_is_taken_whole(said: HostileGateway) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    data = head_with(said.key, "transfer-encoding: chunked") + chunks
    assert said.exchange(data).status == 200
    [received] = said.said.received
    assert received.body == BODY
    assert received.values(b"transfer-encoding") == []


# ------------------------------------------------------------------ one request behind another


@pytest.mark.parametrize("path", ["/said/v1/models", "/saida/v1/models", "/saidg/v1beta/models"])
def test_the_body_of_a_get_is_not_a_request_of_its_own(untouched: HostileGateway, path: str) -> None:
    inner = request("/v1/chat/completions", BODY, {"content-type": "application/json"})
    reply = untouched.exchange(request(path, inner, method="GET", key=untouched.key))
    assert (reply.status, reply.header("x-tollgate-error")) == (400, "invalid_request")


def test_a_second_request_is_authenticated_by_itself(
    hostile: HostileGateway, simulator: SimulatorProcess
) -> None:
    before = hostile.standing()
    with RawConnection(hostile.port) as connection:
        connection.send(OPENAI.call(hostile.key) + OPENAI.call(None) + ANTHROPIC.call("wrong"))
        assert connection.reply().status == 200
        OPENAI.assert_refused(connection.reply(), 401, "missing_api_key")
        ANTHROPIC.assert_refused(connection.reply(), 401, "invalid_api_key")
    assert simulator.totals()["requests"] == 1
    assert hostile.standing() != before


def test_pipelined_requests_are_answered_in_order(
    hostile: HostileGateway, simulator: SimulatorProcess
) -> None:
    apis = [OPENAI, ANTHROPIC, GEMINI, OPENAI]
    data = b"".join(
        api.request(json.dumps(api.body).encode(), hostile.key,
                    {"x-sim-label": f"pipe-{n}", "x-sim-first-byte-ms": str(60 - 20 * n)})
        for n, api in enumerate(apis)
    )  # fmt: skip
    with RawConnection(hostile.port) as connection:
        connection.send(data)
        replies = [connection.reply() for _ in apis]
    assert [reply.status for reply in replies] == [200] * 4
    ids = [reply.json().get("id") or reply.json()["responseId"] for reply in replies]
    assert ids == [simulator.requests(f"pipe-{number}")[0]["id"] for number in range(4)]
    for reply, identity in zip(replies, ids, strict=True):
        [row] = hostile.rows(request_id=reply.header("x-tollgate-request-id"))
        assert row["provider_request_id"] == identity


def test_pipelined_streams_are_answered_in_order(
    hostile: HostileGateway, simulator: SimulatorProcess
) -> None:
    data = b"".join(
        OPENAI.request(
            json.dumps({**OPENAI.body, "stream": True}).encode(), hostile.key, {"x-sim-label": f"ps-{n}"}
        )
        for n in range(3)
    )
    with RawConnection(hostile.port) as connection:
        connection.send(data)
        bodies = [connection.reply().body for _ in range(3)]
    for number, body in enumerate(bodies):
        assert body.endswith(b"data: [DONE]\n\n")
        assert simulator.requests(f"ps-{number}")[0]["id"].encode() in body


# ------------------------------------------------------------------ heads


def test_one_huge_header(untouched: HostileGateway) -> None:
    data = OPENAI.request(BODY, untouched.key, {"x-huge": "x" * 200_000})
    reply = untouched.exchange(data)
    assert reply.status in (400, 431)
    assert reply.json()["error"]["code"] == "invalid_request"
    assert len(reply.body) < 1000


def test_ten_thousand_headers(untouched: HostileGateway) -> None:
    data = OPENAI.request(BODY, untouched.key, {f"x-{number}": "y" for number in range(10_000)})
    reply = untouched.exchange(data)
    assert reply.status in (400, 431)
    assert reply.json()["error"]["code"] == "invalid_request"


def test_many_headers_of_the_longest_length(untouched: HostileGateway) -> None:
    data = OPENAI.request(BODY, untouched.key, {f"x-{number}": "y" * 60_000 for number in range(250)})
    reply = untouched.exchange(data)
    assert reply.status in (400, 431)


def test_a_huge_request_line(untouched: HostileGateway) -> None:
    reply = untouched.exchange(request("/v1/" + "x" * 200_000, BODY, key=untouched.key))
    assert reply.status in (400, 403, 414)
    assert len(reply.body) < 1000


@pytest.mark.parametrize(
    "path",
    [
        "/said/../v1/chat/completions", "/said/v1/../../x", "/said/%2e%2e/v1/chat/completions", "/said/v1/%2E./x",
        "/said/v1%2fchat/completions", "/said//v1/chat/completions", "//said/v1/chat/completions", "/said/v1//models",
        "/said\\v1\\chat\\completions", "/said/v1/chat%5ccompletions", "/said/v1/chat/completions;x=1",
        "/said;x/v1/chat/completions", "/said/v1/chat/completions%00", "/said/v1/chat/completions%20",
        "/said/v1/chat/completions%3fx", "/said/v1/chat/completions%23", "/said/v1/chat/completions%252f",
        "/said/v1/chat/completions/", "/said/v1/chat/completions/.", "/said/v1/./chat/completions", "/said", "/said/",
        "/SAID/v1/chat/completions", "/said/V1/chat/completions", "/said/v1/chat/Completions",
        "http://said/v1/chat/completions", "http://127.0.0.1/said/v1/chat/completions", "said/v1/chat/completions",
        "/%73aid/v1/chat/completions", "/said/v1/%63hat/completions", "/said/v1/files", "/said/v1/organization/costs",
        "/said/v1/chat/completions#x", "/v1/models/../../admin", "/saidg/v1beta/models/x/../y:generateContent",
        "/saidg/v1beta/models/gemini-2.5-flash%2f..:generateContent", "/saidg/v1beta/files", "/saida/v1/organizations",
        "/saidg/v1beta/models/gemini-2.5-flash:generateContent:x", "/saidg/v1beta/models/a:b/c:generateContent",
        "/saidg/v1beta/models/gemini-2.5-flash:GenerateContent", "/saida/v1/messages/batches", "*",
        "/api/../said/v1/models",
    ],
)  # fmt: skip
def test_a_path_that_means_something_else(untouched: HostileGateway, path: str) -> None:
    reply = untouched.exchange(request(path, BODY, {"content-type": "application/json"}, key=untouched.key))
    assert reply.status in (400, 403, 404)
    said = reply.json()
    # What begins with /api is answered in the shape of the gateway's own API.
    assert said["detail"] if path.startswith("/api") else said["error"]["message"]


def test_a_path_with_bytes_outside_of_ascii(untouched: HostileGateway) -> None:
    for path in (b"/said/v1/chat/completions\xff", b"/said/v1/\xc3\xa9", b"/said/v1/chat/compl\x00etions"):
        assert untouched.exchange(request(path, BODY, key=untouched.key)).status in (400, 403)


@pytest.mark.parametrize(
    "header",
    [
        "x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url",
        "openai-organization", "openai-project", "cookie", "proxy-authorization", "x-goog-user-project",
    ],
)  # fmt: skip
def test_headers_that_change_what_was_checked_stay_here(said: HostileGateway, header: str) -> None:
    data = request(
        "/said/v1/chat/completions",
        BODY,
        {"content-type": "application/json", header: "DELETE"},
        key=said.key,
    )
    assert said.exchange(data).status == 200
    [received] = said.said.received
    assert received.values(header.encode()) == []
    assert received.line == b"POST /v1/chat/completions HTTP/1.1"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "GET", "TRACE"])
def test_methods_that_no_route_has(untouched: HostileGateway, method: str) -> None:
    data = request(
        "/said/v1/chat/completions",
        BODY,
        {"content-type": "application/json"},
        method=method,
        key=untouched.key,
    )
    reply = untouched.exchange(data, bodyless=method == "HEAD")
    assert reply.status == 403
    assert reply.header("x-tollgate-error") == "unsupported_route"


@pytest.mark.parametrize("method", ["CONNECT", "post", "FOO", "PRI"])
def test_methods_that_are_none(untouched: HostileGateway, method: str) -> None:
    reply = untouched.exchange(request("/said/v1/chat/completions", BODY, method=method, key=untouched.key))
    assert reply.status in (400, 403)


@pytest.mark.parametrize("version", ["0.9", "2.0", "1.2", "3", "1.1x", ""])
def test_versions_that_are_not_spoken(untouched: HostileGateway, version: str) -> None:
    reply = untouched.exchange(request("/said/v1/chat/completions", BODY, version=version, key=untouched.key))
    assert reply.status == 400


@pytest.mark.parametrize("stream", [False, True])
def test_http_1_0_is_answered_without_chunks(
    hostile: HostileGateway, simulator: SimulatorProcess, stream: bool
) -> None:
    body = json.dumps({**OPENAI.body, "stream": stream}).encode()
    data = request(OPENAI.path, body, {"content-type": "application/json"}, version="1.0", key=hostile.key)
    with RawConnection(hostile.port) as connection:
        reply = connection.send(data).reply()
        assert reply.status == 200
        assert reply.header("transfer-encoding") is None
        assert reply.body.endswith(b"data: [DONE]\n\n" if stream else b"}")
        assert connection.closed()


def test_expect_100_continue_is_answered_before_the_body_comes(said: HostileGateway) -> None:
    data = request(
        "/said/v1/chat/completions",
        BODY,
        {"expect": "100-continue", "content-type": "application/json"},
        key=said.key,
    )
    with RawConnection(said.port) as connection:
        connection.send(data[: -len(BODY)])
        assert connection.interim().status == 100
        assert connection.send(BODY).interim().status == 200
    [received] = said.said.received
    assert received.body == BODY
    assert received.values(b"expect") == []


def test_expect_100_continue_of_a_refused_request_gets_the_refusal(untouched: HostileGateway) -> None:
    with RawConnection(untouched.port) as connection:
        reply = connection.send(
            OPENAI.request(BODY, "wrong", {"expect": "100-continue"})[: -len(BODY)]
        ).interim()
    OPENAI.assert_refused(reply, 401, "invalid_api_key")


@pytest.mark.parametrize("to", ["websocket", "h2c", "TLS/1.0"])
def test_an_upgrade_is_an_ordinary_request(said: HostileGateway, to: str) -> None:
    headers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": to, "http2-settings": "AAMAAABkAAQAAP__",
               "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13"}  # fmt: skip
    data = request(
        "/said/v1/chat/completions", BODY, {**headers, "content-type": "application/json"}, key=said.key
    )
    reply = said.exchange(data)
    assert reply.status in (200, 400)
    assert said.said.stray == []
    for received in said.said.received:
        assert received.body == BODY
        assert received.values(b"upgrade") == received.values(b"connection") == []
    get = request("/said/v1/responses", None, headers, method="GET", key=said.key)
    OPENAI.assert_refused(said.exchange(get), 403, "unsupported_route")


def test_what_follows_an_upgrade_is_a_request_of_its_own(untouched: HostileGateway) -> None:
    get = request(
        "/said/v1/responses", None, {"connection": "upgrade", "upgrade": "x"}, method="GET", key=untouched.key
    )
    with RawConnection(untouched.port) as connection:
        connection.send(get + request("/said/v1/chat/completions", BODY))
        assert connection.reply().status in (400, 403)


def test_a_query_with_bytes_outside_of_ascii(said: HostileGateway) -> None:
    for query in (b"\xff", b"\xc3\xa9=1", b"a=%ff", b"a=\x7f", b"a=%zz"):
        path = b"/said/v1/chat/completions?" + query
        reply = said.exchange(request(path, BODY, {"content-type": "application/json"}, key=said.key))
        assert reply.status in (200, 400)
    assert said.said.stray == []


def test_header_values_outside_of_utf_8_are_passed_as_they_are(said: HostileGateway) -> None:
    data = request(
        "/said/v1/chat/completions",
        BODY,
        {"content-type": "application/json", "x-odd": "VALUE"},
        key=said.key,
    )
    assert said.exchange(data.replace(b"VALUE", b"\xff\xe9\x80")).status == 200
    [received] = said.said.received
    assert received.values(b"x-odd") == [b"\xff\xe9\x80"]


@pytest.mark.parametrize("value", [b"a\x00b", b"a\rb", b"a\nb", b"a\x7fb\x01"])
def test_header_values_with_control_characters(untouched: HostileGateway, value: bytes) -> None:
    data = request("/said/v1/chat/completions", BODY, {"x-odd": "VALUE"}, key=untouched.key)
    reply = untouched.exchange(data.replace(b"VALUE", value))
    assert reply.status == 400


TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)


@pytest.mark.parametrize(
    "data",
    [TLS_HELLO, b"\x00" * 100, b"SSH-2.0-x\r\n\r\n", b"{}\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ids=lambda data: repr(data[:8]),
)
def test_what_is_not_http_is_refused(untouched: HostileGateway, data: bytes) -> None:
    with RawConnection(untouched.port) as connection:
        assert connection.send(data).reply().status == 400
        assert connection.closed()


# ------------------------------------------------------------------ slow ones


def test_a_body_that_stalls_is_given_up(untouched: HostileGateway) -> None:
    for api in WORDINGS:
        data = api.call(untouched.key)
        with RawConnection(untouched.port) as connection:
            reply = connection.send(data[:-5]).reply()
            api.assert_refused(reply, 408, "request_timeout")
            assert connection.closed()


def test_after_all_this_the_books_agree(hostile: HostileGateway) -> None:
    assert hostile.exchange(OPENAI.call(hostile.key)).status == 200
    assert hostile.standing().holds == 0
    assert hostile.command("reconcile").splitlines()[-1] == "drift 0"
