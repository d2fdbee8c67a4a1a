"""A hold ends exactly once, however its request ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.budgets.holding import MOVES, Holding, Holdings, IllegalMove
from gateway.budgets.keeper import Keeper
from gateway.budgets.memory import MemoryHolds
from gateway.budgets.model import Ask, Grant, Outcome, Settled, State
from gateway.errors import StoreUnavailable
from tests.unit.budgets.making import ask_for, directory_of, key_limit


class SlowHolds(MemoryHolds):
    """Its answers to writes wait until they are let through, and it can be down."""

    def __init__(self) -> None:
        super().__init__(directory_of([key_limit(1000)]))
        self.let_through = asyncio.Event()
        self.let_through.set()
        self.entered = asyncio.Event()
        self.down = False
        self.writes: list[str] = []

    async def _gate(self, name: str) -> None:
        self.writes.append(name)
        self.entered.set()
        await self.let_through.wait()
        if self.down:
            raise StoreUnavailable()

    async def settle(self, grant: Grant, ask: Ask, cost: int, result: bytes) -> Settled:
        await self._gate("settle")
        return await super().settle(grant, ask, cost, result)

    async def release(self, request_id: str, org: str) -> Outcome:
        await self._gate("release")
        return await super().release(request_id, org)


class Watched:
    """A keeper's door, which says when a hold has ended."""

    def __init__(self, keeper: Keeper) -> None:
        self.track, self.resolve_later = keeper.track, keeper.resolve_later
        self.ended = asyncio.Event()
        self._keeper = keeper

    def untrack(self, holding: Holding) -> None:
        self._keeper.untrack(holding)
        self.ended.set()


class Desk:
    """Holdings over slow holds, with a keeper that is run by hand."""

    def __init__(self) -> None:
        self.holds = SlowHolds()
        self.keeper = Keeper(self.holds, hold_ttl_s=60.0)
        self.watched = Watched(self.keeper)
        self.holdings = Holdings(self.holds, self.watched)

    async def take(self) -> Holding:
        return await self.holdings.take(ask_for(100))

    @property
    def charged(self) -> list[int]:
        return [event.cost for event in self.holds.events]

    async def held(self) -> int:
        return sum([c.held async for c in self.holds.counters("acme") if c.scope == "key"])


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    yield made
    await made.keeper.stop()


def test_every_end_is_final() -> None:
    assert MOVES[State.HELD] == {State.SETTLED, State.RELEASED, State.REAPED}
    assert all(not MOVES[state] for state in State if state is not State.HELD)


async def test_a_settled_hold_is_left_alone_at_the_end(desk: Desk) -> None:
    async with await desk.take() as hold:
        hold.forwarded()
        assert (await hold.settle(40, b"{}")).outcome is Outcome.DONE
    assert hold.state is State.SETTLED
    assert (desk.charged, desk.holds.writes, len(desk.keeper)) == ([40], ["settle"], 0)


async def test_what_was_never_forwarded_is_given_back(desk: Desk) -> None:
    hold = await desk.take()
    with pytest.raises(KeyError):
        async with hold:
            raise KeyError("before forwarding")
    assert hold.state is State.RELEASED
    assert (desk.charged, await desk.held(), len(desk.keeper)) == ([], 0, 0)


async def test_what_was_forwarded_and_never_settled_is_charged_in_full(desk: Desk) -> None:
    hold = await desk.take()
    hold.forwarded()
    with pytest.raises(KeyError):
        async with hold:
            raise KeyError("after forwarding")
    assert hold.state is State.SETTLED
    assert desk.charged == [100]


async def test_a_hold_that_was_handed_over_stays_open_and_kept(desk: Desk) -> None:
    async with await desk.take() as hold:
        hold.forwarded()
        hold.hand_over()
    assert (hold.state, len(desk.keeper)) == (State.HELD, 1)
    await hold.settle(7, b"{}")
    assert (desk.charged, len(desk.keeper)) == ([7], 0)


@pytest.mark.parametrize("first", ["settle", "release"])
@pytest.mark.parametrize("second", ["settle", "release"])
async def test_a_second_resolution_raises(desk: Desk, first: str, second: str) -> None:
    hold = await desk.take()

    async def resolve(how: str) -> None:
        if how == "settle":
            await hold.settle(1, b"{}")
        else:
            await hold.release()

    await resolve(first)
    with pytest.raises(IllegalMove):
        await resolve(second)


async def test_a_forwarded_hold_cannot_be_released(desk: Desk) -> None:
    async with await desk.take() as hold:
        hold.forwarded()
        with pytest.raises(IllegalMove):
            await hold.release()
        await hold.settle(1, b"{}")


async def test_a_settlement_after_somebody_else_ended_the_hold_is_told_so(desk: Desk) -> None:
    hold = await desk.take()
    await desk.holds.release(hold.ask.request_id, "acme")
    assert (await hold.settle(40, b"{}")).outcome is Outcome.DUPLICATE
    assert (hold.state, desk.charged) == (State.RELEASED, [])


async def test_two_settlements_at_once_are_one(desk: Desk) -> None:
    hold = await desk.take()
    desk.holds.let_through.clear()
    both = [asyncio.create_task(hold.settle(40, b"{}")) for _ in range(2)]
    await desk.holds.entered.wait()
    desk.holds.let_through.set()
    assert await both[0] == await both[1]
    assert (desk.charged, desk.holds.writes) == ([40], ["settle"])


async def test_a_settlement_that_failed_may_be_tried_again(desk: Desk) -> None:
    hold = await desk.take()
    desk.holds.down = True
    with pytest.raises(StoreUnavailable):
        await hold.settle(40, b"{}")
    assert hold.state is State.HELD
    desk.holds.down = False
    await hold.settle(40, b"{}")
    assert desk.charged == [40]


@pytest.mark.parametrize("forwarded", [False, True])
async def test_what_could_not_be_ended_is_ended_when_the_store_is_back(desk: Desk, forwarded: bool) -> None:
    desk.holds.down = True
    async with await desk.take() as hold:
        if forwarded:
            hold.forwarded()
    assert (hold.state, len(desk.keeper)) == (State.HELD, 1)
    await desk.keeper.keep()
    assert hold.state is State.HELD
    desk.holds.down = False
    await desk.keeper.keep()
    assert hold.state is (State.SETTLED if forwarded else State.RELEASED)
    assert (desk.charged, await desk.held(), len(desk.keeper)) == ([100] if forwarded else [], 0, 0)


# ------------------------------------------------------------------ cancelled at every await


async def cancelled_while(desk: Desk, request: asyncio.Task[None]) -> None:
    """Cancel ``request`` while its write is under way, then let the write through."""
    await desk.holds.entered.wait()
    request.cancel()
    await asyncio.sleep(0)
    request.cancel()  # impatient: a second time, while the first is being dealt with
    await asyncio.sleep(0)
    desk.holds.let_through.set()
    with pytest.raises(asyncio.CancelledError):
        await request


async def test_cancelled_before_forwarding(desk: Desk) -> None:
    holds: list[Holding] = []
    waiting = asyncio.Event()

    async def request() -> None:
        async with await desk.take() as hold:
            holds.append(hold)
            waiting.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert holds[0].state is State.RELEASED
    assert await desk.held() == 0


async def test_cancelled_after_forwarding(desk: Desk) -> None:
    waiting = asyncio.Event()

    async def request() -> None:
        async with await desk.take() as hold:
            hold.forwarded()
            waiting.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert desk.charged == [100]


async def test_cancelled_while_settling(desk: Desk) -> None:
    desk.holds.let_through.clear()

    async def request() -> None:
        async with await desk.take() as hold:
            hold.forwarded()
            await hold.settle(40, b"{}")

    await cancelled_while(desk, asyncio.create_task(request()))
    await desk.watched.ended.wait()
    assert desk.charged == [40]
    assert desk.holds.writes == ["settle", "settle"]  # nobody knows of the first whether it was written


async def test_cancelled_while_releasing(desk: Desk) -> None:
    desk.holds.let_through.clear()

    async def request() -> None:
        async with await desk.take():
            pass

    await cancelled_while(desk, asyncio.create_task(request()))
    await desk.watched.ended.wait()
    assert (desk.charged, desk.holds.writes, await desk.held()) == ([], ["release"], 0)


async def test_cancelled_while_being_charged_at_the_bound(desk: Desk) -> None:
    desk.holds.let_through.clear()

    async def request() -> None:
        async with await desk.take() as hold:
            hold.forwarded()

    await cancelled_while(desk, asyncio.create_task(request()))
    await desk.watched.ended.wait()
    assert (desk.charged, desk.holds.writes) == ([100], ["settle"])
