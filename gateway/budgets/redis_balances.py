"""Prepaid balances in Redis. When Redis is down every method raises `StoreUnavailable`.

A balance that is not there, because it is new or Redis lost its data, is built from the ledger before it admits
anything: attach (from here on Redis counts what settles), ask what was granted, and what was spent up to there, add
it. Settlements go on meanwhile. A gateway that dies half-way is taken over.
"""

from __future__ import annotations

import asyncio
import secrets

import orjson

from gateway.budgets.balances import (
    BalanceBooks,
    BalanceChange,
    BalanceQuery,
    BalanceReading,
    gone,
    next_expiry,
    parse_rungs,
)
from gateway.budgets.keyspace import PartitionKeys, decode, encode, partition_keys, partition_of
from gateway.budgets.ports import Ledger
from gateway.budgets.redis_protecting import PROTECTED_US, protected
from gateway.budgets.redis_record import HoldRecord
from gateway.budgets.redis_scripts import BUILD, BUILT, CHANGE, STANDING
from gateway.errors import StoreUnavailable
from gateway.stores.redis import RedisCalls

BUSY_WAIT_S = 0.02
BUSY_WAITS = 250
STREAM_PAGE = 1000
KEYS_PAGE = 1000


class RedisBalances:
    def __init__(self, redis: RedisCalls, ledger: Ledger, *, partitions: int = 1) -> None:
        self._redis = redis
        self._ledger = ledger
        self._partitions = partitions
        self._building: dict[str, asyncio.Task[None]] = {}

    def _keys(self, org: str) -> PartitionKeys:
        return partition_keys(partition_of(org, self._partitions))

    async def read(self, org: str) -> BalanceReading:
        """The balance now; built first if it is not there. Raises `StoreUnavailable` also when the ledger is down
        and would have been needed.
        """
        for _ in range(BUSY_WAITS):
            reading = await self.reading(org)
            if reading is not None:
                return reading
            await self.build(org)
        raise StoreUnavailable("The balance of this organisation is being rebuilt; try again shortly.")

    async def reading(self, org: str) -> BalanceReading | None:
        """The balance now; None: it is not built."""
        keys = self._keys(org)
        answer = await self._redis.run(STANDING, (keys.balance(org), keys.sequence), ())
        built, granted, spent, held, change_id, rungs, reference, sequence, now_us = answer
        if built is None:
            return None
        ladder = parse_rungs((rungs or b"").decode())
        at_us, amount = next_expiry(ladder, int(now_us))
        return BalanceReading(
            org=org,
            granted=int(granted or 0),
            spent=int(spent or 0),
            held=int(held or 0),
            next_expiry_us=at_us,
            next_expiry=amount,
            reference=int(reference) if reference else None,
            change_id=int(change_id or 0),
            partition=keys.number,
            sequence=int(sequence or 0),
            expired=gone(ladder, int(now_us)),
            rungs=tuple(rung for rung in ladder if int(now_us) < rung[0]),
            ladder=ladder,
        )

    async def orgs(self) -> list[str]:
        """Organisations that Redis has a balance of."""
        found: set[str] = set()
        for number in range(self._partitions):
            prefix = f"{partition_keys(number).prefix}b:"
            cursor = b"0"
            while True:
                cursor, names = await self._redis.command(
                    "SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", KEYS_PAGE
                )
                found.update(decode(name.decode().removeprefix(prefix)) for name in names)
                if cursor == b"0":
                    break
        return sorted(found)

    async def change(self, org: str, change: BalanceChange) -> bool:
        """Apply ``change``; False when the balance contains it already.

        Where changes before it are missing, Redis lost something: the balance is built anew, with this one in it.
        """
        keys = self._keys(org)
        reference = "" if change.reference is None else change.reference
        arguments = (change.id, change.after_id, change.granted, change.rungs, reference)
        for _ in range(BUSY_WAITS):
            answer = await self._redis.run(CHANGE, (keys.balance(org),), arguments)
            if answer[0] == b"ok":
                return True
            if answer[0] == b"dup":
                return False
            if answer[0] == b"gap":
                # Not built from now on: nothing is admitted until it is.
                await self._redis.command("HDEL", keys.balance(org), "b")
            await self.build(org)
        raise StoreUnavailable("The balance of this organisation is being rebuilt; try again shortly.")

    async def build(self, org: str) -> None:
        """Make the balance usable, or wait a moment for whoever is doing so."""
        task = self._building.get(org)
        if task is None:
            task = self._building[org] = asyncio.create_task(self._build(org))
            task.add_done_callback(lambda done: self._ended(org, done))
        # Shielded: others wait for the same.
        await asyncio.shield(task)

    async def close(self) -> None:
        """Let what is being built be built."""
        await asyncio.gather(*self._building.values(), return_exceptions=True)

    def _ended(self, org: str, task: asyncio.Task[None]) -> None:
        del self._building[org]
        if not task.cancelled():
            task.exception()  # whoever waited for it may have given up

    async def _build(self, org: str) -> None:
        keys, token = self._keys(org), secrets.token_hex(8)
        answer = await self._redis.run(
            BUILD,
            (keys.holds, keys.sequence, keys.balance(org)),
            (token, PROTECTED_US, encode(org)),
        )
        if answer[0] == b"busy":
            await asyncio.sleep(BUSY_WAIT_S)
        if answer[0] != b"attached":
            return
        async with protected(self._redis, keys.balance(org), token):
            books, unread = await self._books(keys, org, int(answer[1]))
        arguments = (token, books.granted, books.spent + unread, books.change_id, books.rungs)
        reference = "" if books.reference is None else books.reference
        # Lost: another gateway took over, and what it adds is right.
        await self._redis.run(BUILT, (keys.balance(org),), (*arguments, reference))

    async def _books(self, keys: PartitionKeys, org: str, sequence: int) -> tuple[BalanceBooks, int]:
        """What the ledger says, and what settlements that are in the stream alone add to what was spent.

        The stream is read first: what becomes a row meanwhile, the ledger names as recorded.
        """
        unread = await self.unread(org, sequence)
        books = await self._ledger.balance(BalanceQuery(org, keys.number, sequence, tuple(unread)))
        return books, sum(cost for id_, cost in unread.items() if id_ not in books.recorded)

    async def held_by_calls(self, org: str) -> int:
        """What the open holds that are charged to the balance come to."""
        flat = await self._redis.command("HGETALL", self._keys(org).holds)
        records = map(HoldRecord.parse, flat[1::2])
        return sum(one.amount for one in records if one.balance_charged and one.subject.org == org)

    async def unread(self, org: str, sequence: int) -> dict[str, int]:
        """Settlements up to ``sequence`` that were charged to the balance and are still in the stream: cost by
        request id.
        """
        keys = self._keys(org)
        found: dict[str, int] = {}
        start = b"-"
        while True:
            page = await self._redis.command("XRANGE", keys.stream, start, "+", "COUNT", STREAM_PAGE)
            for _entry_id, flat in page:
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                # One that does not say was charged by a gateway of before the ledger.
                charged = fields.get(b"p", b"1") == b"1" and int(fields[b"n"]) <= sequence
                if charged and orjson.loads(fields[b"a"])["org_id"] == org:
                    found[fields[b"id"].decode()] = int(fields[b"c"])
            if len(page) < STREAM_PAGE:
                return found
            start = b"(" + page[-1][0]
