"""What operators and the ledger see and change in Redis beside single requests: counters, holds, balances."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from gateway.budgets.directory import OrgRules
from gateway.budgets.keyspace import CounterName, PartitionKeys, partition_keys, partition_of
from gateway.budgets.model import Subject, Window
from gateway.budgets.plan import retention_ms
from gateway.budgets.ports import CounterReading
from gateway.budgets.redis_record import HoldRecord
from gateway.budgets.redis_scripts import OPEN, READ
from gateway.budgets.windows import Calendar
from gateway.stores.redis import RedisCalls

COMMITTED_TTL_MS = 24 * 3_600_000
PAGE = 500


@dataclass(frozen=True, slots=True)
class OpenHold:
    """A request in flight, as `tollgate holds list` shows it."""

    request_id: str
    subject: Subject
    operation: str
    model: str
    amount: int
    """Microcredits held."""
    started_at_us: int
    deadline_us: int
    age_s: int


class RedisBooks:
    """Reads and corrects what the scripts keep. Raises `StoreUnavailable` when Redis does not answer."""

    def __init__(self, redis: RedisCalls, *, partitions: int = 1) -> None:
        self._redis = redis
        self._partitions = partitions

    def _keys(self, org: str) -> PartitionKeys:
        return partition_keys(partition_of(org, self._partitions))

    async def counters(self, org: str | None = None) -> AsyncIterator[CounterReading]:
        """Every counter that counts now, or those of one org; each is read at its own instant, with the
        sequence of that.

        The counter of a limit that was taken away stands still, and says nothing: it is left out, also when
        the limit has come back, until it is seeded anew.
        """
        numbers = range(self._partitions) if org is None else [self._keys(org).number]
        for number in numbers:
            keys = partition_keys(number)
            calendars: dict[str, Calendar | None] = {}
            names = await self._redis.command("ZRANGE", keys.counter_index, 0, -1, "WITHSCORES")
            for key, expiry in zip(names[::2], names[1::2], strict=True):
                name = keys.counter_name(key.decode())
                if org is not None and name.org != org:
                    continue
                if name.org not in calendars:
                    calendars[name.org] = await self._calendar(keys, name.org)
                reading = await self._reading(keys, key.decode(), name, calendars[name.org], expiry)
                if reading is not None:
                    yield reading

    async def _calendar(self, keys: PartitionKeys, org: str) -> Calendar | None:
        """The calendar of the published rules; None when nothing is published."""
        version, document = await self._redis.command("HMGET", keys.rules(org), "v", "d")
        return OrgRules.from_json(document, int(version)).calendar if document else None

    async def _reading(
        self, keys: PartitionKeys, key: str, name: CounterName, calendar: Calendar | None, expiry: bytes
    ) -> CounterReading | None:
        identity = "" if calendar is None else name.identity(calendar.time_zone, calendar.week_start)
        arguments = (key, keys.sequence, keys.rules(name.org)), (f"i:{identity}",)
        *counter, sequence, since = await self._redis.run(READ, *arguments)
        if counter[4] is None:
            await self._redis.command("ZREM", keys.counter_index, key)
            return None
        if calendar is not None and counter[4] != since:
            return None
        return CounterReading(
            org=name.org,
            scope=name.scope,
            scope_id=name.scope_id,
            operation=name.operation,
            model=name.model,
            window=name.window,
            start_us=name.start_us,
            end_us=None if name.window is Window.TOTAL else (int(expiry) - retention_ms(name)) * 1000,
            settled=int(counter[0] or 0),
            held=int(counter[1] or 0),
            open_holds=int(counter[2] or 0),
            grace_start_us=int(counter[3]) if counter[3] else None,
            unseeded=counter[5] is not None,
            partition=keys.number,
            sequence=int(sequence or 0),
            end_user=name.end_user,
        )

    async def open_holds(self, org: str | None = None) -> AsyncIterator[OpenHold]:
        """Requests in flight, nearest deadline first."""
        numbers = range(self._partitions) if org is None else [self._keys(org).number]
        seconds, _micros = await self._redis.command("TIME")
        for number in numbers:
            keys = partition_keys(number)
            due = await self._redis.command("ZRANGE", keys.deadlines, 0, -1, "WITHSCORES")
            for start in range(0, len(due), 2 * PAGE):
                page = due[start : start + 2 * PAGE]
                records = await self._redis.command("HMGET", keys.holds, *page[::2])
                for request_id, deadline, raw in zip(page[::2], page[1::2], records, strict=True):
                    if raw is None:
                        continue
                    record = HoldRecord.parse(raw)
                    if org is None or record.subject.org == org:
                        yield _open_hold(request_id.decode(), record, int(deadline), int(seconds))

    async def open_calls_off(self) -> list[tuple[str, int, int]]:
        """Keys whose count of open calls is off: key reference, calls by their holds, calls as counted."""
        found: list[tuple[str, int, int]] = []
        for number in range(self._partitions):
            keys = partition_keys(number)
            off = await self._redis.run(OPEN, (keys.holds, keys.open_calls), ())
            found += [
                (reference.decode(), int(by_holds), int(counted))
                for reference, by_holds, counted in zip(off[::3], off[1::3], off[2::3], strict=True)
            ]
        return found

    async def committed(self, partition: int, request_ids: Sequence[str]) -> None:
        """These rows are in Postgres for good: a day from now their marks against a second one may go."""
        keys = partition_keys(partition)
        await asyncio.gather(
            *(self._redis.command("PEXPIRE", keys.done(id_), COMMITTED_TTL_MS) for id_ in request_ids)
        )


def _open_hold(request_id: str, record: HoldRecord, deadline_us: int, now_s: int) -> OpenHold:
    return OpenHold(
        request_id=request_id,
        subject=record.subject,
        operation=record.operation,
        model=record.model,
        amount=record.amount,
        started_at_us=record.started_at_us,
        deadline_us=deadline_us,
        age_s=max(0, now_s - record.started_at_us // 1_000_000),
    )
