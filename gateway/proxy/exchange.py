"""One forwarded request as seen from the provider's side: what has come back, and how it ended.

An exchange is the sink of one upstream connection. While a client listens, bytes go straight from the read
callback into the client's transport: no task switch, no queue. Metering reads along. When nobody listens any
more the exchange goes on by itself (drained for its usage) until somebody stops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from copy import deepcopy
from enum import StrEnum
from typing import Protocol

from gateway.errors import TollgateError, UpstreamError
from gateway.metering.reading import Reading, UsageFilter, UsageReader
from gateway.proxy.decoding import ReplyDecoder
from gateway.proxy.upstream import Header, UpstreamConnection

NO_HEADERS: Mapping[bytes, bytes] = {}


class End(StrEnum):
    """How the provider's side of an exchange ended."""

    COMPLETE = "complete"
    BROKEN = "broken"
    """The provider (or the network) gave up after the status line was seen."""
    LOST = "lost"
    """It gave up before any status was seen: whether it worked is unknown."""
    STOPPED = "stopped"
    """The gateway closed the connection."""


class Client(Protocol):
    """See `gateway.proxy.downstream.ClientStream`."""

    gone: bool
    congested: bool

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...


class Exchange:
    """The reply to one request, gathered or relayed."""

    __slots__ = (
        "_client", "_connection", "_decoder", "_kept", "_length", "_loop", "_named", "_waiter", "body_bytes", "end",
        "ended_at", "error", "filter", "finished", "first_byte_at", "head_seen", "headers", "kept_bytes", "last",
        "reader", "sent", "status", "stopped_for",
    )  # fmt: skip

    def __init__(self, connection: UpstreamConnection, reader: UsageReader | None) -> None:
        self._loop = connection.loop
        self._connection = connection
        self._client: Client | None = None
        self._decoder: ReplyDecoder | None = None
        self._kept: list[bytes] = []
        self.reader = reader
        self.filter: UsageFilter | None = None
        self.status = 0
        self.headers: Sequence[Header] = ()
        self._named: Mapping[bytes, bytes] = NO_HEADERS
        self.head_seen = False
        self.sent = False
        self.kept_bytes = 0
        self.body_bytes = 0
        self._length: int | None = None
        self.last = b""
        """What `relay` kept back of a body of a known length."""
        self.first_byte_at = 0.0
        self.ended_at = 0.0
        self.end: End | None = None
        self.error: UpstreamError | None = None
        self.stopped_for: TollgateError | None = None
        """What the client is told of a call that was stopped before its reply began; None: its hold was lost."""
        self.finished: asyncio.Future[None] = self._loop.create_future()
        self._waiter: asyncio.Future[None] | None = None
        """The client's task, while it waits for something to do: head, enough body, congestion, the end."""

    @property
    def now_s(self) -> float:
        """By the clock of `first_byte_at` and `ended_at`."""
        return self._loop.time()

    async def start(self, head: bytes, body: Sequence[bytes | memoryview]) -> None:
        """Write the request; ``sent`` once all of it is on its way."""
        if not self._connection.send_at_once(head, body, self):
            await self._connection.send(head, body, self)
        self.sent = True

    # ---------------------------------------------------------------- Sink

    def on_head(self, status: int, headers: Sequence[Header], named: Mapping[bytes, bytes]) -> None:
        self.status = status
        self.headers = headers
        self.head_seen = True
        self.first_byte_at = self._loop.time()
        self._named = named
        if b"content-encoding" in named:
            for name, value in headers:
                if name.lower() == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                    self._decoder = ReplyDecoder(value)
        self._wake()

    def on_body(self, data: bytes) -> None:
        self.body_bytes += len(data)
        plain = data if self._decoder is None else self._decoder.feed(data)
        if self.reader is not None:
            self.reader.feed(plain)
        client = self._client
        if client is None:
            self._kept.append(data)
            self.kept_bytes += len(data)
            if self.kept_bytes >= KEPT_BYTES_MAX:
                self._connection.pause_reading()
            self._wake()
            return
        if self.filter is not None:
            data = self.filter.feed(plain)
            if self._decoder is not None and self._decoder.failed and self.end is None:
                self._connection.abort()
                self.on_failure(UpstreamError("The provider's reply is not in the encoding that it names."))
        if self.body_bytes == self._length:
            self.last = data
        elif data and not client.gone:
            client.write(data)
            if client.congested:
                self._connection.pause_reading()
                self._wake()

    def on_end(self) -> None:
        self._finish(End.COMPLETE)

    def on_failure(self, error: UpstreamError) -> None:
        self.error = error
        self._finish(End.BROKEN if self.head_seen else End.LOST)

    # ---------------------------------------------------------------- for the client's task

    @property
    def decoded(self) -> bool:
        """The provider compressed its reply although it was asked not to."""
        return self._decoder is not None

    @property
    def decoder_failed(self) -> bool:
        """What came cannot be read, so nothing can be taken out of it."""
        return self._decoder is not None and self._decoder.failed

    def header(self, wanted: bytes) -> bytes | None:
        """The first header of the reply named ``wanted``, one of `gateway.proxy.upstream.ASKED_FOR`."""
        return self._named.get(wanted)

    async def head(self) -> None:
        """Wait for the status line and headers. Raises the `UpstreamError` if none will come."""
        while not self.head_seen:
            if self.end is not None:
                raise self.error or UpstreamError("The call was ended before the provider answered.")
            await self._woken()

    async def gathered(self, bytes_max: int) -> bytes | None:
        """The whole body, if it ends within ``bytes_max``; None as soon as it does not (use `relay` then)."""
        while self.end is None:
            if self.kept_bytes > bytes_max:
                return None
            if self.kept_bytes >= KEPT_BYTES_MAX:
                return None
            await self._woken()
        return b"".join(self._kept)

    async def relay(self, client: Client, length: int | None = None) -> None:
        """Hand everything to ``client`` as it comes, until the provider's side has ended.

        ``length``: of the body, where the client was told it. Its last piece is left in `last` then: a client that has
        it knows that this was all.
        """
        self._client, self._length = client, length
        kept, self._kept = self._kept, []
        if kept and self.body_bytes == length:
            self.last = kept.pop()
        again = ReplyDecoder(self.header(b"content-encoding") or b"") if self._decoder is not None else None
        for data in kept:
            if self.filter is not None:
                data = self.filter.feed(data if again is None else again.feed(data))
            if data:
                client.write(data)
        self._connection.resume_reading()
        while self.end is None:
            await self._woken()
            if client.congested:
                await client.drain()
                if self.end is None:
                    self._connection.resume_reading()
        if self.filter is not None and (rest := self.filter.flush()):
            client.write(rest)

    @property
    def relayed(self) -> bool:
        """Whether a client gets the bytes as they come."""
        return self._client is not None and self._client is not _NOBODY

    def says_its_end(self) -> bool:
        """Whether what came so far says of itself that this was all of it. Reads a copy, so ask seldom."""
        return self.reader is not None and deepcopy(self.reader).finish().complete

    def unlisten(self) -> None:
        """Nobody wants the bytes any more; only the reader still does."""
        self._client = _NOBODY
        self._kept = []
        self.filter = None
        if self.end is None:
            self._connection.resume_reading()

    def stop(self, why: TollgateError | None = None) -> None:
        """Close the provider's connection if the reply has not ended yet. ``why``: see `stopped_for`."""
        if self.end is None:
            self.stopped_for = why
            self._connection.abort()
            self._finish(End.STOPPED)

    def reading(self) -> Reading:
        return self.reader.finish() if self.reader is not None else Reading()

    async def _woken(self) -> None:
        # One task waits at most; an event's list of waiters would be most of what waiting costs.
        self._waiter = self._loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _finish(self, end: End) -> None:
        if self.end is None:
            self.end = end
            self.ended_at = self._loop.time()
            self._wake()
            if not self.finished.done():
                self.finished.set_result(None)


KEPT_BYTES_MAX = 9 * 1024 * 1024
"""Bytes kept before a client listens: a little over the largest reply whose charge is shown in its headers."""


class _Nobody:
    """The client that went away."""

    def __init__(self) -> None:
        self.gone = True
        self.congested = False

    def write(self, data: bytes) -> None:
        del data

    async def drain(self) -> None:
        pass


_NOBODY = _Nobody()
