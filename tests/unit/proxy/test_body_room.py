"""The bodies of all requests together are bounded, in memory and in time, and what one holds goes back at its end."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from gateway.errors import GatewayBusy, TollgateError
from gateway.proxy.body_room import BodyRoom
from gateway.proxy.intake import read_body

ROOM_BYTES = 100_000
BODY_BYTES_MAX = 80_000
TOTAL_S = 0.6
SILENCE_S = 0.4


class Place:
    """A server that reads bodies, and keeps each until it is let go."""

    def __init__(self) -> None:
        self.room = BodyRoom(ROOM_BYTES, BODY_BYTES_MAX)
        self.letting_go = asyncio.Event()
        self.held = asyncio.Event()
        self.port = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            with self.room.share("acme") as share:
                await read_body(request, BODY_BYTES_MAX, SILENCE_S, TOTAL_S, share)
                self.held.set()
                if request.path == "/wait":
                    await self.letting_go.wait()
        except TollgateError as error:
            return web.Response(status=error.status, text=error.message)
        return web.Response(text="done")

    async def send(self, path: str, body: bytes, *headers: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = [
            f"POST {path} HTTP/1.1",
            "host: t",
            "connection: close",
            f"content-length: {len(body)}",
            *headers,
        ]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    runner = web.ServerRunner(web.Server(made.handle, auto_decompress=False))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    made.letting_go.set()
    await runner.cleanup()


async def test_what_does_not_fit_beside_the_others_is_turned_away_until_it_does(place: Place) -> None:
    first = asyncio.create_task(place.send("/wait", bytes(60_000)))
    await place.held.wait()
    assert b"503" in (await place.send("/", bytes(60_000))).split(b"\r\n")[0]
    assert b"200" in (await place.send("/", bytes(30_000))).split(b"\r\n")[0]
    place.letting_go.set()
    assert b"200" in (await first).split(b"\r\n")[0]
    assert place.room.taken == 0
    assert b"200" in (await place.send("/", bytes(60_000))).split(b"\r\n")[0]


async def test_a_body_counts_decoded_too(place: Place) -> None:
    packed = gzip.compress(bytes(70_000))
    first = asyncio.create_task(place.send("/wait", packed, "content-encoding: gzip"))
    await place.held.wait()
    assert place.room.taken == len(packed) + 70_000
    assert b"503" in (await place.send("/", packed, "content-encoding: gzip")).split(b"\r\n")[0]
    place.letting_go.set()
    await first
    assert place.room.taken == 0


async def test_a_body_that_drips_is_given_up_after_all_the_time_there_is(place: Place) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    writer.write(b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 1000\r\n\r\n")
    started_s = asyncio.get_running_loop().time()
    answered = asyncio.create_task(reader.readuntil(b"all here after 0.6 s."))
    async with asyncio.timeout(10):
        while not (await asyncio.wait([answered], timeout=SILENCE_S / 4))[0]:
            writer.write(b"x")
    assert (await answered).startswith(b"HTTP/1.1 408")
    assert asyncio.get_running_loop().time() - started_s >= TOTAL_S
    assert place.room.taken == 0
    writer.close()
    await writer.wait_closed()


def test_the_refusal_says_when_to_try_again() -> None:
    room = BodyRoom(10, 10)
    with room.share("acme") as share:
        share.take(6)
        with pytest.raises(GatewayBusy) as refused:
            share.take(5)
    assert (refused.value.status, refused.value.retry_after_s, room.taken) == (503, 2, 0)


def test_one_organisation_leaves_room_for_the_largest_body_of_another() -> None:
    room = BodyRoom(40, 10)
    with room.share("greedy") as first, room.share("greedy") as second, room.share("other") as other:
        first.take(20)
        second.take(10)
        with pytest.raises(GatewayBusy):
            second.take(1)
        other.take(10)
        with pytest.raises(GatewayBusy):
            other.take(1)
    assert room.taken == 0
    with room.share("greedy") as share:
        share.take(30)
