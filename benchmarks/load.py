"""The load: keep-alive connections, each with one request in flight, until a fixed number of requests is done.

A process of its own, ``python -m benchmarks.load JSON`` with the members of `Load`; it prints one JSON line, a
`Result`. With ``pause_after_chunks`` it prints ``paused`` once every stream has had so many chunks.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast

import httptools
import uvloop

from benchmarks import wire

EVENT = b"data: {"


@dataclass(frozen=True, slots=True)
class Load:
    """What to do. Requests are divided among ``connections``; the whole may take ``timeout_s``."""

    port: int
    key: str
    connections: int
    requests: int
    chunks: int = 0
    """Of each stream; 0 asks for JSON replies."""
    interval_ms: int = 0
    pause_after_chunks: int = 0
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. ``failures``: replies that were not 200, or not whole; ``first_failure`` says which."""

    requests: int
    chunks: int
    failures: int
    first_failure: str
    seconds: float
    own_cpu_s: float
    p50_us: float
    p95_us: float


class Run:
    """The state shared by all connections."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.request = wire.request(load.key, (load.chunks, load.interval_ms) if load.chunks else None)
        self.to_start = load.requests
        self.open = load.requests
        self.took_s: list[float] = []
        self.chunks = 0
        self.failures = 0
        self.first_failure = ""
        self.past_pause = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ended(self, took_s: float, failure: str) -> None:
        self.took_s.append(took_s)
        if failure:
            self.failures += 1
            self.first_failure = self.first_failure or failure
        self.open -= 1
        if self.open == 0 and not self.done.done():
            self.done.set_result(None)

    def passed_pause(self) -> None:
        self.past_pause += 1
        if self.past_pause == self.load.requests:
            print("paused", flush=True)


class Client(asyncio.Protocol):
    """One connection; httptools knows where a reply ends."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)
        self._busy = False
        self._events = 0
        self._tail = b""
        self._body = b""
        self._started_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def _next(self) -> None:
        run = self._run
        if run.to_start == 0:
            self._transport.close()
            return
        run.to_start -= 1
        self._busy, self._events, self._tail, self._body = True, 0, b"", b""
        self._started_s = time.perf_counter()
        self._transport.write(run.request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._transport.abort()
            self._end(f"not HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._busy:
            self._end(f"the connection ended early: {exc!r}")

    def on_body(self, data: bytes) -> None:
        if not self._run.load.chunks:
            self._body = data
            return
        text = self._tail + data
        before = self._events
        self._events += text.count(EVENT)
        self._tail = text[-len(EVENT) + 1 :]
        pause = self._run.load.pause_after_chunks
        if before < pause <= self._events:
            self._run.passed_pause()

    def on_message_complete(self) -> None:
        status, wanted = self._parser.get_status_code(), self._run.load.chunks
        failure = ""
        if status != 200:
            failure = f"status {status}: {self._body[:300]!r}"
        elif self._events != wanted:
            failure = f"{self._events} chunks instead of {wanted}"
        alive = self._parser.should_keep_alive()
        self._run.chunks += self._events
        self._end(failure)
        if alive:
            self._next()
        else:
            self._transport.close()

    def _end(self, failure: str) -> None:
        if self._busy:
            self._busy = False
            self._run.ended(time.perf_counter() - self._started_s, failure)


async def main(load: Load) -> Result:
    loop = asyncio.get_running_loop()
    run = Run(load)
    started_s, cpu_s = time.perf_counter(), time.process_time()
    async with asyncio.timeout(load.timeout_s):
        for _ in range(min(load.connections, load.requests)):
            await loop.create_connection(lambda: Client(run), "127.0.0.1", load.port)
        await run.done
    took = sorted(run.took_s)
    return Result(
        requests=load.requests,
        chunks=run.chunks,
        failures=run.failures,
        first_failure=run.first_failure,
        seconds=time.perf_counter() - started_s,
        own_cpu_s=time.process_time() - cpu_s,
        p50_us=took[len(took) // 2] * 1e6,
        p95_us=took[len(took) * 95 // 100] * 1e6,
    )


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(main(Load(**json.loads(sys.argv[1])))))), flush=True)
