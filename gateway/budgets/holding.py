"""One hold around one request: an ``async with`` that ends in exactly one way.

Resolving is a write that must not be lost: whoever awaits it may be cancelled, the write goes on in a task of its
own, and whoever asks again gets its result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from gateway.budgets.model import Ask, Grant, Holds, Settled, State
from gateway.errors import StoreUnavailable, TollgateError

MOVES: dict[State, frozenset[State]] = {
    State.HELD: frozenset({State.SETTLED, State.RELEASED, State.REAPED}),
    State.SETTLED: frozenset(),
    State.RELEASED: frozenset(),
    State.REAPED: frozenset(),
}
"""Which state may follow which."""

NO_RESULT = b""
"""Nothing is known of how the request went: the ledger writes such a row as the reaper's."""


class IllegalMove(TollgateError):
    """A hold was to be resolved a second time, in another way."""

    code = "illegal_hold_move"


class Progress(NamedTuple):
    """How far a call in flight has come. Estimates, but for the bytes."""

    seconds: float
    output_bytes: int
    """Of the reply's body, as the provider sent them."""
    output_tokens: int
    microcredits: int
    """What it would come to if it ended now; never more than is held."""


class Registry(Protocol):
    """Who keeps holds alive while they are open (see `gateway.budgets.keeper`)."""

    def track(self, holding: Holding) -> None:
        """Renew this hold from now on."""

    def untrack(self, holding: Holding) -> None:
        """It has ended."""

    def resolve_later(self, holding: Holding) -> None:
        """The store did not answer at the end: call `Holding.abandon` until it does."""


class Holding:
    """A hold that was taken. Leaving the ``async with`` unresolved gives back a hold whose request was never
    forwarded, and settles one that was at all it holds.
    """

    def __init__(self, holds: Holds, registry: Registry, ask: Ask, grant: Grant) -> None:
        self.ask = ask
        self.grant = grant
        self.state = State.HELD
        self._holds = holds
        self._registry = registry
        self._forwarded = False
        self._handed_over = False
        self.on_lost: Callable[[], None] | None = None
        """Called when the hold is found to be gone or past its deadline: end the request before it costs more."""
        self.progress: Callable[[], Progress] | None = None
        """Asked while somebody watches; None before the request is forwarded and after the hold has ended."""
        self._settling: asyncio.Future[Settled] | None = None
        self._abandoning: asyncio.Task[None] | None = None

    @property
    def resolving(self) -> bool:
        """A write that ends this hold is under way."""
        return any(write is not None and not write.done() for write in (self._settling, self._abandoning))

    def forwarded(self) -> None:
        """The point of no return: from here on the provider may have been asked to do something."""
        self._forwarded = True

    def hand_over(self) -> None:
        """Somebody else will settle: leave the hold open when the ``async with`` ends."""
        self._handed_over = True

    def give_up(self) -> None:
        """Who took it over will not settle it after all: end it at what it holds as soon as the store can."""
        if self.state is State.HELD:
            self._registry.resolve_later(self)

    async def settle(self, cost: int, result: bytes) -> Settled:
        """Replace the hold by ``cost`` microcredits and record the usage event.

        May be called again after `StoreUnavailable`; a call while another is under way gets its result.
        Raises `IllegalMove` when the hold was resolved before.
        """
        if self._settling is not None and not self._settling.done():
            return await asyncio.shield(self._settling)
        self._check(State.SETTLED)
        settling = self._settling = asyncio.get_running_loop().create_future()
        try:
            settled = await self._holds.settle(self.grant, self.ask, cost, result)
            self._move(settled.state)
        except asyncio.CancelledError:
            # It may have been written or not. It is written once more, apart from whoever left; twice has no effect.
            again = asyncio.create_task(self._settle(cost, result))
            again.add_done_callback(partial(_pass_on, settling))
            raise
        except BaseException as error:
            settling.set_exception(error)
            settling.exception()  # seen: it is raised here
            raise
        settling.set_result(settled)
        return settled

    async def release(self) -> None:
        """Give the hold back. Only for requests that were never forwarded; raises `IllegalMove` otherwise."""
        if self._forwarded:
            raise IllegalMove("A hold was to be released whose request may have reached the provider.")
        self._check(State.RELEASED)
        await self.abandon()

    async def abandon(self) -> None:
        """End the hold without knowing what the request cost. Raises `StoreUnavailable`; does nothing to a
        hold that has ended.
        """
        if self.state is not State.HELD:
            return
        if self._abandoning is None or self._abandoning.done():
            self._abandoning = asyncio.create_task(self._abandon())
            self._abandoning.add_done_callback(_noticed)
        await asyncio.shield(self._abandoning)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.state is not State.HELD or self._handed_over:
            return
        task = asyncio.create_task(self._end())
        try:
            await asyncio.shield(task)
        except BaseException:
            # Cancelled while writing. The write is bounded by the store's time-out; the cancellation waits.
            await asyncio.wait([task])
            raise

    async def _end(self) -> None:
        try:
            if self._settling is not None and not self._settling.done():
                await asyncio.wait([self._settling])
            await self.abandon()
        except StoreUnavailable:
            self._registry.resolve_later(self)

    async def _settle(self, cost: int, result: bytes) -> Settled:
        settled = await self._holds.settle(self.grant, self.ask, cost, result)
        self._move(settled.state)
        return settled

    async def _abandon(self) -> None:
        if self._forwarded:
            await self._settle(self.grant.amount, NO_RESULT)
        else:
            await self._holds.release(self.ask.request_id, self.ask.subject.org)
            self._move(State.RELEASED)

    def _check(self, to: State) -> None:
        if to not in MOVES[self.state]:
            raise IllegalMove(f"A hold that was {self.state} was to be {to}.")

    def _move(self, to: State) -> None:
        self._check(to)
        self.state = to
        self.progress = None  # it refers to the whole call, which refers to this
        self._registry.untrack(self)


def _pass_on(settling: asyncio.Future[Settled], again: asyncio.Task[Settled]) -> None:
    if again.cancelled():
        settling.cancel()
    elif (error := again.exception()) is not None:
        settling.set_exception(error)
        settling.exception()  # seen: whoever asks next is told anew
    else:
        settling.set_result(again.result())


def _noticed(task: asyncio.Task[None]) -> None:
    """Whoever asked may be gone; an error is the next asker's to see, not the event loop's to report."""
    if not task.cancelled():
        task.exception()


class Holdings:
    """Takes holds, and has them kept alive."""

    def __init__(self, holds: Holds, registry: Registry) -> None:
        self._holds = holds
        self._registry = registry

    async def take(self, ask: Ask) -> Holding:
        """Hold what ``ask`` asks for. Raises the refusals of `gateway.budgets.model.Holds.hold`."""
        grant = await self._holds.hold(ask)
        holding = Holding(self._holds, self._registry, ask, grant)
        self._registry.track(holding)
        return holding
