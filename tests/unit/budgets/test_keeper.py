"""Holds live as long as their gateway does, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.budgets.holding import Holding, Holdings
from gateway.budgets.keeper import RENEWALS_PER_TTL, Keeper
from gateway.budgets.memory import MemoryHolds
from gateway.budgets.model import Outcome, Scope, State
from gateway.errors import StoreUnavailable
from tests.unit.budgets.making import ask_for, directory_of, key_limit


class Clock:
    now_us = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.now_us


class Watched(MemoryHolds):
    """Says when it was asked to renew and to reap; may be down."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(directory_of([key_limit(1000)]), hold_ttl_s=60.0, now_us=clock)
        self.renewed, self.reaped = asyncio.Event(), asyncio.Event()
        self.down = False

    async def renew(self, holds: Sequence[tuple[str, str]]) -> set[str]:
        if self.down:
            raise StoreUnavailable()
        self.renewed.set()
        return await super().renew(holds)

    async def reap(self, limit: int = 100) -> int:
        if self.down:
            raise StoreUnavailable()
        self.reaped.set()
        return await super().reap(limit)

    async def settled(self) -> int:
        return sum([c.settled async for c in self.counters("acme") if c.scope is Scope.KEY])


async def answered(keeper: Keeper) -> None:
    """The store has answered for as long as a hold lives."""
    for _ in range(RENEWALS_PER_TTL):
        await keeper.reap()


async def test_renewed_holds_outlive_their_first_deadline() -> None:
    clock = Clock()
    holds = Watched(clock)
    keeper = Keeper(holds, hold_ttl_s=60.0)
    await answered(keeper)
    await Holdings(holds, keeper).take(ask_for(10))
    clock.now_us += 59_000_000
    await keeper.keep()
    clock.now_us += 59_000_000
    await keeper.reap()
    assert keeper.reaped == 0
    clock.now_us += 2_000_000
    await keeper.reap()
    assert keeper.reaped == 1
    assert await holds.settled() == 10


async def test_lost_holds_are_reported_once() -> None:
    holds = Watched(Clock())
    lost: list[Holding] = []
    keeper = Keeper(holds, hold_ttl_s=60.0, lost=lost.append)
    holding = await Holdings(holds, keeper).take(ask_for(10))
    await holds.release(holding.ask.request_id, "acme")
    await keeper.keep()
    await keeper.keep()
    assert lost == [holding]


async def test_a_hold_that_cannot_be_renewed_is_lost_at_its_deadline() -> None:
    holds = Watched(Clock())
    lost: list[Holding] = []
    ended = asyncio.Event()

    def end(holding: Holding) -> None:
        lost.append(holding)
        ended.set()

    keeper = Keeper(holds, hold_ttl_s=0.2, lost=end)
    holding = await Holdings(holds, keeper).take(ask_for(10))
    taken_s = asyncio.get_running_loop().time()
    holds.down = True
    await keeper.keep()
    await keeper.keep()
    assert lost == [], "its deadline is yet to come"
    await ended.wait()
    assert lost == [holding]
    assert asyncio.get_running_loop().time() - taken_s < 0.2 + 0.2 / RENEWALS_PER_TTL, "not a round later"
    assert (len(keeper), keeper.holdings()) == (1, []), "it is settled when the store is back"
    holds.down = False
    await keeper.keep()
    assert holds.renewed.is_set()
    await holding.settle(3, b"{}")
    assert (len(keeper), await holds.settled()) == (0, 3)


async def test_a_hold_that_went_while_it_could_not_be_renewed_is_forgotten() -> None:
    holds = Watched(Clock())
    ended = asyncio.Event()
    keeper = Keeper(holds, hold_ttl_s=0.2, lost=lambda _: ended.set())
    holding = await Holdings(holds, keeper).take(ask_for(10))
    await ended.wait()
    await holds.release(holding.ask.request_id, "acme")
    await keeper.keep()
    assert len(keeper) == 0


async def test_nothing_is_reaped_until_the_store_has_answered_for_as_long_as_a_hold_lives() -> None:
    clock = Clock()
    holds = Watched(clock)
    keeper = Keeper(holds, hold_ttl_s=60.0)
    for failing in (keeper.reap, keeper.keep):
        await answered(keeper)
        await Holdings(holds, keeper).take(ask_for(10))
        holds.down = True
        await failing()
        holds.down = False
        clock.now_us += 61_000_000
        before = keeper.reaped
        await answered(keeper)
        assert keeper.reaped == before
        await keeper.reap()
        assert keeper.reaped == before + 1


async def test_renewed_holds_are_not_ended_at_the_deadline_that_they_had_first() -> None:
    holds = Watched(Clock())
    lost: list[Holding] = []
    keeper = Keeper(holds, hold_ttl_s=0.2, lost=lost.append)
    await Holdings(holds, keeper).take(ask_for(10))
    await asyncio.wait({asyncio.ensure_future(asyncio.Event().wait())}, timeout=0.1)
    await keeper.keep()
    await asyncio.wait({asyncio.ensure_future(asyncio.Event().wait())}, timeout=0.15)
    assert (lost, len(keeper)) == ([], 1)
    await keeper.stop()


async def test_a_store_that_is_down_for_less_than_a_deadline_loses_nothing() -> None:
    holds = Watched(Clock())
    lost: list[Holding] = []
    keeper = Keeper(holds, hold_ttl_s=60.0, lost=lost.append)
    await Holdings(holds, keeper).take(ask_for(10))
    holds.down = True
    await keeper.keep()
    await keeper.reap()
    holds.down = False
    await keeper.keep()
    assert (lost, len(keeper)) == ([], 1)


async def test_one_round_reaps_everything_that_is_due() -> None:
    clock = Clock()
    holds = Watched(clock)
    for _ in range(250):
        await holds.hold(ask_for(1))
    clock.now_us += 61_000_000
    keeper = Keeper(holds, hold_ttl_s=60.0)
    await answered(keeper)
    await keeper.reap()
    assert keeper.reaped == 250


async def test_start_and_stop_may_be_repeated_in_any_order() -> None:
    holds = Watched(Clock())
    keeper = Keeper(holds, hold_ttl_s=60.0)
    await keeper.stop()
    await Holdings(holds, keeper).take(ask_for(10))
    for _ in range(3):
        await keeper.start()
        await keeper.start()
        await holds.renewed.wait()
        await holds.reaped.wait()
        await keeper.stop()
        await keeper.stop()
        holds.renewed.clear()
        holds.reaped.clear()


async def test_a_round_that_fails_is_logged_and_followed_by_others(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(Watched):
        rounds = 0

        async def renew(self, holds: Sequence[tuple[str, str]]) -> set[str]:
            self.rounds += 1
            if self.rounds == 1:
                raise ValueError("a record that cannot be read")
            return await super().renew(holds)

    holds = Faulty(Clock())
    keeper = Keeper(holds, hold_ttl_s=0.2)
    await Holdings(holds, keeper).take(ask_for(10))
    await keeper.start()
    await holds.renewed.wait()
    await keeper.stop()
    assert "a round of keeping holds failed" in caplog.text


class Refusing(Watched):
    """Cannot give back the holds in ``stuck``."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(Clock())
        self.stuck: set[str] = set()
        self.failure = failure

    async def release(self, request_id: str, org: str) -> Outcome:
        if request_id in self.stuck:
            raise self.failure
        return await super().release(request_id, org)


@pytest.mark.parametrize("failure", [StoreUnavailable("refused"), ValueError("a record that cannot be read")])
async def test_a_hold_that_cannot_be_ended_keeps_no_other_and_no_renewal_waiting(failure: Exception) -> None:
    holds = Refusing(failure)
    keeper = Keeper(holds, hold_ttl_s=60.0)
    holdings = Holdings(holds, keeper)
    stuck, other, in_flight = [await holdings.take(ask_for(10)) for _ in range(3)]
    holds.stuck.add(stuck.ask.request_id)
    keeper.resolve_later(stuck)
    keeper.resolve_later(other)
    await keeper.keep()
    assert (stuck.state, other.state, in_flight.state) == (State.HELD, State.RELEASED, State.HELD)
    assert holds.renewed.is_set()


async def test_a_hold_that_never_can_be_ended_is_left_to_the_reaper() -> None:
    holds = Refusing(ValueError("a record that cannot be read"))
    keeper = Keeper(holds, hold_ttl_s=60.0)
    stuck = await Holdings(holds, keeper).take(ask_for(10))
    holds.stuck.add(stuck.ask.request_id)
    keeper.resolve_later(stuck)
    await keeper.keep()
    assert len(keeper) == 0, "it is not renewed any more"
