"""What a client hears when a handler fails: an error, or the end of its connection, never both."""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.providers.registry import DIALECTS
from gateway.proxy.downstream import ClientStream
from gateway.proxy.server import Server
from gateway.settings.config import ServerSettings


async def test_a_handler_that_fails_in_a_stream_adds_no_second_reply() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        client = await ClientStream.start(request, response, 1.0)
        client.write(b"first")
        raise ValueError

    listening = await asyncio.get_running_loop().create_server(
        Server(handler, DIALECTS["openai"], ServerSettings()), "127.0.0.1", 0
    )
    async with listening:
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n")
        received = await reader.read()
        writer.close()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(b"\r\n\r\n5\r\nfirst\r\n")
