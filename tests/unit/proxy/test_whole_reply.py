"""A reply that is known as a whole leaves as HTTP that any client reads, in one write."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import RawTestServer

from gateway.proxy.whole_reply import Header, WholeReply, takes

BODY = b'{"id": "chatcmpl-1"}'
JSON: Header = (b"Content-Type", b"application/json")


class Desk:
    """A server that answers whatever it is told to, and a client of it."""

    def __init__(self, session: ClientSession, url: str, replies: list[WholeReply]) -> None:
        self.session = session
        self.url = url
        self.replies = replies

    async def ask(self, reply: WholeReply, **headers: str) -> tuple[int, dict[str, str], bytes]:
        self.replies.append(reply)
        async with self.session.get(self.url, headers=headers) as answer:
            return (
                answer.status,
                {name.lower(): value for name, value in answer.headers.items()},
                await answer.read(),
            )


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    replies: list[WholeReply] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert takes(request, 200)
        return replies.pop()

    async with RawTestServer(handle) as server, ClientSession() as session:
        yield Desk(session, str(server.make_url("/")), replies)


async def test_status_headers_and_body_arrive(desk: Desk) -> None:
    status, headers, body = await desk.ask(WholeReply(201, [JSON, (b"x-limit", b"7")], BODY, dated=False))
    assert (status, body) == (201, BODY)
    assert (headers["content-type"], headers["x-limit"]) == ("application/json", "7")
    assert headers["content-length"] == str(len(BODY))
    assert "connection" not in headers


async def test_a_date_is_added_only_where_the_provider_gave_none(desk: Desk) -> None:
    given = "Thu, 01 Jan 2026 00:00:00 GMT"
    _, headers, _ = await desk.ask(WholeReply(200, [JSON], BODY, dated=False))
    assert headers["date"].endswith(" GMT")
    _, headers, _ = await desk.ask(WholeReply(200, [JSON, (b"Date", given.encode())], BODY, dated=True))
    assert headers["date"] == given


async def test_a_client_that_wants_to_close_is_told_so(desk: Desk) -> None:
    _, headers, body = await desk.ask(WholeReply(200, [JSON], BODY, dated=False), connection="close")
    assert (headers["connection"], body) == ("close", BODY)


async def test_values_that_are_not_utf_8_are_taken_for_latin_1(desk: Desk) -> None:
    _, headers, _ = await desk.ask(
        WholeReply(200, [JSON, (b"x-odd", b"\xe9"), (b"x-even", "é".encode())], BODY, dated=False)
    )
    assert (headers["x-odd"], headers["x-even"]) == ("é", "é")


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb"])
def test_a_header_that_would_be_two_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="line break"):
        WholeReply(200, [JSON, (b"x-split", value)], BODY, dated=False)
