"""What Redis publishes, over one connection for all listeners of a process.

Publishing is fire and forget: whoever reads this has to notice what it missed (by the settlements' numbers) and read it
elsewhere. When Redis is down, or silent for `SILENCE_S`, every method raises `StoreUnavailable`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from gateway.errors import StoreUnavailable
from gateway.stores.redis import RedisStore

PING_S = 2.0
SILENCE_S = 6.0
"""Redis is pinged when it says nothing; after so long without an answer the connection counts as dead."""


class Message(NamedTuple):
    channel: str
    data: bytes


class RedisFeed:
    """Opens subscriptions."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    @asynccontextmanager
    async def open(self, *channels: str) -> AsyncIterator[Subscription]:
        """Subscribed to ``channels`` when entered: everything published from then on will come."""
        client = self._store.client()
        pubsub = client.pubsub()
        try:
            subscription = Subscription(pubsub)
            await subscription.add(*channels)
            yield subscription
        finally:
            with _mapped_quietly():
                await pubsub.aclose()  # type: ignore[no-untyped-call]
                await client.aclose()


class Subscription:
    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub
        self._silent_s = 0.0
        self._waiting: set[str] = set()

    async def add(self, *channels: str) -> None:
        """Returns when Redis was asked; `next` takes care of its confirmation."""
        with _mapped():
            await self._pubsub.subscribe(*channels)

    async def drop(self, *channels: str) -> None:
        with _mapped():
            await self._pubsub.unsubscribe(*channels)

    async def confirmed(self, count: int) -> None:
        """Wait until Redis has confirmed ``count`` channels. For the start, when nothing else can come."""
        while count:
            answer = await self._answer()
            if answer is not None and answer["type"] == "subscribe":
                count -= 1

    async def next(self) -> Message | None:
        """The next message; None now and then when there is none."""
        answer = await self._answer()
        if answer is None or answer["type"] != "message":
            return None
        return Message(answer["channel"].decode(), answer["data"])

    async def _answer(self) -> dict[str, Any] | None:
        with _mapped():
            answer: dict[str, Any] | None = await self._pubsub.get_message(timeout=PING_S)
            if answer is not None:
                self._silent_s = 0.0
                return answer
            self._silent_s += PING_S
            if self._silent_s >= SILENCE_S:
                raise StoreUnavailable("Redis has stopped answering its subscription.")
            await self._pubsub.ping()
            return None


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"The subscription to Redis was lost: {type(error).__name__}") from error


@contextmanager
def _mapped_quietly() -> Iterator[None]:
    try:
        with _mapped():
            yield
    except StoreUnavailable:
        pass
