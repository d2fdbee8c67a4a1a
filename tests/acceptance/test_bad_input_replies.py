"""Whatever a provider answers, and however slowly a client takes it: it comes through as it was, and is settled."""

from __future__ import annotations

import gzip
import json
import time

import psutil
import pytest

from tests.support.hostile import ANTHROPIC, GEMINI, OPENAI, SCRIPTED_KEYS, HostileGateway
from tests.support.raw_http import CutShort, RawConnection, RawReply, request
from tests.support.simulator import SimulatorProcess

CHAT = {**OPENAI.body}
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
GOOD = json.dumps({"id": "x", "choices": [], "usage": USAGE}).encode()
DELTA = b'data: {"id":"s","choices":[{"index":0,"delta":{"content":"kookaburra "}}]}\n\n'
LAST = b'data: {"id":"s","choices":[],"usage":' + json.dumps(USAGE).encode() + b"}\n\n"
DONE = b"data: [DONE]\n\n"
MEBIBYTE = 1024 * 1024


def reply_of(body: bytes, *lines: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}", *lines]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body


def ask(gateway: HostileGateway, *, stream: bool = False, **headers: str) -> RawReply:
    """A chat through the provider whose words are scripted."""
    body = json.dumps({**CHAT, "stream": stream}).encode()
    return gateway.exchange(said_call(gateway, body, **headers))


def said_call(gateway: HostileGateway, body: bytes, **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    path = "/said/v1/chat/completions"
    return request(path, body, {"content-type": "application/json", **named}, key=gateway.key)


def row_of(gateway: HostileGateway, reply: RawReply) -> dict[str, object]:
    [row] = gateway.rows(request_id=reply.header("x-tollgate-request-id"))
    return row


# ------------------------------------------------------------------ odd replies


def test_headers_come_through_as_they_are(hostile: HostileGateway) -> None:
    hostile.said.say(
        reply_of(
            GOOD,
            "X-Request-Id: req_1",
            "x-ratelimit-remaining-tokens: 7",
            "openai-processing-ms: 12",
            "set-cookie: a=1",
            "set-cookie: b=2",
            "x-empty:",
            "x-cafe: caf\xc3\xa9",
            "x-hop: secret-of-the-hop",
            "connection: keep-alive, x-hop",
            "keep-alive: timeout=5",
            "proxy-authenticate: Basic",
            "trailer: x",
            "te: trailers",
            "x-tollgate-credits: 0",
            "x-tollgate-request-id: theirs",
        )
    )
    reply = ask(hostile)
    assert (reply.status, reply.body) == (200, GOOD)
    names = [name.lower() for name, _ in reply.headers]
    for name, value in (("x-request-id", "req_1"), ("openai-processing-ms", "12"), ("x-empty", "")):
        assert reply.header(name) == value
    assert reply.header("x-ratelimit-remaining-tokens") == "7"
    assert (reply.header("x-cafe") or "").encode("latin-1") == "caf\xe9".encode()
    assert [value for name, value in reply.headers if name.lower() == "set-cookie"] == ["a=1", "b=2"]
    for name in ("x-hop", "keep-alive", "proxy-authenticate", "trailer", "te"):
        assert name not in names
    assert reply.header("x-tollgate-request-id") != "theirs"
    assert reply.header("x-tollgate-credits") != "0"
    assert reply.header("x-tollgate-usage-source") == "provider"


@pytest.mark.parametrize("stream", [False, True])
def test_an_id_that_no_utf_8_can_say_costs_what_the_call_used(hostile: HostileGateway, stream: bool) -> None:
    unary = b'{"id":"\\ud800","choices":[],"usage":' + json.dumps(USAGE).encode() + b"}"
    events = b"data: " + unary + b"\n\n" + DONE
    hostile.said.say(reply_of(events, kind="text/event-stream") if stream else reply_of(unary))
    reply = ask(hostile, stream=stream)
    assert (reply.status, reply.body) == (200, events if stream else unary)
    row = row_of(hostile, reply)
    assert (row["usage_source"], row["input_tokens"], row["output_tokens"]) == ("provider", 5, 7)


@pytest.mark.parametrize("named", ["keep-alive", "keep-alive, date"])
def test_every_reply_has_one_date(hostile: HostileGateway, named: str) -> None:
    theirs = "Thu, 01 Jan 2026 00:00:00 GMT"
    hostile.said.say(reply_of(GOOD, f"Date: {theirs}", f"connection: {named}"))
    dates = [value for name, value in ask(hostile).headers if name.lower() == "date"]
    assert len(dates) == 1
    assert (dates == [theirs]) == ("date" not in named)


@pytest.mark.parametrize("stream", [False, True])
def test_header_bytes_that_are_not_utf_8_come_through(hostile: HostileGateway, stream: bool) -> None:
    hostile.said.say(reply_of(DELTA + LAST + DONE if stream else GOOD, "x-odd: \xff\xe9",
                              kind="text/event-stream" if stream else "application/json"))  # fmt: skip
    reply = ask(hostile, stream=stream)
    assert reply.status == 200
    assert (reply.header("x-odd") or "").encode("latin-1").decode() == "\xff\xe9"  # read as Latin-1
    assert row_of(hostile, reply)["usage_source"] == "provider"


def test_keys_stay_on_their_own_side(hostile: HostileGateway) -> None:
    for name, api in (("said", OPENAI), ("saida", ANTHROPIC), ("saidg", GEMINI)):
        hostile.said.say(reply_of(b"{}"))
        path = f"/{name}{api.path}?key={hostile.key}&alt=json&x=%20y"
        everywhere = {
            "x-api-key": hostile.key,
            "x-goog-api-key": hostile.key,
            "api-key": hostile.key,
            "cookie": hostile.key,
        }
        body = json.dumps(api.body).encode()
        reply = hostile.exchange(
            request(path, body, {"content-type": "application/json", **everywhere}, key=hostile.key)
        )
        assert reply.status == 200
        [received] = hostile.said.received
        sent = received.line + b"".join(key + value for key, value in received.headers) + received.body
        assert hostile.key.encode() not in sent
        assert received.line.split()[1] == f"{api.path}?alt=json&x=%20y".encode()
        assert sent.count(SCRIPTED_KEYS[name].encode()) == 1
        heard = b"".join(f"{key}{value}".encode() for key, value in reply.headers) + reply.body
        assert SCRIPTED_KEYS[name].encode() not in heard


def test_a_reply_without_its_usage_cannot_be_asked_for(hostile: HostileGateway) -> None:
    hostile.said.say(reply_of(b"{}"))
    for query in (
        "fields=candidates",
        "$fields=id",
        "%66ields=id",
        "%24fields=id",
        "alt=media",
        "callback=x",
    ):
        data = GEMINI.call(hostile.key).replace(b"POST /", b"POST /saidg/", 1)
        reply = hostile.exchange(data.replace(b" HTTP/1.1", f"?{query} HTTP/1.1".encode(), 1))
        if reply.status != 200:
            GEMINI.assert_refused(reply, 403, "unsupported_route")
        else:
            assert row_of(hostile, reply)["usage_source"] == "bound", query
    assert all(b"ields" not in received.line for received in hostile.said.received)


def test_request_headers_and_body_arrive_as_they_were_sent(hostile: HostileGateway) -> None:
    hostile.said.say(reply_of(GOOD))
    body = (
        b'{ "max_tokens":20,"model" : "gpt-4o-mini",\n"messages"'
        b':[{"role":"user","content":"\\u00e9\xc3\xa9"}] ,"x":1.50}'
    )
    headers = {
        "Content-Type": "application/json", "X-Stainless-Lang": "python", "OpenAI-Beta": "a=b", "user-agent": "me/1",
        "accept-encoding": "gzip, br", "accept": "*/*", "x-tollgate-user": "ada", "X-Tollgate-Tags": "a=b",
        "x-twice": "1", "X-Twice": "2", "connection": "x-private", "x-private": "1", "te": "trailers",
    }  # fmt: skip
    reply = hostile.exchange(request("/said/v1/chat/completions", body, headers, key=hostile.key))
    assert reply.status == 200
    [received] = hostile.said.received
    assert received.body == body
    assert received.values(b"content-length") == [b"%d" % len(body)]
    names = [name for name, _ in received.headers]
    for name in (b"X-Stainless-Lang", b"OpenAI-Beta", b"user-agent", b"accept", b"Content-Type"):
        assert name in names
    assert received.values(b"x-twice") == [b"1", b"2"]
    assert received.values(b"accept-encoding") == [b"identity"]
    for name in (b"x-private", b"te", b"connection", b"x-tollgate-user", b"x-tollgate-tags"):
        assert received.values(name) == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_a_reply_that_is_compressed_unasked_is_read_all_the_same(
    hostile: HostileGateway, stream: bool, together: bool
) -> None:
    plain = DELTA * 50 + LAST + DONE if stream else GOOD
    body = gzip.compress(plain)
    kind = "text/event-stream" if stream else "application/json"
    whole = reply_of(body, "content-encoding: gzip", kind=kind)
    hostile.said.say(*([whole] if together else [whole[: -len(body)], body[:20], body[20:]]))
    reply = ask(hostile, stream=stream)
    found = gzip.decompress(reply.body) if reply.header("content-encoding") == "gzip" else reply.body
    assert found == plain.replace(LAST, b"")
    row = row_of(hostile, reply)
    assert (row["usage_source"], row["input_tokens"], row["output_tokens"]) == ("provider", 5, 7)


def test_a_stream_in_an_encoding_that_is_not_known_is_passed_on_as_it_is(hostile: HostileGateway) -> None:
    hostile.said.say(reply_of(b"\x01\x02\x03" * 100, "content-encoding: compress", kind="text/event-stream"))
    reply = ask(hostile, stream=True)
    assert reply.header("content-encoding") == "compress"
    assert reply.body == b"\x01\x02\x03" * 100
    assert row_of(hostile, reply)["usage_source"] in ("bound", "counted")


def test_a_compressed_stream_that_is_damaged_has_no_clean_end(hostile: HostileGateway) -> None:
    body = bytearray(gzip.compress(DELTA * 500 + LAST + DONE, compresslevel=0))
    body[len(body) // 2] ^= 0xFF
    body[-6] ^= 0xFF
    hostile.said.say(reply_of(bytes(body), "content-encoding: gzip", kind="text/event-stream"))
    try:
        reply = ask(hostile, stream=True)
    except CutShort:
        pass
    else:
        assert reply.header("content-encoding") == "gzip"
        assert reply.body == bytes(body)
    assert hostile.standing().holds == 0


def test_a_reply_that_ends_with_its_connection_comes_whole(hostile: HostileGateway) -> None:
    for kind, body, stream in (
        ("application/json", GOOD, False),
        ("text/event-stream", DELTA + LAST + DONE, True),
    ):
        hostile.said.say(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n".encode(), body, hang_up=True)
        reply = ask(hostile, stream=stream)
        assert reply.body == body.replace(LAST, b"")
        assert row_of(hostile, reply)["output_tokens"] == 7


@pytest.mark.parametrize(
    "status", ["400 Bad Request", "401 Unauthorized", "404 Not Found", "429 Too Many", "500 Oops", "529 X"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_come_as_they_are_and_cost_nothing(hostile: HostileGateway, status: str, stream: bool) -> None:
    body = b'{"error": {"message": "as it is",  "code": 7}}'
    hostile.said.say(reply_of(body, "retry-after: 1", status=status))
    reply = ask(hostile, stream=stream)
    assert (reply.status, reply.body) == (int(status[:3]), body)
    assert reply.header("retry-after") == "1"
    assert reply.header("x-tollgate-error") is None
    row = row_of(hostile, reply)
    assert (row["credits_microcredits"], row["usage_source"], row["status"]) == (0, "none", "upstream_error")


def test_an_error_on_a_free_route_is_recorded_as_one(hostile: HostileGateway) -> None:
    hostile.said.say(reply_of(b"{}", status="404 Not Found"))
    reply = hostile.exchange(request("/said/v1/moderations", b'{"input": "x"}', key=hostile.key))
    row = row_of(hostile, reply)
    assert (reply.status, row["status"], row["usage_source"]) == (404, "upstream_error", "none")


@pytest.mark.parametrize(
    "said",
    [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n",
     b"HTTP/1.1 302 Found\r\nlocation: http://x/\r\ncontent-length: 0\r\n\r\n"],
    ids=lambda said: said[9:12].decode(),
)  # fmt: skip
def test_replies_without_a_body(hostile: HostileGateway, said: bytes) -> None:
    hostile.said.say(said)
    reply = ask(hostile)
    assert (reply.status, reply.body) == (int(said[9:12]), b"")
    assert reply.header("location") == ("http://x/" if b"302" in said else None)
    row_of(hostile, reply)


@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
     b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"],
    ids=repr,
)  # fmt: skip
def test_no_usable_reply_is_an_error_in_the_callers_dialect(hostile: HostileGateway, said: bytes) -> None:
    hostile.said.say(said, hang_up=True)
    before = charged_at_their_bound(hostile)
    for name, api in (("said", OPENAI), ("saida", ANTHROPIC), ("saidg", GEMINI)):
        data = api.call(hostile.key).replace(b"POST /", f"POST /{name}/".encode(), 1)
        reply = hostile.exchange(data)
        assert reply.status == 502
        api.assert_refused(reply, 502, reply.header("x-tollgate-error") or "")
        row = row_of(hostile, reply)
        assert row["usage_source"] == "bound"  # whether it ran is unknown
    assert charged_at_their_bound(hostile) == before + 3, (
        "what is charged is counted, whatever the client was told"
    )


def charged_at_their_bound(gateway: HostileGateway) -> float:
    metrics = gateway.exchange(request("/metrics", None, method="GET")).body.decode()
    series = 'tollgate_settles_total{outcome="upstream_error",source="bound"} '
    return float(metrics.partition(series)[2].partition("\n")[0] or 0)


# ------------------------------------------------------------------ slow clients


def test_a_client_that_stops_reading_holds_the_provider_back_and_is_given_up(hostile: HostileGateway) -> None:
    total = 192 * MEBIBYTE
    piece = DELTA * (MEBIBYTE // len(DELTA))
    hostile.said.say(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        *[piece] * (total // len(piece)),
        hang_up=True,
    )
    process = psutil.Process(hostile.pid)
    before = process.memory_info().rss
    body = json.dumps({**CHAT, "stream": True, "stream_options": {"include_usage": True}}).encode()
    with RawConnection(hostile.port, receive_buffer_bytes=16_384) as connection:
        connection.send(said_call(hostile, body))
        deadline = time.monotonic() + 15
        peak = 0
        while (hostile.standing().holds and time.monotonic() < deadline) or not hostile.said.received:
            peak = max(peak, process.memory_info().rss - before)
        assert hostile.standing().holds == 0, "a client that reads nothing is waited for"
        with pytest.raises(CutShort):
            connection.reply()
    assert hostile.said.sent_bytes < 32 * MEBIBYTE
    assert peak < 16 * MEBIBYTE


def test_a_client_that_reads_slowly_gets_every_byte(hostile: HostileGateway) -> None:
    pieces = [
        b'data: {"id":"s","choices":[{"index":0,"delta":{"content":"%07d"}}]}\n\n' % n for n in range(60_000)
    ]
    joined = [b"".join(pieces[at : at + 500]) for at in range(0, len(pieces), 500)]
    hostile.said.say(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", *joined, LAST + DONE, hang_up=True
    )
    with RawConnection(hostile.port, receive_buffer_bytes=16_384) as connection:
        body = json.dumps({**CHAT, "stream": True}).encode()
        connection.send(said_call(hostile, body))
        reply = connection.reply()
    assert reply.body == b"".join(pieces) + DONE
    assert row_of(hostile, reply)["output_tokens"] == 7


def test_a_client_that_leaves_is_charged(hostile: HostileGateway, simulator: SimulatorProcess) -> None:
    for api, extra in ((OPENAI, {"stream": True}), (ANTHROPIC, {"stream": True}), (OPENAI, {})):
        label = f"left-{api.name}-{bool(extra)}"
        headers = {"x-sim-label": label, "x-sim-chunk-ms": "20", "x-tollgate-conversation": label}
        if not extra:
            headers["x-sim-first-byte-ms"] = "300"
        with RawConnection(hostile.port) as connection:
            connection.send(api.request(json.dumps({**api.body, **extra}).encode(), hostile.key, headers))
            if extra:
                assert connection.socket.recv(100)
            else:
                assert simulator.requests(label, wait_s=0.2)
        [row] = hostile.rows(conversation=label)
        assert row["status"] == "client_gone"
        assert row["usage_source"] == ("counted" if extra else "provider")
        assert row["credits_microcredits"] > 0
    assert hostile.standing().holds == 0


def test_after_all_this_the_books_agree(hostile: HostileGateway) -> None:
    assert hostile.standing().holds == 0
    hostile.settled_rows()
    assert hostile.command("reconcile").splitlines()[-1] == "drift 0"
