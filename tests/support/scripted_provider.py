"""A provider that says exactly the bytes that a test put in its mouth, and keeps every byte that it was sent.

It runs in a thread of the test's process; one reply for each request, in the order in which they were set.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from tests.support.ports import free_port

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Received:
    """One request, as it came over the wire."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]


@dataclass
class ScriptedProvider:
    """``reply`` is sent for every request until it is changed; with ``hang_up`` the connection ends after it."""

    port: int = field(default_factory=free_port)
    reply: list[bytes] = field(default_factory=list)
    """The pieces of the reply, each a write of its own."""
    hang_up: bool = False
    stray: list[bytes] = field(default_factory=list)
    """What came on a connection and was no whole request."""

    def __post_init__(self) -> None:
        self.received: list[Received] = []
        self.sent_bytes = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._listening = threading.Event()
        self._stop: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def say(self, *pieces: bytes, hang_up: bool = False) -> None:
        """From now on answer with these bytes, and forget what was received."""
        self.reply, self.hang_up = list(pieces), hang_up
        self.received, self.stray, self.sent_bytes = [], [], 0

    def start(self) -> None:
        self._thread.start()
        assert self._listening.wait(10), "the scripted provider does not listen"

    def stop(self) -> None:
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self._listening.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._answered(reader, writer):
                pass
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(RuntimeError):
                writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                self.stray.append(error.partial)
            return False
        line, *rest = head[:-4].split(b"\r\n")
        headers = [(name, value.strip()) for name, _, value in (item.partition(b":") for item in rest)]
        lengths = [int(value) for name, value in headers if name.lower() == b"content-length"]
        self.received.append(Received(line, headers, await reader.readexactly(sum(lengths))))
        for piece in self.reply:
            writer.write(piece)
            await writer.drain()
            self.sent_bytes += len(piece)
        return not self.hang_up


@contextlib.contextmanager
def scripted_provider() -> Iterator[ScriptedProvider]:
    provider = ScriptedProvider()
    provider.start()
    try:
        yield provider
    finally:
        provider.stop()
