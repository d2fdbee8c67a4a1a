"""Whose questions are answered at once: each organisation's a few, so that none keeps others waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.errors import RateLimited


class Turns:
    """At most ``each_max`` of an organisation at once; others of it wait for ``wait_s``. ``what``: several of these."""

    def __init__(self, what: str, each_max: int, wait_s: float) -> None:
        self._what = what
        self._each_max = each_max
        self._wait_s = wait_s
        self._free: dict[str, asyncio.Semaphore] = {}
        self._asking: dict[str, int] = {}

    @asynccontextmanager
    async def of(self, org: str) -> AsyncIterator[None]:
        """Raises `RateLimited` when none of the others ends in time."""
        free = self._free.setdefault(org, asyncio.Semaphore(self._each_max))
        self._asking[org] = self._asking.get(org, 0) + 1
        try:
            try:
                async with asyncio.timeout(self._wait_s):
                    await free.acquire()
            except TimeoutError:
                raise RateLimited(
                    f"{self._each_max} {self._what} of this organisation are being made; ask again when one has ended.",
                    retry_after_s=max(1, round(self._wait_s)),
                ) from None
            try:
                yield
            finally:
                free.release()
        finally:
            self._asking[org] -= 1
            if not self._asking[org]:
                del self._asking[org], self._free[org]
