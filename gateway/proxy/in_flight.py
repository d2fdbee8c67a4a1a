"""How many requests are being handled, so that a stopping gateway knows when none is any more."""

from __future__ import annotations

import asyncio
from types import TracebackType


class InFlight:
    """Entered and left once by every request."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> None:
        if not self._count:
            self._none.clear()
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    async def over(self, timeout_s: float) -> bool:
        """Whether there is none, now or within ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._none.wait()
        except TimeoutError:
            return False
        return True
