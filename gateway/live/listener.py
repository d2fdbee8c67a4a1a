"""One client that listens: a bounded queue of bytes between the hub and its connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from gateway.identity.roles import Principal
from gateway.live import wire

QUEUE_BYTES_MAX = 256 * 1024
"""Some 500 events that a client may be behind, beside what the sockets hold. Beyond it, it gets a `reset`."""


class Listener:
    """Iterate it for the bytes to send; it ends when the hub ends it. Whoever made it leaves the hub afterwards."""

    def __init__(self, principal: Principal, after: int, baseline: int) -> None:
        self.principal = principal
        self.after = after
        """Settlements up to this one are not for this connection: the client knows them, or they are in the opening."""
        self.baseline = baseline
        """What the audience had been charged when this session began (microcredits)."""
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._behind: str | None = None
        self._quiet_since_s: float | None = None
        self._ended = False
        self._wake = asyncio.Event()

    def push(self, data: bytes) -> None:
        """Never waits. A client that is too far behind loses its queue and is told so when it reads again."""
        if self._behind is not None or self._ended:
            return
        self._quiet_since_s = None
        self._queue.append(data)
        self._queued_bytes += len(data)
        if self._queued_bytes > QUEUE_BYTES_MAX:
            self.fall_behind("behind")
        self._wake.set()

    def keep_alive(self, now_s: float, after_s: float) -> None:
        """A comment, if nothing was sent for so long."""
        if self._quiet_since_s is None:
            self._quiet_since_s = now_s
        elif now_s - self._quiet_since_s >= after_s:
            self.push(wire.HEARTBEAT)

    def fall_behind(self, reason: str) -> None:
        """Drop what is queued: the next thing this client gets is a `reset`."""
        self._queue.clear()
        self._queued_bytes = 0
        self._behind = reason
        self._wake.set()

    def end(self, reason: str) -> None:
        """The last thing the client hears, however far behind it is."""
        if not self._ended:
            self._queue.append(wire.event(b"end", {"reason": reason}))
            self._ended = True
            self._wake.set()

    async def chunks(
        self, ready: Callable[[], Awaitable[None]], reset: Callable[[str], bytes]
    ) -> AsyncIterator[bytes]:
        """What to send, as it comes. For a client that fell behind ``reset`` makes the event, of the reason, once
        ``ready`` has returned.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._behind is not None and not self._ended:
                await ready()
                reason, self._behind = self._behind, None
                yield reset(reason)
            queue, self._queue, self._queued_bytes = self._queue, [], 0
            if queue:
                yield queue[0] if len(queue) == 1 else b"".join(queue)
            if self._ended and not self._queue:
                return
