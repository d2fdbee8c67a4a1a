"""Holds over a Redis that breaks: connections cut at any moment, servers killed, settings that do not do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from gateway.budgets.balances import BalanceChange
from gateway.budgets.keyspace import partition_keys
from gateway.budgets.model import Outcome, Scope, State
from gateway.budgets.plan import Planner, identities
from gateway.budgets.ports import EmptyLedger
from gateway.budgets.redis_books import RedisBooks
from gateway.budgets.redis_holds import RedisHolds
from gateway.budgets.redis_resolving import Resolver
from gateway.budgets.redis_scripts import HOLD, RESOLVE
from gateway.errors import ConfigError, StoreUnavailable
from gateway.stores.redis import CommandFailed, OutcomeUnknown, RedisStore
from gateway.stores.redis_health import inspect_redis
from tests.support.servers import TestRedis
from tests.unit.budgets.making import ask_for, directory_of, key_limit


class Wire:
    """A TCP relay to Redis that can be cut, and can swallow replies."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed_after_cut = False
        """Whoever connects after a cut is turned away."""
        self.swallow_after: bytes | None = None
        """Once this was sent to Redis, its replies are swallowed and the client is cut off."""
        self.cuts = 0

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        if self.closed_after_cut and self.cuts:
            writer.close()
            self._tasks.discard(task)
            return
        above_reader, above = await asyncio.open_connection("127.0.0.1", self._port)
        state = {"cut": False}
        down = asyncio.create_task(self._down(above_reader, writer, state))
        try:
            while data := await reader.read(65536):
                if self.swallow_after is not None and self.swallow_after in data:
                    state["cut"] = True
                    self.swallow_after = None
                above.write(data)
        except asyncio.CancelledError:
            pass  # the relay is being closed; asyncio would log this as an error
        finally:
            above.close()
            down.cancel()
            writer.close()
            self._tasks.discard(task)

    async def _down(
        self, above: asyncio.StreamReader, writer: asyncio.StreamWriter, state: dict[str, bool]
    ) -> None:
        while data := await above.read(65536):
            if state["cut"]:
                self.cuts += 1
                writer.transport.abort()
                return
            writer.write(data)


@pytest.fixture
async def wire(redis_url: str) -> AsyncIterator[Wire]:
    made = Wire(int(redis_url.split(":")[2].split("/")[0]))
    yield made
    await made.close()


async def started(url: str) -> tuple[RedisStore, RedisHolds]:
    """On an org whose total has been counted before, so that nothing needs seeding."""
    store = RedisStore(url)
    holds = RedisHolds(store, directory_of([key_limit(1000)]), EmptyLedger())
    await holds.start()
    await holds.release((await holds.hold(ask_for(0))).request_id, "acme")
    return store, holds


async def counter_of_key(store: RedisStore) -> tuple[int, int]:
    found = [c async for c in RedisBooks(store).counters() if c.scope is Scope.KEY]
    return (found[0].settled, found[0].held) if found else (0, 0)


async def test_a_reply_that_was_lost_leads_to_one_hold_and_one_settlement(wire: Wire) -> None:
    store = RedisStore(await wire.start())
    holds = RedisHolds(store, directory_of([key_limit(1000)]), EmptyLedger())
    await holds.start()
    warm = ask_for(0)  # has Redis learn the scripts
    await holds.settle(await holds.hold(warm), warm, 0, b"{}")
    ask = ask_for(100)
    wire.swallow_after = HOLD.sha.encode()
    grant = await holds.hold(ask)
    assert wire.cuts == 1
    assert grant.amount == 100
    wire.swallow_after = RESOLVE.sha.encode()
    settled = await holds.settle(grant, ask, 70, b"{}")
    assert wire.cuts == 2
    assert (settled.outcome, settled.state) == (Outcome.DUPLICATE, State.SETTLED)
    assert await counter_of_key(store) == (70, 0)
    await holds.close()
    await store.close()


async def test_a_hold_that_was_taken_while_redis_went_away_is_given_back(wire: Wire) -> None:
    store, holds = await started(await wire.start())
    ask = ask_for(100)
    wire.swallow_after, wire.closed_after_cut = HOLD.sha.encode(), True
    with pytest.raises(StoreUnavailable):
        await holds.hold(ask)
    assert wire.cuts == 1
    wire.closed_after_cut = False
    await holds.settled_down()
    assert await counter_of_key(store) == (0, 0)
    assert await store.command("GET", partition_keys(0).done(ask.request_id)) == b"released"
    await holds.close()
    await store.close()


async def test_a_hold_whose_caller_is_cancelled_on_the_way_is_given_back(redis_url: str) -> None:
    store = RedisStore(redis_url)
    holds = RedisHolds(store, directory_of([key_limit(1000)]), EmptyLedger())
    await holds.start()
    await holds.hold(ask_for(0))
    ask = ask_for(100)
    caller = asyncio.create_task(holds.hold(ask))
    await asyncio.sleep(0)  # lets it write its command, not more
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await holds.settled_down()
    assert await counter_of_key(store) == (0, 0)
    assert await store.command("GET", partition_keys(0).done(ask.request_id)) == b"released"
    await holds.close()
    await store.close()


def test_holds_of_unknown_outcome_are_given_back_when_redis_is_back(private_redis: TestRedis) -> None:
    with asyncio.Runner() as runner:
        store, holds = runner.run(started(private_redis.url))
        runner.run(store.command("CLIENT", "PAUSE", 60_000))

        async def cut_short() -> list[object]:
            lost = [asyncio.create_task(holds.hold(ask_for(10))) for _ in range(5)]
            await asyncio.sleep(0)
            private_redis.kill()
            return await asyncio.gather(*lost, return_exceptions=True)

        assert {type(outcome) for outcome in runner.run(cut_short())} <= {StoreUnavailable, OutcomeUnknown}
        private_redis.start()
        runner.run(holds.settled_down())
        assert runner.run(counter_of_key(store)) == (0, 0)
        runner.run(holds.close())
        runner.run(store.close())


def test_a_killed_redis_comes_back_with_every_hold_and_settlement(private_redis: TestRedis) -> None:
    with asyncio.Runner() as runner:
        store, holds = runner.run(started(private_redis.url))
        runner.run(store.command("CONFIG", "SET", "appendfsync", "always"))
        first, second = ask_for(100), ask_for(200)
        grant = runner.run(holds.hold(first))
        runner.run(holds.settle(runner.run(holds.hold(second)), second, 150, b"{}"))
        private_redis.kill()
        with pytest.raises(StoreUnavailable):
            runner.run(holds.hold(ask_for(1)))
        private_redis.start()
        assert runner.run(holds.settle(grant, first, 60, b"{}")).remaining == 1000 - 150 - 60
        assert runner.run(counter_of_key(store)) == (210, 0)
        runner.run(holds.close())
        runner.run(store.close())


async def test_a_redis_that_says_nothing_is_given_up_after_the_timeout(private_redis: TestRedis) -> None:
    store = RedisStore(private_redis.url, timeout_s=0.2)
    await store.command("PING")
    await store.command("CLIENT", "PAUSE", 60_000, "ALL")
    with pytest.raises(StoreUnavailable):
        await store.command("PING")
    await store.close()


async def test_scripts_that_redis_forgot_are_sent_again(redis_url: str) -> None:
    store = RedisStore(redis_url)
    holds = RedisHolds(store, directory_of(), EmptyLedger())
    await holds.start()
    await holds.hold(ask_for(1))
    await store.command("SCRIPT", "FLUSH")
    grants = await asyncio.gather(*(holds.hold(ask_for(1)) for _ in range(50)))
    assert len(grants) == 50
    await holds.close()
    await store.close()


async def test_one_failing_command_leaves_its_neighbours_alone(redis_url: str) -> None:
    store = RedisStore(redis_url)
    await store.command("SET", "text", "x")
    failed, fine = await asyncio.gather(
        store.command("LPUSH", "text", "y"), store.command("GET", "text"), return_exceptions=True
    )
    assert isinstance(failed, CommandFailed)
    assert fine == b"x"
    await store.close()


async def test_a_key_of_the_wrong_type_stops_a_script_before_it_writes(redis_url: str) -> None:
    store = RedisStore(redis_url)
    holds = RedisHolds(store, directory_of([key_limit(1000)]), EmptyLedger())
    await holds.start()
    ask = ask_for(100)
    grant = await holds.hold(ask)
    stream = holds.keys("acme").stream
    await store.command("SET", stream, "not a stream")
    with pytest.raises(CommandFailed):
        await holds.settle(grant, ask, 60, b"{}")
    assert await counter_of_key(store) == (0, 100)
    await store.command("DEL", stream)
    assert (await holds.settle(grant, ask, 60, b"{}")).outcome is Outcome.DONE
    await holds.close()
    await store.close()


async def test_a_full_redis_admits_nothing_and_changes_nothing(private_redis: TestRedis) -> None:
    store = RedisStore(private_redis.url)
    holds = RedisHolds(store, directory_of([key_limit(1000)]), EmptyLedger())
    await holds.start()
    await holds.hold(ask_for(100))
    await store.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreUnavailable):
        await holds.hold(ask_for(100))
    await store.command("CONFIG", "SET", "maxmemory", "0")
    await holds.settled_down()
    assert await counter_of_key(store) == (0, 100)
    await holds.close()
    await store.close()


async def test_the_number_of_partitions_cannot_change(redis_url: str) -> None:
    store = RedisStore(redis_url)
    await RedisHolds(store, directory_of(), EmptyLedger(), partitions=4).start()
    with pytest.raises(ConfigError, match=r"redis\.partitions: is 8, but .* first used with 4"):
        await RedisHolds(store, directory_of(), EmptyLedger(), partitions=8).start()
    await store.close()


async def test_nothing_listens_there(redis_url: str, unused_tcp_port: int) -> None:
    store = RedisStore(f"redis://127.0.0.1:{unused_tcp_port}/0")
    with pytest.raises(StoreUnavailable):
        await store.command("PING")
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.command("PING")


async def test_closing_ends_what_is_under_way(private_redis: TestRedis) -> None:
    store = RedisStore(private_redis.url)
    await store.command("CLIENT", "PAUSE", 60_000)
    waiting = asyncio.create_task(store.command("SET", "a", "b"))
    await asyncio.sleep(0)
    await store.close()
    with pytest.raises(OutcomeUnknown):
        await waiting


async def test_password_and_database_of_the_url_are_used(private_redis: TestRedis) -> None:
    admin = RedisStore(private_redis.url)
    await admin.command("CONFIG", "SET", "requirepass", "a secret")
    store = RedisStore(f"redis://:a%20secret@127.0.0.1:{private_redis.port}/3")
    await store.command("SET", "here", "x")
    await admin.command("AUTH", "a secret")
    assert await admin.command("GET", "here") is None
    wrong = RedisStore(f"redis://:wrong@127.0.0.1:{private_redis.port}/3")
    with pytest.raises(StoreUnavailable, match=r"refuses AUTH: check redis\.url") as refused:
        await wrong.command("PING")
    assert "wrong@" not in str(refused.value)
    await admin.command("CONFIG", "SET", "requirepass", "")
    for each in (admin, store, wrong):
        await each.close()


def test_a_url_that_is_none_is_refused_without_being_repeated() -> None:
    with pytest.raises(ConfigError, match=r"redis\.url") as refused:
        RedisStore("postgres://user:hunter2@host")
    assert "hunter2" not in refused.value.message


async def test_settings_that_could_forget_or_evict_are_found(private_redis: TestRedis) -> None:
    store = RedisStore(private_redis.url)
    await store.command("CONFIG", "SET", "appendfsync", "everysec")
    assert await inspect_redis(store) == []
    await store.command("CONFIG", "SET", "appendfsync", "no")
    (finding,) = await inspect_redis(store)
    assert not finding.fatal
    assert "appendfsync" in finding.message
    await store.command("CONFIG", "SET", "appendfsync", "everysec")
    await store.command("CONFIG", "SET", "appendonly", "no")
    await store.command("CONFIG", "SET", "maxmemory", "1gb")
    await store.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    findings = await inspect_redis(store)
    assert [finding.fatal for finding in findings] == [True, True]
    assert "appendonly" in findings[0].message
    assert "noeviction" in findings[1].message
    await store.close()


async def test_operators_see_open_holds_and_can_give_one_back(redis_url: str) -> None:
    store = RedisStore(redis_url)
    holds = RedisHolds(store, directory_of([key_limit(1000)]), EmptyLedger(), partitions=2)
    books = RedisBooks(store, partitions=2)
    await holds.start()
    ask = ask_for(100)
    await holds.hold(ask)
    (seen,) = [hold async for hold in books.open_holds("acme")]
    assert (seen.request_id, seen.amount, seen.subject) == (ask.request_id, 100, ask.subject)
    assert seen.deadline_us - seen.started_at_us == 60_000_000
    assert 0 <= seen.age_s < 60
    assert await holds.release(seen.request_id, "acme") is Outcome.DONE
    assert [hold async for hold in books.open_holds()] == []
    await holds.close()
    await store.close()


async def test_marks_of_committed_rows_expire_after_a_day(redis_url: str) -> None:
    store = RedisStore(redis_url)
    holds = RedisHolds(store, directory_of(), EmptyLedger())
    await holds.start()
    ask = ask_for(1)
    await holds.settle(await holds.hold(ask), ask, 1, b"{}")
    await RedisBooks(store).committed(0, [ask.request_id])
    left_s = await store.command("TTL", partition_keys(0).done(ask.request_id))
    assert 86_000 < left_s <= 86_400
    await holds.close()
    await store.close()


async def test_a_release_that_always_fails_does_not_keep_the_others_held(redis_url: str) -> None:
    store = RedisStore(redis_url)
    directory = directory_of([key_limit(1000)])
    holds = RedisHolds(store, directory, EmptyLedger())
    await holds.start()
    kept, spoilt = ask_for(10), ask_for(20)
    for ask in (spoilt, kept):
        await holds.hold(ask)
    keys = partition_keys(0)
    await store.command("LPUSH", keys.done(spoilt.request_id), "no marker is a list")
    rules = directory.rules("acme")
    planner = Planner(rules, dict.fromkeys(identities(rules), 0), keys)
    resolver = Resolver(store)
    for ask in (spoilt, kept):
        plan = planner.plan(ask.subject, ask.operation, ask.model, time.time_ns() // 1000)
        resolver.release_later(keys, ask.request_id, plan)
    async with asyncio.timeout(5):
        await resolver.released()
    assert [hold.request_id async for hold in RedisBooks(store).open_holds()] == [spoilt.request_id]
    await holds.close()
    await store.close()


async def test_sums_beyond_all_counting_stop_growing_and_nothing_is_half_written(redis_url: str) -> None:
    store = RedisStore(redis_url)
    holds = RedisHolds(store, directory_of([key_limit(1000)], balance_required=True), EmptyLedger())
    books = RedisBooks(store)
    await holds.start()
    await holds.balances.change("acme", BalanceChange(1, 0, 1000, ""))
    ask = ask_for(10)
    grant = await holds.hold(ask)
    keys = partition_keys(0)
    for key in [key async for key in _counter_keys(store)]:
        await store.command("HSET", key, "s", MOST - 5)
    await store.command("HSET", keys.balance("acme"), "spent", MOST - 5)
    for cost in (2**53, 2**53):
        assert (await holds.settle(grant, ask, cost, b"{}")).outcome in (Outcome.DONE, Outcome.DUPLICATE)
    assert {int(await store.command("HGET", key, "s")) async for key in _counter_keys(store)} == {MOST}
    assert int(await store.command("HGET", keys.balance("acme"), "spent")) == MOST
    assert [hold async for hold in books.open_holds()] == []
    assert await store.command("XLEN", keys.stream) == 1
    await holds.close()
    await store.close()


MOST = 2**62


async def _counter_keys(store: RedisStore) -> AsyncIterator[str]:
    for key in await store.command("ZRANGE", partition_keys(0).counter_index, 0, -1):
        yield key.decode()
