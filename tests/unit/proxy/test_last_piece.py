"""A client never has all of a reply before it is settled: its next call finds its budget as this one left it."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from gateway.budgets.model import Ask, Grant, Settled
from gateway.providers.registry import DIALECTS
from gateway.proxy.afterlife import Afterlife
from gateway.proxy.reply import Replies
from gateway.proxy.server import Server
from gateway.settings.config import ServerSettings
from tests.unit.proxy.flying import APIS, Hangar

BODY = b"\x01\x02\x03" * 1000
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: compress\r\n"
    b"content-length: %d\r\n\r\n" % len(BODY)
)


class Held:
    """Settlements wait until they are let through."""

    def __init__(self, hangar: Hangar) -> None:
        self.asked, self.let_through = asyncio.Event(), asyncio.Event()
        self._settle = hangar.holds.settle

    async def settle(self, grant: Grant, ask: Ask, cost: int, result: bytes) -> Settled:
        self.asked.set()
        await self.let_through.wait()
        return await self._settle(grant, ask, cost, result)


@pytest.mark.parametrize(
    "pieces",
    [[HEAD + BODY], [HEAD, BODY], [HEAD, BODY[:1000], BODY[1000:]], [HEAD + BODY[:-1], BODY[-1:]]],
    ids=["at once", "head first", "in two", "but for one byte"],
)
async def test_the_end_of_a_body_of_a_known_length_waits_for_the_settlement(pieces: list[bytes]) -> None:
    hangar = Hangar(APIS[0])
    held = Held(hangar)
    hangar.holds.settle = held.settle  # type: ignore[method-assign]
    settings = ServerSettings()
    replies = Replies(settings, Afterlife(lambda _flight, _charge: None), lambda _flight, _charge: None)
    flight, connection = await hangar.flight()

    async def provider() -> None:
        for piece in pieces:
            connection.data_received(piece)
            for _ in range(5):
                await asyncio.sleep(0)  # the client's task takes what came

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        sending = asyncio.create_task(provider())
        response = await replies.send(request, flight)
        await sending
        return response

    server = Server(handler, DIALECTS["openai"], settings)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    async with listening:
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n")
        whole = asyncio.create_task(read_whole(reader))
        await held.asked.wait()
        assert not (await asyncio.wait([whole], timeout=0.1))[0], "the client has it all, and may ask again"
        held.let_through.set()
        assert await whole == BODY
        assert len(hangar.holds.events) == 1
        writer.close()
        await writer.wait_closed()


async def read_whole(reader: asyncio.StreamReader) -> bytes:
    await reader.readuntil(b"\r\n\r\n")
    return await reader.readexactly(len(BODY))
