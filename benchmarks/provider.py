"""The provider behind every contender: answers at once from bytes made beforehand, or streams at a fixed pace.

A process of its own, ``python -m benchmarks.provider``; it prints its port and ends when its standard input does.
It understands just enough HTTP to serve the requests of `benchmarks.wire` behind any proxy.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

from benchmarks import wire

GOLDEN = 0.6180339887
"""Spreads the phases of streams evenly over their interval, however many there are."""
BODY_ASKS_FOR_USAGE = b'"include_usage"'
_HEADER = b"\r\n" + wire.STREAM_HEADER.encode() + b":"


class Replies:
    """All bytes that are ever sent."""

    def __init__(self) -> None:
        self.unary = wire.unary_reply()
        self.head = wire.stream_head()
        self.chunk = {asked: wire.stream_chunk(asked) for asked in (False, True)}
        self.end = {asked: wire.stream_end(asked) for asked in (False, True)}
        self.streams = 0


class Connection(asyncio.Protocol):
    def __init__(self, replies: Replies, loop: asyncio.AbstractEventLoop) -> None:
        self._replies = replies
        self._loop = loop
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while self._one_request():
            pass

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _one_request(self) -> bool:
        """Answer the first whole request of the buffer; False if there is none."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = buffer[:end].lower()
        size = end + 4 + int(_value(head, b"\r\ncontent-length:") or 0)
        if len(buffer) < size:
            return False
        self._buffer = buffer[size:]
        pace = _value(head, _HEADER)
        if pace is None:
            self._transport.write(self._replies.unary)
        else:
            chunks, interval_ms = (int(part) for part in pace.split(b","))
            self._stream(chunks, interval_ms / 1000, BODY_ASKS_FOR_USAGE in buffer[end:size])
        return True

    def _stream(self, chunks: int, interval_s: float, usage_asked: bool) -> None:
        replies, loop, transport = self._replies, self._loop, self._transport
        replies.streams += 1
        chunk, left = replies.chunk[usage_asked], chunks
        due_s = loop.time() + interval_s * (replies.streams * GOLDEN % 1.0)
        transport.write(replies.head)

        def step() -> None:
            nonlocal due_s, left
            if left == 0:
                self._timer = None
                transport.write(replies.end[usage_asked])
                return
            left -= 1
            transport.write(chunk)
            due_s += interval_s
            self._timer = loop.call_at(due_s, step)

        self._timer = loop.call_at(due_s, step)


def _value(head: bytes, name: bytes) -> bytes | None:
    start = head.find(name)
    if start < 0:
        return None
    start += len(name)
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


async def main() -> None:
    loop = asyncio.get_running_loop()
    replies = Replies()
    server = await loop.create_server(lambda: Connection(replies, loop), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
