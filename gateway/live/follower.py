"""Follows what Redis publishes, without a gap: what a lost connection or a lost message left out is read elsewhere.

Settlements of a partition are numbered one by one, so what is missing shows in the next number, and after a lost
connection in the number that Redis has reached meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gateway.errors import StoreUnavailable
from gateway.ledger.row import Unreadable
from gateway.live import channels, publication
from gateway.live.backlog import Backlog, TooMuch
from gateway.live.redis_feed import Message, Subscription
from gateway.live.settlement import Settlement
from gateway.stores.postgres import PostgresError, PostgresUnavailable

log = logging.getLogger("tollgate.live")

RECONNECT_S = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Waits between tries; the last one is repeated."""


class Feed(Protocol):
    """See `gateway.live.redis_feed.RedisFeed`."""

    def open(self, *channels: str) -> AbstractAsyncContextManager[Subscription]: ...


class Hearer(Protocol):
    """Who is told."""

    def orgs(self, partition: int) -> Collection[str]:
        """The organisations of a partition that somebody listens to."""

    def settled(self, settlement: Settlement) -> None: ...

    def missed(self, partition: int, position: int) -> None:
        """Settlements up to ``position`` happened of which not all can be told."""

    def published(self, message: Message) -> None:
        """Anything else that was published."""


class Follower:
    """``positions``: the number of the latest settlement that was told, by partition; complete up to there."""

    def __init__(self, feed: Feed, backlog: Backlog, hearer: Hearer, *, partitions: int) -> None:
        self._feed = feed
        self._backlog = backlog
        self._hearer = hearer
        self._partitions = {channels.settlements(number): number for number in range(partitions)}
        self.positions: dict[int, int] = {}
        self.up = asyncio.Event()
        """Set while it follows; cleared while the connection is lost."""
        self._subscription: Subscription | None = None
        self._extra: set[str] = set()

    async def add(self, channel: str) -> None:
        """Hear a further channel from now on, over the same connection."""
        self._extra.add(channel)
        await self._quietly(lambda subscription: subscription.add(channel))

    async def drop(self, channel: str) -> None:
        self._extra.discard(channel)
        await self._quietly(lambda subscription: subscription.drop(channel))

    async def _quietly(self, change: Callable[[Subscription], Awaitable[None]]) -> None:
        if self._subscription is not None:
            try:
                await change(self._subscription)
            except StoreUnavailable:
                return  # the next subscription names all channels anew

    async def follow(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            try:
                await self._session()
            except StoreUnavailable as error:
                failures = 0 if self.up.is_set() else failures + 1
                if failures <= 1:
                    log.warning("live events wait for Redis", extra={"reason": str(error)})
            except Exception:
                # The edge of supervision: one message that cannot be handled must not silence all listeners.
                failures = 0 if self.up.is_set() else failures + 1
                log.exception("following live events failed; starting anew")
            finally:
                self.up.clear()
                self._subscription = None
            await asyncio.sleep(RECONNECT_S[min(failures, len(RECONNECT_S) - 1)])

    async def _session(self) -> None:
        names = (*self._partitions, channels.ALERTS, *self._extra)
        async with self._feed.open(*names) as subscription:
            await subscription.confirmed(len(names))
            self._subscription = subscription
            for number in self._partitions.values():
                await self._catch_up(number)
            self.up.set()
            while True:
                message = await subscription.next()
                if message is not None:
                    await self._take(message)

    async def _catch_up(self, partition: int) -> None:
        """From where it was to where Redis is."""
        reached = await self._backlog.position(partition)
        known = self.positions.get(partition)
        if known is None:
            self.positions[partition] = reached
        elif reached < known:
            self._missed(partition, reached)  # Redis has gone back in time
        else:
            await self._fill(partition, reached)

    async def _take(self, message: Message) -> None:
        partition = self._partitions.get(message.channel)
        if partition is None:
            self._hearer.published(message)
            return
        try:
            settled = publication.parse(message.data)
            sequence = settled.sequence
            position = self.positions[partition]
            if sequence <= position:
                return
            if position and sequence > position + 1:
                await self._fill(partition, sequence - 1)
            self._hearer.settled(Settlement.of(publication.row(settled, partition)))
            self.positions[partition] = sequence
        except Unreadable as error:
            log.error("a settlement that cannot be told", extra={"reason": str(error)})

    async def _fill(self, partition: int, upto: int) -> None:
        """Tell what lies between the position and ``upto``, or that it cannot be told."""
        after = self.positions[partition]
        try:
            missed = await self._backlog.between(partition, after, upto, self._hearer.orgs(partition))
        except (TooMuch, PostgresUnavailable, PostgresError):
            self._missed(partition, upto)
            return
        for settlement in missed:
            self._hearer.settled(settlement)
        self.positions[partition] = upto

    def _missed(self, partition: int, position: int) -> None:
        self.positions[partition] = position
        self._hearer.missed(partition, position)
