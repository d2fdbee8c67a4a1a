"""The usage stream of one partition in Redis, read by a consumer group that all gateways share.

When Redis is down every method raises `StoreUnavailable`; nothing is lost, as an entry stays in the stream
until it is acknowledged, and is given out again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from redis.exceptions import RedisError, ResponseError

from gateway.budgets.keyspace import partition_keys
from gateway.errors import StoreUnavailable
from gateway.ledger.row import Entry
from gateway.stores.redis import RedisCalls, Script

GROUP = "ledger"
DONE_MARKER_S = 24 * 3600
"""How long it is remembered that a request was settled, once its row is committed: a retry of the settle may
come
that late (a gateway cut off from Redis gives up long before)."""


ACKNOWLEDGED_AT_ONCE = 1000
"""Redis's Lua unpacks at most some 8,000 arguments."""
_ACKNOWLEDGE = Script.of(
    "acknowledge_1", files("gateway.ledger").joinpath("acknowledge_1.lua").read_text(encoding="utf-8")
)


@dataclass(frozen=True, slots=True)
class StreamKeys:
    """Where a partition keeps its stream, and the markers of settled requests beside it (same slot)."""

    partition: int
    stream: str
    done_marker: Callable[[str], str]
    """The marker's key by request id."""

    @classmethod
    def of(cls, partition: int) -> StreamKeys:
        """As the scripts of budgets name them."""
        keys = partition_keys(partition)
        return cls(partition, keys.stream, keys.done)


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"The usage stream in Redis does not answer: {error}") from error


class UsageStream:
    """One consumer's view of a partition's stream. ``client`` is a redis-py asyncio client (raw bytes), which waits
    for entries; ``calls`` takes what has two arguments for each of them, as it packs them in C.
    """

    def __init__(self, client: Any, calls: RedisCalls, keys: StreamKeys, consumer: str) -> None:
        self._client = client
        client.set_response_callback("XREADGROUP", _as_it_came)
        self._calls = calls
        self._keys = keys
        self._consumer = consumer
        self._grouped = False
        self._cursor: bytes | str = "0-0"

    @property
    def partition(self) -> int:
        return self._keys.partition

    @property
    def name(self) -> str:
        return self._keys.stream

    async def own(self, count: int) -> list[Entry]:
        """What this consumer was given and has not acknowledged, be it before a restart under its name."""
        return await self._read("0", count, None)

    async def read(self, count: int, block_ms: int | None) -> list[Entry]:
        """New entries, at most ``count``; waits up to ``block_ms`` for the first (None: does not wait)."""
        return await self._read(">", count, block_ms)

    async def _read(self, start: str, count: int, block_ms: int | None) -> list[Entry]:
        wait: list[object] = [] if block_ms is None else ["BLOCK", block_ms]
        command = [
            "XREADGROUP",
            "GROUP",
            GROUP,
            self._consumer,
            "COUNT",
            count,
            *wait,
            "STREAMS",
            self.name,
            start,
        ]
        name, partition = self.name, self.partition
        return [
            Entry(name, entry_id.decode(), partition, dict(zip(fields[::2], fields[1::2], strict=True)))
            for entry_id, fields in _of_one_stream(await self._grouped_call(command))
            if entry_id is not None and fields is not None
        ]

    async def take_over(self, idle_ms_min: int, count: int) -> list[Entry]:
        """Entries that some consumer was given that long ago and never acknowledged: it died, or is stuck."""
        command = ["XAUTOCLAIM", self.name, GROUP, self._consumer, idle_ms_min, self._cursor, "COUNT", count]
        reply = await self._grouped_call(command)
        self._cursor = reply[0]
        return self._entries(reply[1])

    async def acknowledge(self, entries: Sequence[Entry]) -> None:
        """Their rows are committed: drop them, and let their requests' markers expire. Safe to repeat."""
        for start in range(0, len(entries), ACKNOWLEDGED_AT_ONCE):
            batch = entries[start : start + ACKNOWLEDGED_AT_ONCE]
            request_ids = [entry.fields.get(b"id", b"").decode("utf-8", "replace") for entry in batch]
            keys = (self.name, *map(self._keys.done_marker, request_ids))
            ids = [entry.entry_id for entry in batch]
            await self._calls.run(_ACKNOWLEDGE, keys, (GROUP, DONE_MARKER_S, *ids))

    async def length(self) -> int:
        """Entries whose rows are not yet known to be committed."""
        with _mapped():
            return int(await self._client.execute_command("XLEN", self.name))

    async def everything(self, page: int = 1000) -> AsyncIterator[Entry]:
        """All entries in the stream, given out or not, oldest first; takes none."""
        start = "-"
        while True:
            with _mapped():
                reply = await self._client.execute_command("XRANGE", self.name, start, "+", "COUNT", page)
            entries = self._entries(reply)
            for entry in entries:
                yield entry
            if len(reply) < page:
                return
            start = f"({reply[-1][0].decode()}"

    async def leave(self) -> None:
        """Forget this consumer, unless it still owes acknowledgements: forgetting those would lose them."""
        with _mapped():
            owed = await self._client.xpending_range(self.name, GROUP, "-", "+", 1, self._consumer)
            if not owed:
                await self._client.execute_command("XGROUP", "DELCONSUMER", self.name, GROUP, self._consumer)

    async def _grouped_call(self, command: Sequence[object]) -> Any:
        """Run a command that needs the group; make the group if it is not there (a first start)."""
        with _mapped():
            if not self._grouped:
                await self._make_group()
            try:
                return await self._client.execute_command(*command)
            except ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                await self._make_group()
                return await self._client.execute_command(*command)

    async def _make_group(self) -> None:
        try:
            # From the very beginning: what was settled before any gateway listened has to be recorded too.
            await self._client.execute_command("XGROUP", "CREATE", self.name, GROUP, "0", "MKSTREAM")
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._grouped = True

    def _entries(self, reply: Sequence[Any]) -> list[Entry]:
        return [Entry(self.name, item[0].decode(), self.partition, item[1]) for item in reply if _alive(item)]


def _as_it_came(reply: Any, **_: Any) -> Any:
    """The client library would make each entry twice; and what it makes differs from version to version."""
    return reply


def _of_one_stream(reply: Any) -> list[Any]:
    """The entries, each [id, [name, value, ...]], of the one stream that was asked for.

    RESP2: [[stream, entries]]; RESP3: {stream: entries}; nil where there are none.
    """
    if not reply:
        return []
    entries: list[Any] = next(iter(reply.values())) if isinstance(reply, dict) else reply[0][1]
    return entries


def _alive(item: Any) -> bool:
    """An entry that was deleted after it had been given out comes as nil, or without its fields."""
    return item[0] is not None and item[1] is not None
