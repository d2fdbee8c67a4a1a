"""The decision itself, pure: may this request be held, and how much of what it asks?

The scripts in Redis decide by the same rules in Lua; tests compare the two over random histories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.budgets.model import Ask, Limit
from gateway.settings.limits import MICROCREDITS_MAX

MINUTE_US = 60_000_000
HELD_MOST = 2**62
"""What a counter can hold, see hold_1.lua."""


class Shortage(StrEnum):
    """Why there is no room, from the least to the most final."""

    CONTENDED = "contended"
    """Holds of others are in the way; they may give some back."""
    EXHAUSTED = "exhausted"
    """What is settled leaves no room; waiting does not help before the window ends."""
    NEVER = "never"
    """The whole limit is smaller than the least that the request needs."""


_RANK = {Shortage.CONTENDED: 1, Shortage.EXHAUSTED: 2, Shortage.NEVER: 3}


@dataclass(frozen=True, slots=True)
class Standing:
    """One counter as it stands. Microcredits."""

    settled: int = 0
    held: int = 0
    open_holds: int = 0
    grace_start_us: int | None = None


@dataclass(frozen=True, slots=True)
class Cap:
    """What a limit comes to: its amount, the amount while grace runs, and for how long."""

    amount: int
    ceiling: int
    grace_us: int
    enforced: bool

    @classmethod
    def of(cls, limit: Limit) -> Cap:
        if limit.grace is None:
            return cls(limit.amount, limit.amount, 0, limit.enforce)
        ceiling = min(limit.amount + limit.amount * limit.grace.percent // 100, MICROCREDITS_MAX)
        return cls(limit.amount, ceiling, limit.grace.minutes * MINUTE_US, limit.enforce)

    def now(self, standing: Standing, now_us: int) -> int:
        """The amount that counts at this instant."""
        grace = standing.grace_start_us
        return self.ceiling if grace is not None and now_us < grace + self.grace_us else self.amount


@dataclass(frozen=True, slots=True)
class Balance:
    """A prepaid balance. Microcredits."""

    granted: int = 0
    spent: int = 0
    held: int = 0

    @property
    def room(self) -> int:
        return self.granted - self.spent - self.held


@dataclass(frozen=True, slots=True)
class Refusal:
    shortage: Shortage
    index: int | None
    """Which counter; None: the balance."""
    settled: int
    held: int
    cap: int


@dataclass(frozen=True, slots=True)
class Decision:
    amount: int
    remaining: int | None
    grace: tuple[int, ...]
    """Counters that only had room because their grace runs."""
    grace_starts: tuple[int, ...]
    shadow: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Room:
    room: int
    within_grace: bool = False
    grace_starts: bool = False
    refusal: Refusal | None = None


def check_amounts(ask: Ask) -> None:
    """Raises ValueError when an ask contradicts itself or passes what can be counted exactly."""
    if ask.fixed < 0 or not 0 <= ask.least <= ask.most or ask.fixed + ask.most > MICROCREDITS_MAX:
        raise ValueError(f"cannot hold {ask.fixed} + {ask.least}..{ask.most} microcredits")


def check_cost(cost: int) -> None:
    """Raises ValueError when a cost is not one."""
    if not 0 <= cost <= MICROCREDITS_MAX:
        raise ValueError(f"a cost of {cost} microcredits cannot be charged")


def decide(
    fixed: int,
    least: int,
    most: int,
    counters: Sequence[tuple[Cap | None, Standing]],
    balance: Balance | None,
    now_us: int,
) -> Decision | Refusal:
    """Take fixed + something between least and most, or say what is in the way.

    ``counters`` are those that apply, the org's total last; a cap of None counts without limiting.
    """
    # What costs nothing (model lists, token counts) passes a limit that is overdrawn.
    need = fixed + least if fixed + most else -(2**53)
    rooms = [
        (index, cap, standing, _room(index, cap, standing, need, now_us))
        for index, (cap, standing) in enumerate(counters)
        if cap is not None
    ]
    refusals = [found.refusal for _, cap, _, found in rooms if found.refusal is not None and cap.enforced]
    refusals += [
        Refusal(Shortage.CONTENDED, index, standing.settled, standing.held, HELD_MOST)
        for index, (_, standing) in enumerate(counters)
        if standing.held + fixed + most >= HELD_MOST
    ]
    shared = [
        (found.room, standing.open_holds)
        for _, cap, standing, found in rooms
        if cap.enforced and found.refusal is None
    ]
    if balance is not None:
        if balance.room >= need:
            shared.append((balance.room, counters[-1][1].open_holds if counters else 0))
        else:
            shortage = Shortage.EXHAUSTED if balance.granted - balance.spent < need else Shortage.CONTENDED
            refusals.append(Refusal(shortage, None, balance.spent, balance.held, balance.granted))
    if refusals:
        return max(refusals, key=lambda refusal: _RANK[refusal.shortage])
    amount = fixed + min([most, *_shares(fixed, least, most, shared)])
    return Decision(
        amount,
        min((room for room, _ in shared), default=amount) - amount if shared else None,
        tuple(index for index, _, _, found in rooms if found.within_grace),
        tuple(index for index, _, _, found in rooms if found.grace_starts),
        tuple(index for index, cap, _, found in rooms if found.refusal is not None and not cap.enforced),
    )


def _shares(fixed: int, least: int, most: int, rooms: Sequence[tuple[int, int]]) -> Iterator[int]:
    """What each short room leaves when others share it: not everything that one request declares."""
    for room, open_holds in rooms:
        if room < fixed + most:
            yield max(least, room // (open_holds + 1) - fixed)


def _room(index: int, cap: Cap, standing: Standing, need: int, now_us: int) -> _Room:
    """Grace starts at the first admission that what is settled leaves no room for, once in a window."""
    settled, held = standing.settled, standing.held
    current = best = cap.now(standing, now_us)
    starts = False
    if cap.ceiling > cap.amount and standing.grace_start_us is None:
        best = cap.ceiling
        if cap.amount - settled < need and cap.ceiling - settled - held >= need:
            current, starts = cap.ceiling, True
    room = current - settled - held
    if room >= need:
        return _Room(room, within_grace=cap.amount - settled - held < need, grace_starts=starts)
    if cap.ceiling < need:
        shortage, best = Shortage.NEVER, cap.ceiling
    elif best - settled < need:
        shortage = Shortage.EXHAUSTED
    else:
        shortage = Shortage.CONTENDED
    return _Room(room, refusal=Refusal(shortage, index, settled, held, best))


def remaining(
    counters: Sequence[tuple[Cap | None, Standing]], balance: Balance | None, now_us: int
) -> int | None:
    """What the tightest enforced limit or the balance has left; None when nothing limits."""
    rooms = [
        cap.now(standing, now_us) - standing.settled - standing.held
        for cap, standing in counters
        if cap is not None and cap.enforced
    ]
    if balance is not None:
        rooms.append(balance.room)
    return min(rooms, default=None)
