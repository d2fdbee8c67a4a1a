"""Streams that clients are reading, by the key that they were opened with: those of a key that was revoked end.

A call that is not streamed goes on, for what its provider bills is known only at its end. While the stores are down
nobody knows whether a key was revoked, and nothing is ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from gateway.errors import StoreUnavailable, TollgateError, Unauthenticated
from gateway.identity.keys import KeyRecord

log = logging.getLogger("tollgate.proxy")
_UNWATCHED = nullcontext()


class KeyLookup(Protocol):
    async def lookup(self, key: str) -> KeyRecord:
        """Whose key this is. Raises `Unauthenticated` and its kin, or `StoreUnavailable`."""


class Stoppable(Protocol):
    """See `gateway.proxy.exchange.Exchange`."""

    def stop(self, why: TollgateError | None) -> None: ...


class OpenStreams:
    """Of one process."""

    def __init__(self, keys: KeyLookup) -> None:
        self._keys = keys
        self._by_key: dict[str, set[Stoppable]] = {}
        self._checking: asyncio.Task[None] | None = None
        self._again = False
        self.changes = 0
        """How often keys were changed somewhere."""

    def opened(self, key: str | None, stream: Stoppable, changes: int) -> AbstractContextManager[None]:
        """While the block runs, ``stream`` is stopped when ``key`` is found to be no good any more. None: never.

        ``changes``: as they were when ``key`` was last known to be good. What came since was looked at without this
        stream, as its request was still on its way to the provider.
        """
        return _UNWATCHED if key is None else self._watched(key, stream, changes)

    @contextmanager
    def _watched(self, key: str, stream: Stoppable, changes: int) -> Iterator[None]:
        streams = self._by_key.setdefault(key, set())
        streams.add(stream)
        if changes != self.changes:
            self._look()
        try:
            yield
        finally:
            streams.discard(stream)
            if not streams:
                self._by_key.pop(key, None)

    def check(self) -> None:
        """Keys were changed somewhere: look whether those of open streams are still good."""
        self.changes += 1
        self._look()

    def _look(self) -> None:
        if self._checking is not None and not self._checking.done():
            self._again = True
        elif self._by_key:
            self._checking = asyncio.create_task(self._check())

    async def close(self) -> None:
        """Idempotent."""
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait([self._checking])

    async def _check(self) -> None:
        while True:
            self._again = False
            for key in list(self._by_key):
                await self._check_one(key)
            if not self._again:
                return

    async def _check_one(self, key: str) -> None:
        try:
            await self._keys.lookup(key)
        except Unauthenticated as error:
            streams = list(self._by_key.get(key, ()))
            log.info(
                "streams of a key that is no good any more are ended",
                extra={"count": len(streams), "code": error.code},
            )
            for stream in streams:
                stream.stop(error)
        except StoreUnavailable:
            pass  # keys are looked for again when the stores are back, and then so are these
