"""A client of ``GET /api/credits/live``: reads events as they come, and waits for the one that a test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    id: int | None
    data: Mapping[str, Any]


class LiveClient:
    """One connection. ``events`` has everything that was read so far."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._buffer = b""
        self.events: list[Event] = []
        self.comments = 0

    @property
    def last_event_id(self) -> int | None:
        """As a browser would send it when it connects again."""
        return max((event.id for event in self.events if event.id is not None), default=None)

    def named(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]

    @property
    def charged(self) -> dict[str, int]:
        """Microcredits of every `usage` event by request id; fails where one was told twice."""
        usage = self.named("usage")
        found = {event.data["id"]: event.data["charged"]["microcredits"] for event in usage}
        assert len(found) == len(usage), "a settlement was told twice"
        return found

    async def until(self, wanted: Callable[[Event], bool], *, timeout_s: float = WAIT_S) -> Event:
        """The first event from now on (or of those read already) that is ``wanted``."""
        for event in self.events:
            if wanted(event):
                return event
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    event = await self.next()
                    if wanted(event):
                        return event
        except TimeoutError:
            raise AssertionError(f"not told; last: {self.events[-3:]}") from None

    async def gather(self, count: int) -> None:
        """Read until ``count`` settlements were told."""
        async with asyncio.timeout(WAIT_S):
            while len(self.named("usage")) < count:
                await self.next()

    async def next(self) -> Event:
        """Raises `EOFError` where the server ends the stream, aiohttp's errors where it breaks."""
        while b"\n\n" not in self._buffer:
            chunk = await self._response.content.readany()
            if not chunk:
                raise EOFError
            self._buffer += chunk
        block, _, self._buffer = self._buffer.partition(b"\n\n")
        event = _parsed(block.decode())
        if event is None:
            self.comments += 1
            return await self.next()
        self.events.append(event)
        return event


def _parsed(block: str) -> Event | None:
    fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
    if "event" not in fields:
        return None
    return Event(
        fields["event"], int(fields["id"]) if "id" in fields else None, json.loads(fields.get("data", "null"))
    )


@asynccontextmanager
async def listening(
    base: str, key: str, *, after: int | None = None, org: str | None = None
) -> AsyncIterator[LiveClient]:
    """Connected, with the first event read."""
    headers = {"authorization": f"Bearer {key}"}
    if after is not None:
        headers["last-event-id"] = str(after)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        params = {} if org is None else {"org": org}
        async with session.get(f"{base}/api/credits/live", headers=headers, params=params) as response:
            assert response.status == 200, await response.text()
            client = LiveClient(response)
            await client.next()
            yield client
