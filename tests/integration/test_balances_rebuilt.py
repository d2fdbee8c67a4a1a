"""A balance that Redis lost is built from the ledger, exactly, before it admits anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.budgets.balances import BalanceBooks, BalanceQuery
from gateway.budgets.keyspace import partition_keys, partition_of
from gateway.budgets.model import Ask
from gateway.budgets.ports import EmptyLedger
from gateway.budgets.redis_balances import RedisBalances
from gateway.budgets.redis_holds import RedisHolds
from gateway.errors import BalanceExhausted, BudgetContended, StoreUnavailable
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.redis_stream import StreamKeys, UsageStream
from gateway.ledger.writer import UsageWriter
from gateway.stores.redis import Argument, Form, RedisCalls, Script
from tests.support.bank import Bank, open_bank
from tests.support.usage_events import ADMISSION
from tests.unit.budgets.making import ADA, ask_for, directory_of

PARTITION = partition_of("acme", 2)


def admitted_ask(amount: int) -> Ask:
    """One whose admission can become a row."""
    ask = ask_for(amount)
    admission = replace(ADMISSION, request_id=ask.request_id, key_id=ADA.key)
    return replace(ask, admission=admission.to_json())


class Books(EmptyLedger):
    """The ledger, sometimes down, and stopped in the middle of an answer when a test wants to."""

    def __init__(self, bank: Bank) -> None:
        self.ledger = PostgresLedger(bank.postgres)
        self.down = False
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def balance(self, query: BalanceQuery) -> BalanceBooks:
        self.asked.set()
        if self.down:
            raise StoreUnavailable
        answer = await self.ledger.balance(query)
        await self.may_answer.wait()
        return answer


@dataclass
class Place:
    bank: Bank
    holds: RedisHolds
    books: Books
    client: Redis

    async def write_rows(self) -> None:
        """Everything in the stream becomes rows."""
        stream = UsageStream(self.client, self.bank.redis, StreamKeys.of(PARTITION), "test")
        writer = UsageWriter([stream], UsageTable(self.bank.postgres))
        await writer.start()
        await writer.stop()

    async def spend(self, amount: int) -> None:
        ask = admitted_ask(amount)
        await self.holds.settle(await self.holds.hold(ask), ask, amount, b"")

    async def lose_balance(self) -> None:
        await self.client.delete(partition_keys(PARTITION).balance("acme"))


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str) -> AsyncIterator[Place]:
    async with open_bank(redis_url, postgres_dsn) as bank:
        books = Books(bank)
        holds = RedisHolds(bank.redis, directory_of(balance_required=True), books, partitions=2)
        await holds.start()
        client = Redis.from_url(redis_url)
        yield Place(bank, holds, books, client)
        await client.aclose()
        await holds.close()


async def test_granted_spent_and_held_are_what_they_were(place: Place) -> None:
    await place.bank.grant(1000)
    await place.bank.relay.deliver()
    await place.spend(100)
    await place.write_rows()
    await place.bank.post()
    await place.spend(20)
    await place.write_rows()
    await place.spend(3)
    open_ask = admitted_ask(50)
    grant = await place.holds.hold(open_ask)
    before = await place.bank.balance()
    assert (before.granted, before.spent, before.held) == (1000, 123, 50)
    await place.lose_balance()
    assert await place.bank.balance() == before
    await place.holds.settle(grant, open_ask, 40, b"")
    after = await place.bank.balance()
    assert (after.spent, after.held) == (163, 0)


async def test_nothing_is_admitted_while_the_ledger_is_down(place: Place) -> None:
    await place.bank.grant(1000)
    await place.bank.relay.deliver()
    await place.lose_balance()
    place.books.down = True
    with pytest.raises(StoreUnavailable):
        await place.holds.hold(admitted_ask(1))
    place.books.down = False
    assert (await place.holds.hold(admitted_ask(1))).remaining == 999


async def test_settlements_during_the_rebuilding_are_counted_once(place: Place) -> None:
    await place.bank.grant(1000)
    await place.bank.relay.deliver()
    early, late = admitted_ask(100), admitted_ask(200)
    first, second = await place.holds.hold(early), await place.holds.hold(late)
    await place.lose_balance()
    await place.holds.settle(first, early, 90, b"")
    place.books.may_answer.clear()
    waiting = asyncio.create_task(place.holds.hold(admitted_ask(5)))
    await place.books.asked.wait()
    await place.holds.settle(second, late, 150, b"")
    await place.write_rows()
    place.books.may_answer.set()
    await waiting
    balance = await place.bank.balance()
    assert (balance.granted, balance.spent, balance.held) == (1000, 240, 5)


async def test_a_redis_that_missed_a_change_is_rebuilt_by_the_next(place: Place) -> None:
    await place.bank.grant(1000)
    await place.bank.relay.deliver()
    await place.spend(7)
    key = partition_keys(PARTITION).balance("acme")
    old = await place.client.hgetall(key)
    await place.bank.grant(500)
    await place.bank.relay.deliver()
    await place.client.hset(key, mapping=old)  # it went back in time
    await place.bank.grant(30)
    await place.bank.relay.deliver()
    balance = await place.bank.balance()
    assert (balance.granted, balance.spent) == (1530, 7)


async def test_an_organisation_without_grants_is_refused_after_one_look_at_the_ledger(place: Place) -> None:
    with pytest.raises(BalanceExhausted):
        await place.holds.hold(admitted_ask(1))
    place.books.down = True
    with pytest.raises(BalanceExhausted):
        await place.holds.hold(admitted_ask(1))


async def test_two_gateways_build_a_balance_once(place: Place) -> None:
    await place.bank.grant(1000)
    other = RedisHolds(
        place.bank.redis,
        directory_of(balance_required=True),
        PostgresLedger(place.bank.postgres),
        partitions=2,
    )
    asks = [admitted_ask(100) for _ in range(20)]
    await asyncio.gather(*((place.holds, other)[n % 2].hold(ask) for n, ask in enumerate(asks[:10])))
    await place.bank.relay.deliver()
    balance = await place.bank.balance()
    assert (balance.granted, balance.held) == (1000, 1000)
    with pytest.raises(BudgetContended):
        await other.hold(asks[11])
    await other.close()


class Pausing:
    """Redis, which one gateway asks to build a balance when the test lets it."""

    def __init__(self, redis: RedisCalls) -> None:
        self._redis = redis
        self.about_to_build = asyncio.Event()
        self.may_build = asyncio.Event()

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        if script.name == "build_1":
            self.about_to_build.set()
            await self.may_build.wait()
        return await self._redis.run(script, keys, arguments)

    async def submit(self, form: Form, own: tuple[Argument, ...]) -> Any:
        return await self._redis.submit(form, own)

    async def command(self, *arguments: Argument) -> Any:
        return await self._redis.command(*arguments)


async def test_a_builder_that_was_held_up_still_counts_what_was_admitted_meanwhile(place: Place) -> None:
    await place.bank.grant(100)
    await place.bank.relay.deliver()
    await place.lose_balance()
    slow = Pausing(place.bank.redis)
    late = RedisBalances(slow, PostgresLedger(place.bank.postgres), partitions=2)
    building = asyncio.create_task(late.build("acme"))
    await slow.about_to_build.wait()
    grant = await place.holds.hold(open_ask := admitted_ask(70))
    await place.lose_balance()
    slow.may_build.set()
    await building
    with pytest.raises(BudgetContended):
        await place.holds.hold(admitted_ask(70))
    await place.holds.settle(grant, open_ask, 70, b"")
    balance = await place.bank.balance()
    assert (balance.granted, balance.spent, balance.held) == (100, 70, 0)
