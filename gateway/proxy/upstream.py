"""One connection to a provider: HTTP/1.1 on a bare `asyncio.Protocol`, kept alive, one exchange at a time each.

aiohttp's client is the dear half of a proxy written with it; what a reverse proxy needs of a client is small
enough to stand here: write a request whose bytes are known, hand over what comes back as it comes. Nothing is
retried: once a request was written nobody but the provider knows whether it was acted upon.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, MutableSequence, Sequence
from typing import Protocol, cast

import httptools

from gateway.errors import UpstreamError, UpstreamTimeout
from gateway.proxy.header_names import ByName

WRITE_SLICE_BYTES = 256 * 1024
"""Large bodies are handed to the transport in slices, so that TLS never buffers a second copy of the whole."""

Header = tuple[bytes, bytes]

HEAD_BYTES_MAX = 256 * 1024
"""A provider that sends more header or trailer bytes than this is broken or hostile."""


class UpstreamBroke(UpstreamError):
    """The provider closed the connection in the middle of its reply."""

    code = "upstream_broke"


class Sink(Protocol):
    """Who listens to one exchange. Called from the event loop's read callback: never wait, never raise."""

    def on_head(self, status: int, headers: Sequence[Header], named: Mapping[bytes, bytes]) -> None:
        """``named``: the first value of each of `ASKED_FOR`, by its name in lower case."""

    def on_body(self, data: bytes) -> None: ...

    def on_end(self) -> None:
        """The reply is complete."""

    def on_failure(self, error: UpstreamError) -> None:
        """The reply will not be completed. Called at most once, and never after `on_end`."""


class Pool(Protocol):
    """Whose a connection is: see `gateway.proxy.upstream_pool`."""

    first_byte_s: float
    """How long a provider may be silent before its reply, and `idle_s` within it."""
    idle_s: float

    def put_back(self, connection: UpstreamConnection) -> None:
        """Its exchange is over and it may carry another."""

    def forget(self, connection: UpstreamConnection) -> None:
        """It is no longer in use."""


class UpstreamConnection(asyncio.Protocol):
    """One TCP (or TLS) connection. `send` starts an exchange; its sink hears of everything that follows."""

    __slots__ = (
        "_bare_bytes", "_body_parts", "_closed", "_headers", "_idle_s", "_parser", "_paused", "_pool", "_sink",
        "_timer", "_timer_due_s", "_until_close", "_writable", "_written", "last_read_at", "loop", "transport",
    )  # fmt: skip

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        self._pool = pool
        self.loop = loop
        self._sink: Sink | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: MutableSequence[Header] = []
        self._bare_bytes = 0
        """Read since there was a body or a message began: headers or trailers, which the parser gathers."""
        self._body_parts: list[bytes] = []
        self._until_close = False
        self._closed = False
        self._paused = False
        self._writable: asyncio.Future[None] | None = None
        self._written = False
        self.last_read_at = 0.0
        """Since then it has been idle, if it is."""
        self._idle_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_s = 0.0
        self.transport: asyncio.Transport | None = None

    # ---------------------------------------------------------------- the exchange

    def send_at_once(self, head: bytes, body: Sequence[bytes | memoryview], sink: Sink) -> bool:
        """Write one request; False: it is so large that it has to be sent with `send`."""
        body_bytes = sum(map(len, body))
        if body_bytes > WRITE_SLICE_BYTES:
            return False
        self._begin(sink)
        assert self.transport is not None
        self.transport.write(b"".join((head, *body)))
        self._written = True
        return True

    async def send(self, head: bytes, body: Sequence[bytes | memoryview], sink: Sink) -> None:
        """Write one request. Returns when all of it is with the transport, or the reply ended it early."""
        self._begin(sink)
        assert self.transport is not None
        self.transport.write(head)
        for part in body:
            view = memoryview(part)
            for start in range(0, len(view), WRITE_SLICE_BYTES):
                if self._sink is not sink or self._closed:
                    return
                self.transport.write(view[start : start + WRITE_SLICE_BYTES])
                if self._writable is not None:
                    await self._writable
        self._written = True

    def _begin(self, sink: Sink) -> None:
        assert self._sink is None
        self._sink = sink
        self._written = False
        self.last_read_at = self.loop.time()
        self._watch(self._pool.first_byte_s)

    def pause_reading(self) -> None:
        """Let TCP hold the provider back while the client is slow."""
        if self.transport is not None and not self._closed:
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.transport is not None and not self._closed:
            self._paused = False
            self.last_read_at = self.loop.time()
            self.transport.resume_reading()

    def abort(self) -> None:
        """Stop the exchange and the connection at once; the sink hears nothing more."""
        self._sink = None
        self._stop_timer()
        if self.transport is not None:
            self.transport.abort()

    # ---------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's do not derive from it

    def data_received(self, data: bytes) -> None:
        if self._sink is None:
            self.abort()  # nobody asked: bytes of no request must never be read as the reply to the next
            return
        self.last_read_at = self.loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(
                UpstreamError("The provider answered with a protocol upgrade, which was not asked for.")
            )
            return
        except httptools.HttpParserError:
            self._fail(UpstreamBroke("The provider's reply is not valid HTTP."))
            return
        if self._body_parts:
            self._bare_bytes = 0
            self._flush_body()
        elif self._sink is not None:
            self._bare_bytes += len(data)
            if self._bare_bytes > HEAD_BYTES_MAX:
                self._fail(UpstreamBroke("The provider's reply has more headers than are accepted here."))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._stop_timer()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        sink, self._sink = self._sink, None
        self._pool.forget(self)
        if sink is None:
            return
        if self._until_close and exc is None:
            sink.on_end()
        else:
            sink.on_failure(UpstreamBroke())

    def pause_writing(self) -> None:
        self._writable = self.loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # ---------------------------------------------------------------- httptools

    def on_message_begin(self) -> None:
        if self._sink is None:
            self.abort()
        self._headers = []
        self._bare_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        # Nine calls for each reply: what else is to be said of headers is said of all of them at once.
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self._sink is None:
            return
        headers, self._headers = self._headers, _UNHEARD
        named = asked_for(headers)
        self._until_close = status not in (204, 304) and _DELIMITING.isdisjoint(named)
        self._watch(self._pool.idle_s)
        self._sink.on_head(status, headers, named)

    def on_body(self, data: bytes) -> None:
        self._body_parts.append(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            return
        if self._body_parts:
            self._flush_body()
        sink, self._sink = self._sink, None
        # A reply may come before all of the request is written. The rest is never sent then, so what came next on
        # this connection would be read as the rest.
        sent = self._written and self._writable is None
        keep = sent and self._parser.should_keep_alive() and not self._closed
        self._until_close = False
        if keep and sink is not None:
            # It may be paused for a client that was slow to take the end; whoever comes next would hear nothing.
            if self._paused:
                self.resume_reading()
            self._pool.put_back(self)
        elif self.transport is not None:
            # Closing would wait until the provider has read what nobody needs it to read any more.
            self.transport.abort()
        if sink is not None:
            sink.on_end()

    # ---------------------------------------------------------------- inside

    def _flush_body(self) -> None:
        parts, self._body_parts = self._body_parts, []
        if self._sink is not None:
            self._sink.on_body(parts[0] if len(parts) == 1 else b"".join(parts))

    def _fail(self, error: UpstreamError) -> None:
        sink, self._sink = self._sink, None
        self._stop_timer()
        if self.transport is not None:
            self.transport.abort()
        if sink is not None:
            sink.on_failure(error)

    def _watch(self, silence_s: float) -> None:
        """From the last read on. A timer that fires early enough is left as it is, even over several exchanges."""
        self._idle_s = silence_s
        due_s = self.last_read_at + silence_s
        if self._timer is None or due_s < self._timer_due_s:
            self._stop_timer()
            self._arm(due_s)

    def _arm(self, due_s: float) -> None:
        self._timer_due_s = due_s
        self._timer = self.loop.call_at(due_s, self._check_silence)

    def _check_silence(self) -> None:
        """The timer is re-armed when it fires, never per chunk."""
        self._timer = None
        if self._sink is None:
            return
        if self._paused:  # the silence is ours: the client is slow
            self.last_read_at = self.loop.time()
        left_s = self.last_read_at + self._idle_s - self.loop.time()
        if left_s <= 0:
            self._fail(UpstreamTimeout(f"The provider was silent for {self._idle_s:g} s."))
        else:
            self._arm(self.last_read_at + self._idle_s)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


_UNHEARD: deque[Header] = deque(maxlen=0)
"""Where trailers go: however many a provider sends, they take no room."""
_DELIMITING = frozenset({b"content-length", b"transfer-encoding"})
"""The headers that say where a body ends."""


def asked_for(headers: Sequence[Header]) -> dict[bytes, bytes]:
    """The first value of each of `ASKED_FOR`, by its name in lower case."""
    # From the end, so that the first of several stays.
    return {known: value for name, value in reversed(headers) if (known := _KNOWN[name]) is not None}


ASKED_FOR = frozenset(
    {
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"date",
        b"retry-after",
        b"transfer-encoding",
    }
)
"""The headers that anybody here wants the value of."""
_KNOWN = ByName(lambda name: name if name in ASKED_FOR else None)
