"""The simulator's own books: what it was asked, and what it delivered. Tests take them for the truth."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway.simulator.reply import Count

ENTRIES_MAX = 100_000
"""Older entries are forgotten (their totals are not): enough for any test, about 100 MB at most."""
OPEN = "open"
FORGOTTEN = -1


@dataclass(slots=True)
class Entry:
    """One request. ``outcome`` is open until the reply is over, then one of completed, refused,
    client_closed, and by the simulator's own knobs cut, ended_early or closed.
    """

    number: int
    label: str
    dialect: str
    method: str
    path: str
    header_names: list[str]
    auth_header: str | None
    auth_sha256: str | None
    id: str = ""
    model: str = ""
    streamed: bool = False
    body_bytes: int = 0
    body_sha256: str = ""
    caps: dict[str, Any] = field(default_factory=dict)
    """The output caps that the request named, as they came."""
    usage_asked: bool = False
    """``stream_options.include_usage`` was set."""
    status: int | None = None
    count: Count | None = None
    """What the whole reply uses; None where nothing was generated."""
    usage_reported: bool = False
    """The delivered part of the reply contains the final usage."""
    delivered_bytes: int = 0
    delivered_writes: int = 0
    delivered_output_tokens: int = 0
    outcome: str = OPEN

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Journal:
    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []
        self._entries: deque[Entry] = deque()
        self.reset()

    def reset(self) -> None:
        """Forget all. What is still open then is not counted when it closes."""
        for entry in self._entries:
            entry.number = FORGOTTEN
        self._entries = deque(maxlen=ENTRIES_MAX)
        self._labels: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()
        self._number = 0

    def open(self, entry: Entry) -> None:
        self._number += 1
        entry.number = self._number
        self._entries.append(entry)
        if entry.label:
            self._labels[entry.label] += 1
        self._wake()

    def close(self, entry: Entry, outcome: str) -> None:
        entry.outcome = outcome
        if entry.number == FORGOTTEN:
            return
        self._outcomes[outcome] += 1
        if entry.count is not None:
            self._sums.update(asdict(entry.count))
            self._sums["delivered_output_tokens"] += entry.delivered_output_tokens
        self._wake()

    def times(self, label: str) -> int:
        """How many requests have come under this label so far."""
        return self._labels[label]

    def find(self, wanted: str | None) -> list[Entry]:
        """Entries in order of arrival: all, or those whose reply id or label is ``wanted``."""
        if wanted is None:
            return list(self._entries)
        return [entry for entry in self._entries if wanted in (entry.id, entry.label)]

    async def settled(self, wanted: str | None, at_least: int, wait_s: float) -> list[Entry]:
        """As `find`, once there are ``at_least`` so many and none is open, or once ``wait_s`` are over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while True:
            found = self.find(wanted)
            done = len(found) >= at_least and all(entry.outcome != OPEN for entry in found)
            left_s = deadline - loop.time()
            if done or left_s <= 0:
                return found
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.append(waiter)
            await asyncio.wait([waiter], timeout=left_s)

    def totals(self) -> dict[str, Any]:
        closed = sum(self._outcomes.values())
        outcomes = dict(self._outcomes)
        return {"requests": self._number, "open": self._number - closed, "outcomes": outcomes, **self._sums}

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
