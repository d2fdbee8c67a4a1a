"""Redis, spoken in pipelines: everything asked in one turn of the event loop leaves in one write.

When Redis does not answer, every call raises `StoreUnavailable` within ``timeout_s``; what was asked may or
may not have happened (`OutcomeUnknown`), so callers send only what is safe to send again. The next call
connects anew. One connection carries all calls of a process: Redis serves one command at a time anyway, and
this client costs a fifth of what redis-py's pipelines do per command (see docs/decisions).
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection, parse_url

from gateway.errors import ConfigError, StoreUnavailable

Argument = str | bytes | int
Reply = Coroutine[Any, Any, Any]
CALLS_MAX = 50_000
"""Calls that may await their replies at once: far above what a gateway admits; beyond it Redis has
stalled.
"""


class OutcomeUnknown(StoreUnavailable):
    """The connection to the budget store broke while a call was under way."""


class CommandFailed(StoreUnavailable):
    """The budget store refused a command."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, called by the digest of its text."""

    name: str
    text: str
    sha: str

    @classmethod
    def of(cls, name: str, text: str) -> Script:
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Form:
    """A call of a script that is packed beforehand, but for its last key and its first arguments: the blanks."""

    script: Script
    blanks: int
    _head: bytes
    _tail: bytes

    @classmethod
    def of(cls, script: Script, keys: Sequence[str], blanks: int, arguments: Sequence[Argument]) -> Form:
        """``keys`` come before the blanks (the first of which is a key), ``arguments`` behind them."""
        parts = 3 + len(keys) + blanks + len(arguments)
        head = _parts(("EVALSHA", script.sha, len(keys) + 1, *keys))
        return cls(script, blanks, b"*%d\r\n%b" % (parts, head), _parts(tuple(arguments)))

    def filled(self, own: tuple[Argument, ...]) -> bytes:
        """The packed command. Raises ValueError if ``own`` are not as many as there are blanks."""
        if len(own) != self.blanks:
            raise ValueError(f"{self.script.name}: {len(own)} values for {self.blanks} blanks")
        return b"".join((self._head, _parts(own), self._tail))


class RedisCalls(Protocol):
    """What adapters need of Redis."""

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run a script that is safe to run twice."""

    async def submit(self, form: Form, own: tuple[Argument, ...]) -> Any:
        """`run`, with nearly all of the call packed already."""

    async def command(self, *arguments: Argument) -> Any:
        """Run one command that is safe to run twice."""


def _pack(arguments: tuple[Argument, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]  # its stub means a 1-tuple
    return packed


def _parts(arguments: tuple[Argument, ...]) -> bytes:
    """What stands in a packed command after its count of parts."""
    return _pack(arguments).partition(b"\r\n")[2]


class _Connection(asyncio.Protocol):
    """One connection: writes pipelines, hands replies to their futures in order."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._awaited: deque[asyncio.Future[Any]] = deque()
        self._flush_due = False
        self._progress_s = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self.lost = self._loop.create_future()

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclass of it

    def call(self, packed: bytes) -> asyncio.Future[Any]:
        """Send ``packed`` with everything else of this turn of the loop."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._transport is None:
            future.set_exception(OutcomeUnknown())
            return future
        if len(self._awaited) >= CALLS_MAX:
            future.set_exception(StoreUnavailable("Too many calls to the budget store await their replies."))
            return future
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)
        self._unsent.append(packed)
        self._awaited.append(future)
        return future

    def _flush(self) -> None:
        self._flush_due = False
        if not self.usable:
            return
        assert self._transport is not None
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()
        if self._watch is None:
            self._progress_s = self._loop.time()
            self._watch = self._loop.call_later(self._timeout_s, self._check)

    def _check(self) -> None:
        """Drop the connection when calls wait and nothing came for the whole time-out."""
        self._watch = None
        if not self._awaited or self._transport is None:
            return
        silent_s = self._loop.time() - self._progress_s
        if silent_s >= self._timeout_s:
            self._transport.abort()
        else:
            self._watch = self._loop.call_later(self._timeout_s - silent_s, self._check)

    def data_received(self, data: bytes) -> None:
        self._progress_s = self._loop.time()
        reader, awaited = self._reader, self._awaited
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                future = awaited.popleft()
                if not future.done():
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            assert self._transport is not None
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._watch is not None:
            self._watch.cancel()
        self._unsent.clear()
        while self._awaited:
            future = self._awaited.popleft()
            if not future.done():
                future.set_exception(OutcomeUnknown())
        if not self.lost.done():
            self.lost.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _seen(future: asyncio.Future[Any]) -> None:
    """Nobody awaits this reply; the next one tells what went wrong."""
    if not future.cancelled():
        future.exception()


class RedisStore:
    """A process's way to one Redis server. Connects on first use, and again whenever it has to."""

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._target = _target(url)
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[_Connection] | None = None
        self._closed = False

    # Not async themselves: a coroutine less for each call.

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Reply:
        return self.send(_pack(("EVALSHA", script.sha, len(keys), *keys, *arguments)), script)

    def submit(self, form: Form, own: tuple[Argument, ...]) -> Reply:
        return self.send(form.filled(own), form.script)

    def command(self, *arguments: Argument) -> Reply:
        return self.send(_pack(arguments), None)

    async def send(self, packed: bytes, script: Script | None) -> Any:
        """Send one packed command; once more over a fresh connection if the first one broke under it."""
        broken: OutcomeUnknown | None = None
        while True:
            connection = self._connection
            try:
                if connection is None or not connection.usable:
                    connection = await self._connect()
                reply = await connection.call(packed)
            except OutcomeUnknown as error:
                if broken is not None or self._closed:
                    raise
                broken = error
                continue
            except StoreUnavailable:
                if broken is not None:
                    raise broken from None  # not sent again, but it may have happened the first time
                raise
            if not isinstance(reply, hiredis.ReplyError):
                return reply
            if script is None or not str(reply).startswith("NOSCRIPT"):
                break
            connection.call(_pack(("SCRIPT", "LOAD", script.text))).add_done_callback(_seen)
            reply = await connection.call(packed)
            if not isinstance(reply, hiredis.ReplyError):
                return reply
            break
        raise CommandFailed(detail={"redis": str(reply), "script": script.name if script else None})

    def client(self) -> Redis:
        """A redis-py client of its own connections, for what blocks (stream readers) or is seldom (CLI)."""
        return Redis.from_url(self.url, socket_timeout=None, socket_connect_timeout=self._timeout_s)

    async def close(self) -> None:
        """Idempotent. Calls under way end with `OutcomeUnknown`."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close()
            await self._connection.lost

    async def _connect(self) -> _Connection:
        if self._closed:
            raise StoreUnavailable()
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._open())
            self._connecting.add_done_callback(self._opened)
        # Shielded: the connection is everybody's, whoever asked for it first may go away.
        try:
            return await asyncio.shield(self._connecting)
        except asyncio.CancelledError:
            if self._closed:
                raise StoreUnavailable() from None
            raise

    def _opened(self, task: asyncio.Task[_Connection]) -> None:
        self._connecting = None
        if not task.cancelled() and task.exception() is None:
            self._connection = task.result()

    async def _open(self) -> _Connection:
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._target.open(self._timeout_s)
                for command in self._target.greeting:
                    reply = await connection.call(_pack(command))
                    if isinstance(reply, hiredis.ReplyError):
                        connection.close()
                        raise StoreUnavailable(f"The budget store refuses {command[0]}: check redis.url.")
        except (OSError, TimeoutError, OutcomeUnknown) as error:
            if connection is not None:
                connection.close()
            raise StoreUnavailable() from error
        return connection


@dataclass(frozen=True, slots=True)
class _Target:
    """Where and how to connect, as a redis:// URL says it."""

    host: str
    port: int
    unix_path: str | None
    tls: ssl.SSLContext | None
    greeting: tuple[tuple[str, ...], ...]

    async def open(self, timeout_s: float) -> _Connection:
        loop = asyncio.get_running_loop()
        connection = _Connection(timeout_s)
        if self.unix_path is not None:
            await loop.create_unix_connection(lambda: connection, self.unix_path)
        else:
            await loop.create_connection(lambda: connection, self.host, self.port, ssl=self.tls)
        return connection


def _target(url: str) -> _Target:
    """Raises `ConfigError` without repeating the URL: it may hold a password."""
    try:
        options: Mapping[str, Any] = parse_url(url)
    except ValueError as error:
        raise ConfigError(
            "redis.url: must look like redis://[user:password@]host:port/db (rediss:// with TLS)"
        ) from error
    greeting: list[tuple[str, ...]] = []
    if options.get("password"):
        user = (options["username"],) if options.get("username") else ()
        greeting.append(("AUTH", *user, options["password"]))
    if options.get("db"):
        greeting.append(("SELECT", str(options["db"])))
    greeting.append(("PING",))
    return _Target(
        host=options.get("host", "localhost"),
        port=int(options.get("port", 6379)),
        unix_path=options.get("path"),
        tls=_tls(options) if options.get("connection_class") is SSLConnection else None,
        greeting=tuple(greeting),
    )


def _tls(options: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    if options.get("ssl_cert_reqs") in ("none", "CERT_NONE"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
