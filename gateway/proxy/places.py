"""A bounded number of places, given to those who wait in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress


class Places:
    """An `asyncio.Semaphore` that can be entered without a coroutine, as nearly every request does.

    While anybody waits no place is free: whoever leaves hands theirs on.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    def taken_at_once(self) -> bool:
        """Take a place if one is free."""
        if self._free:
            self._free -= 1
            return True
        return False

    async def taken(self) -> None:
        """Take a place as soon as it is one's turn. Whoever is cancelled meanwhile has none."""
        if self.taken_at_once():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):  # whoever left looked at it in the meantime
                    self._waiting.remove(turn)
            else:
                self.leave()
            raise

    def leave(self) -> None:
        """Hand one's place to whoever has waited longest, or leave it free."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
