"""aiohttp's low-level server with two habits of ours: no request is decompressed behind our back, and what is not
HTTP at all is answered in JSON like every other error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.errors import BadRequest, TollgateError
from gateway.providers.base import Dialect
from gateway.proxy.refusal import refusal
from gateway.settings.config import ServerSettings

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
log = logging.getLogger("tollgate.server")

HEADERS_MAX = 256
KEEPALIVE_TIMEOUT_S = 75.0
LINGER_S = 2.0
"""How long a refused request's unread body is swallowed before its connection is closed."""


class Connection(web.RequestHandler):
    """One client connection."""

    dialect: Dialect
    stall_timeout_s: float
    _stall: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """The client does not read what it is sent: it has so long to go on, whatever kind of reply this is."""
        super().pause_writing()
        if self.transport is not None:
            loop = asyncio.get_running_loop()
            self._stall = loop.call_later(self.stall_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._end_stall()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._end_stall()
        super().connection_lost(exc)

    def _end_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp calls when it cannot parse a request (400), or when a handler raised (500).

        Raises ConnectionError, which ends the connection, when a reply was begun: a second one would be read as
        part of it.
        """
        error: TollgateError
        if status == 400:
            error = BadRequest(_reason(message))
        else:
            log.error("unhandled error", exc_info=exc)
            error = TollgateError()
        if request.writer.output_size > 0:
            raise ConnectionError("A reply was begun already.")
        return _closing(refusal(error, self.dialect, "none"))


class Server(web.Server):
    """Makes one `Connection` per client connection."""

    def __init__(self, handler: Handler, dialect: Dialect, settings: ServerSettings) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._dialect = dialect
        self._settings = settings

    def __call__(self) -> web.RequestHandler:
        connection = Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp takes None for no access log
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_TIMEOUT_S,
            lingering_time=LINGER_S,
            max_line_size=self._settings.header_bytes_max,
            max_field_size=self._settings.header_bytes_max,
            max_headers=HEADERS_MAX,
        )
        connection.dialect = self._dialect
        connection.stall_timeout_s = self._settings.client_stall_timeout_s
        return connection


def _reason(message: str | None) -> str:
    """aiohttp's reason without the bytes it quotes: they may hold a key."""
    first = (message or "").strip().splitlines()[0:1]
    text = first[0] if first else ""
    known = text.split(":")[0].split("(")[0].strip()
    return f"The request is not valid HTTP: {known}." if known else "The request is not valid HTTP."


def _closing(response: web.Response) -> web.Response:
    response.force_close()
    return response
