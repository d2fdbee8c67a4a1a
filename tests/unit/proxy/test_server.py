"""A connection that never becomes a request is closed, whatever it drips; one that asks is answered first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from gateway.providers.registry import DIALECTS
from gateway.proxy import server as server_module
from gateway.proxy.server import Server
from gateway.settings.config import ServerSettings

IDLE_S = 0.3


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A server that gives idle connections a moment instead of more than a minute."""
    monkeypatch.setattr(server_module, "KEEPALIVE_TIMEOUT_S", IDLE_S)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=request.path)

    runner = web.ServerRunner(Server(answer, DIALECTS["openai"], ServerSettings()))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.mark.parametrize(
    "start", [b"", b"GET", b"GET /x HTTP/1.1\r\n", b"GET /x HTTP/1.1\r\nhost: t\r\nx: y\r\n"]
)
async def test_a_head_that_never_ends_is_given_up(port: int, start: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(start)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_dripping_headers_wins_no_time(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /x HTTP/1.1\r\n")
    closed = asyncio.create_task(reader.read())
    async with asyncio.timeout(10):
        while not (await asyncio.wait([closed], timeout=IDLE_S / 5))[0]:
            writer.write(b"x: y\r\n")
    assert await asyncio.gather(closed, return_exceptions=True)
    writer.close()


async def test_an_idle_connection_is_closed_after_its_answer(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /x HTTP/1.1\r\nhost: t\r\n\r\n")
    async with asyncio.timeout(10):
        assert (await reader.read()).endswith(b"/x")
    writer.close()
