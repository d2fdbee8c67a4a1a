"""The connections to one provider: kept alive, used again, and bounded in number."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from urllib.parse import urlsplit

from gateway.errors import UpstreamError, UpstreamTimeout
from gateway.proxy.places import Places
from gateway.proxy.upstream import UpstreamConnection
from gateway.settings.providers import ProviderSettings


class UpstreamPool:
    """Keep-alive connections to one provider. Bounded: past ``connections_max`` callers wait their turn."""

    def __init__(self, settings: ProviderSettings) -> None:
        url = urlsplit(settings.base_url)
        assert url.hostname is not None
        self.settings = settings
        # Settings are slow to look up, and these are needed for each request.
        self.first_byte_s = settings.timeouts.first_byte_s
        self.idle_s = settings.timeouts.idle_s
        self._keepalive_s = settings.keepalive_s
        self.host = url.hostname
        self.port = url.port or (443 if url.scheme == "https" else 80)
        self.prefix = url.path
        self.own_headers = b"host: %b\r\naccept-encoding: identity" % url.netloc.encode("ascii")
        """What every request says for the gateway itself."""
        self._tls = _tls_context(settings) if url.scheme == "https" else None
        self._idle: deque[UpstreamConnection] = deque()
        self._busy: set[UpstreamConnection] = set()
        """Only these take room: one connects only when none is idle, so that all of them together stay below it."""
        self._places = Places(settings.connections_max)
        self._closed = False

    def acquired_at_once(self) -> UpstreamConnection | None:
        """A connection that is ready to `send`, if there is one: nothing to wait for, as mostly."""
        if self._places.taken_at_once():
            connection = self._reusable()
            if connection is not None:
                self._busy.add(connection)
                return connection
            self._places.leave()
        return None

    async def acquire(self) -> UpstreamConnection:
        """A connection that is ready to `send`. Raises `UpstreamError` or `UpstreamTimeout`."""
        try:
            async with asyncio.timeout(self.settings.timeouts.connect_s):
                await self._places.taken()
                try:
                    connection = self._reusable() or await self._connect()
                except BaseException:
                    self._places.leave()
                    raise
                self._busy.add(connection)
                return connection
        except TimeoutError as error:
            raise UpstreamTimeout(
                f"No connection to the provider within {self.settings.timeouts.connect_s:g} s."
            ) from error
        except ssl.SSLError as error:
            raise UpstreamError("The provider's TLS certificate was not accepted.") from error
        except OSError as error:
            raise UpstreamError("The provider could not be reached.") from error

    def _reusable(self) -> UpstreamConnection | None:
        """The connection that fell idle last, if it may still be used."""
        while self._idle:
            connection = self._idle.pop()
            transport = connection.transport
            if transport is None or transport.is_closing():
                continue
            if connection.loop.time() - connection.last_read_at > self._keepalive_s:
                transport.close()
                continue
            return connection
        return None

    async def _connect(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: UpstreamConnection(self, loop),
            self.host,
            self.port,
            ssl=self._tls,
            server_hostname=self.host if self._tls else None,
        )
        return connection

    def put_back(self, connection: UpstreamConnection) -> None:
        """Its exchange is over and it may carry another: for whoever waits longest, or the next to come."""
        self.forget(connection)
        if self._closed and connection.transport is not None:
            connection.transport.close()
            return
        self._idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        if connection in self._busy:
            self._busy.discard(connection)
            self._places.leave()

    def close(self) -> None:
        """Close what is idle now, and the rest as it falls idle."""
        self._closed = True
        while self._idle:
            transport = self._idle.pop().transport
            if transport is not None:
                transport.close()


def _tls_context(settings: ProviderSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
    context.set_alpn_protocols(["http/1.1"])
    return context
