"""The client's side of a streamed reply: aiohttp says the head, the body goes straight into its transport.

`StreamResponse.write` costs an await and a task switch per chunk. The framing of a chunk is one line, so it is
written here, from the provider's read callback, into the transport that aiohttp made public; the head before it
and the end after it are aiohttp's.
"""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from gateway.errors import TollgateError


class ClientGone(TollgateError):
    """The client closed its connection, or stopped reading for too long."""

    status = 499
    code = "client_gone"


class ClientStream:
    """A started response. ``gone`` and ``congested`` tell the writer what became of its bytes."""

    __slots__ = ("_chunked", "_protocol", "_stall_timeout_s", "_transport", "_writer", "congested", "gone")

    def __init__(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        writer: AbstractStreamWriter,
        stall_timeout_s: float,
    ) -> None:
        transport = request.transport
        self._transport = cast(asyncio.Transport, transport)
        self._protocol = request.protocol
        self._writer = writer
        self._chunked = response.chunked
        self._stall_timeout_s = stall_timeout_s
        self.gone = transport is None
        self.congested = False

    @classmethod
    async def start(
        cls, request: web.BaseRequest, response: web.StreamResponse, stall_timeout_s: float
    ) -> ClientStream:
        """Send the head of ``response``. The caller has chosen chunked framing or set a content-length.

        Raises `ClientGone`.
        """
        try:
            writer = await response.prepare(request)
            assert writer is not None
            writer.send_headers()
        except ConnectionError as error:
            raise ClientGone from error
        return cls(request, response, writer, stall_timeout_s)

    def write(self, data: bytes) -> None:
        """Never waits. Sets ``congested`` when the client does not keep up, ``gone`` when it left."""
        transport = self._transport
        if transport.is_closing():
            self.gone = True
            return
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        if self._protocol.writing_paused:
            self.congested = True

    async def drain(self) -> None:
        """Wait until the client has read most of what it was sent. Raises `ClientGone` if it never does."""
        try:
            async with asyncio.timeout(self._stall_timeout_s):
                await self._writer.drain()
        except (TimeoutError, ConnectionError) as error:
            self.gone = True
            self.abort()
            raise ClientGone from error
        self.congested = False

    def abort(self) -> None:
        """Break the connection, so that a reply that is not whole cannot be taken for one that is."""
        if not self._transport.is_closing():
            self._transport.abort()
