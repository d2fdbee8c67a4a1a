"""The hub on a real Redis and Postgres: slow listeners, holes that cannot be filled, books that are down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from gateway.budgets.directory import Directory, OrgRules
from gateway.budgets.model import Ask, Subject
from gateway.budgets.ports import EmptyLedger
from gateway.budgets.redis_holds import RedisHolds
from gateway.errors import ExpiredKey, RateLimited, ShuttingDown
from gateway.identity.roles import Principal, Reach, Role
from gateway.ledger.event import Admission, Result
from gateway.ledger.migrate import migrate
from gateway.live import channels
from gateway.live.hub import LiveHub
from gateway.live.service import Live
from gateway.request_id import new_request_id
from gateway.stores.postgres import Postgres
from gateway.stores.redis import RedisStore

ORG = "acme"
WHOLE = Reach(ORG)
OWNER = Principal("user:acme/olga", frozenset({Role.OWNER}), ORG, "olga")
COST = 1_000
WAIT_S = 15.0


class World:
    """A store that settles, and a hub that listens."""

    def __init__(self, redis: RedisStore, live: Live) -> None:
        self.redis = redis
        self.live = live
        self._holds = RedisHolds(redis, Directory({}), EmptyLedger())

    @property
    def hub(self) -> LiveHub:
        return self.live.hub

    async def settle(self, count: int = 1, user: str = "ada") -> None:
        for _ in range(count):
            request_id = new_request_id()
            subject = Subject(ORG, "research", user, f"{user}-key")
            admission = Admission(
                request_id=request_id, org_id=ORG, team_id=subject.team, user_id=user, key_id=subject.key,
                provider="openai", model="gpt-4o", operation="chat", route="chat", streamed=False, gateway_id="g",
            )  # fmt: skip
            ask = Ask(request_id, subject, "chat", "gpt-4o", COST, 0, 0, admission.to_json())
            grant = await self._holds.hold(ask)
            result = Result(finished_at_us=time.time_ns() // 1000, usage_source="provider", status="ok")
            await self._holds.settle(grant, ask, COST, result.to_json())

    @asynccontextmanager
    async def listening(
        self, reach: Reach = WHOLE, after: int | None = None, principal: Principal = OWNER
    ) -> AsyncIterator[Ear]:
        async def still() -> Principal:
            return principal

        async with aclosing(self.hub.listen(principal, reach, after, still)) as chunks:
            ear = Ear(chunks)
            await ear.read()
            yield ear


class Ear:
    """Reads one listener's events."""

    def __init__(self, chunks: AsyncGenerator[bytes, None]) -> None:
        self._chunks = chunks
        self.events: list[tuple[str, int | None, Any]] = []

    def named(self, name: str) -> list[Any]:
        return [data for kind, _, data in self.events if kind == name]

    async def read(self) -> None:
        """The next chunk."""
        for block in (await anext(self._chunks)).split(b"\n\n"):
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line[1:])
            if b"event" in fields:
                number = int(fields[b"id"]) if b"id" in fields else None
                self.events.append((fields[b"event"].decode(), number, orjson.loads(fields[b"data"])))

    async def until(self, name: str, count: int = 1) -> Any:
        """The ``count``-th event called so."""
        async with asyncio.timeout(WAIT_S):
            while len(self.named(name)) < count:
                await self.read()
        return self.named(name)[count - 1]


@pytest.fixture
async def world(redis_url: str, postgres_dsn: str) -> AsyncIterator[World]:
    redis, postgres = RedisStore(redis_url), Postgres(postgres_dsn)
    await postgres.start()
    await migrate(postgres_dsn)
    live = Live(
        redis,
        postgres,
        RedisHolds(redis, Directory({}), EmptyLedger()).balances,
        OrgRules,
        lambda: (),
        gateway_id="one",
        partitions=1,
        now=lambda: datetime.now(UTC),
    )
    await live.start()
    yield World(redis, live)
    await live.stop()
    await redis.close()
    await postgres.stop()


async def test_a_listener_that_does_not_read_gets_one_reset_with_the_right_sums(world: World) -> None:
    async with world.listening() as slow, world.listening() as quick:
        for part in range(4):
            await world.settle(300)
            await quick.until("usage", (part + 1) * 300)
        reset = await slow.until("reset")
        assert (reset["reason"], reset["session"]["microcredits"]) == ("behind", 1200 * COST)
        assert not slow.named("usage")
        await world.settle()
        await slow.until("usage")
        last_id = max(number for _, number, _ in slow.events if number is not None)
        assert last_id > reset["sequence"]
        assert not quick.named("reset")


async def test_a_hole_that_the_books_cannot_fill_is_a_reset(world: World) -> None:
    """Settlements that are neither published, on the stream nor in a row: an entry that was buried, say."""
    async with world.listening() as ear:
        await world.settle(2)
        await ear.until("usage", 2)
        await world.redis.command("INCRBY", "tg:{p0}:n", 200_000)
        await world.settle()
        reset = await ear.until("reset")
        assert reset["reason"] == "missed"
        await world.settle()
        await ear.until("usage", 3)


async def test_totals_say_nothing_of_sums_while_the_books_are_down_and_the_rest_goes_on(
    redis_url: str,
) -> None:
    redis, postgres = RedisStore(redis_url), Postgres("postgresql://nobody@127.0.0.1:1/none")
    await postgres.start()
    balances = RedisHolds(redis, Directory({}), EmptyLedger()).balances
    live = Live(
        redis, postgres, balances, OrgRules, lambda: (), gateway_id="one", partitions=1,
        now=lambda: datetime.now(UTC),
    )  # fmt: skip
    await live.start()
    world = World(redis, live)
    try:
        async with world.listening() as ear:
            assert ear.named("totals")[0]["today"] is None
            await world.settle()
            await ear.until("usage")
            count = 2
            while (totals := await ear.until("totals", count))["session"]["microcredits"] != COST:
                count += 1
            assert (totals["today"], totals["this_month"]) == (None, None)
    finally:
        await live.stop()
        await redis.close()
        await postgres.stop()


async def test_who_comes_back_at_once_gets_what_is_kept_in_memory(world: World) -> None:
    async with world.listening() as staying:
        async with world.listening() as leaving:
            await world.settle(3)
            await leaving.until("usage", 3)
            seen = max(number for _, number, _ in leaving.events if number is not None)
        await world.settle(2)
        await staying.until("usage", 5)
        async with world.listening(after=seen) as back:
            assert [data["id"] for data in back.named("usage")] == [
                data["id"] for data in staying.named("usage")[3:]
            ]
            assert back.named("totals")[0]["session"]["microcredits"] == 2 * COST


async def test_alerts_are_passed_on_to_whom_they_concern(world: World) -> None:
    ada = Reach(ORG, None, frozenset({"ada"}), frozenset())
    async with world.listening() as owner, world.listening(ada) as member:
        for told in ({"alert": {"n": 1}}, {"alert": {"n": 2}, "user": "ada"}):
            await world.redis.command("PUBLISH", channels.ALERTS, orjson.dumps({"org": ORG, **told}))
        await owner.until("alert", 2)
        assert [data["n"] for data in owner.named("alert")] == [1, 2]
        assert (await member.until("alert"))["n"] == 2


async def test_who_may_no_longer_listen_is_sent_away_within_two_seconds(world: World) -> None:
    answers: list[Principal | Exception] = [OWNER]

    async def still() -> Principal:
        if isinstance(answers[-1], Exception):
            raise answers[-1]
        return answers[-1]

    for now, reason in ((ExpiredKey(), "revoked"), (Principal("x", frozenset()), "role_changed")):
        answers.append(OWNER)
        async with aclosing(world.hub.listen(OWNER, WHOLE, None, still)) as chunks:
            ear = Ear(chunks)
            await ear.read()
            answers.append(now)
            async with asyncio.timeout(2.0):
                assert (await ear.until("end"))["reason"] == reason


async def test_listeners_of_one_caller_are_bounded_and_places_come_free(world: World) -> None:
    async def still() -> Principal:
        return OWNER

    held = [world.hub.listen(OWNER, WHOLE, None, still) for _ in range(20)]
    for chunks in held:
        await anext(chunks)
    with pytest.raises(RateLimited):
        await anext(world.hub.listen(OWNER, WHOLE, None, still))
    await held.pop().aclose()
    held.append(world.hub.listen(OWNER, WHOLE, None, still))
    await anext(held[-1])
    for chunks in held:
        await chunks.aclose()
    assert not len(world.hub)


async def test_keys_that_belong_to_nobody_are_bounded_together_by_team(world: World) -> None:
    def key(number: int, team: str) -> Principal:
        name = f"{team}-{number}"
        return Principal(f"key:{ORG}/{name}", frozenset({Role.MEMBER}), ORG, None, team, name)

    async with AsyncExitStack() as held:
        for number in range(20):
            await held.enter_async_context(world.listening(principal=key(number, "research")))
        with pytest.raises(RateLimited):
            await held.enter_async_context(world.listening(principal=key(20, "research")))
        await held.enter_async_context(world.listening(principal=key(0, "sales")))


async def test_a_stopped_hub_refuses_and_can_be_started_again(world: World) -> None:
    async def still() -> Principal:
        return OWNER

    await world.live.stop()
    await world.live.stop()
    with pytest.raises(ShuttingDown):
        await anext(world.hub.listen(OWNER, WHOLE, None, still))
    await world.live.start()
    async with world.listening() as ear:
        await world.settle()
        await ear.until("usage")
