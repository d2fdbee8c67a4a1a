"""Prepaid balances as Redis keeps them: projections of the ledger that decide what is admitted. Pure.

A balance is what was granted less what was spent and less the rungs that have passed: what is left in grants that
have expired is gone at that instant, before the ledger has posted it. All amounts in microcredits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Rungs = tuple[tuple[int, int], ...]
"""Pairs of an instant (us) and what is gone from it on, ascending."""


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """What a transaction of the ledger means for the balance. Changes of an organisation form a chain."""

    id: int
    after_id: int
    """The change before it; 0: none."""
    granted: int
    rungs: str
    """As the scripts read them, see `parse_rungs`; they replace those of before."""
    reference: int | None = None
    """After a top-up: the balance just after it."""


@dataclass(frozen=True, slots=True)
class BalanceQuery:
    """What should this balance be? Rows of ``partition`` after ``upto_sequence`` are left out."""

    org: str
    partition: int
    upto_sequence: int
    unread: Sequence[str] = ()
    """Request ids seen in the usage stream just before this question."""
    upto_change: int | None = None
    """Later changes of the ledger are left out of what was granted."""


@dataclass(frozen=True, slots=True)
class BalanceBooks:
    """What the ledger and the rows say of a balance, from one snapshot."""

    granted: int = 0
    """Of all time, less what expired."""
    spent: int = 0
    """By rows that the question did not leave out."""
    change_id: int = 0
    """The latest change of the ledger."""
    rungs: str = ""
    reference: int | None = None
    recorded: frozenset[str] = field(default_factory=frozenset)
    """Those of ``BalanceQuery.unread`` that are rows."""


@dataclass(frozen=True, slots=True)
class BalanceReading:
    """A balance at an instant."""

    org: str
    granted: int
    """Of all time, less what expired."""
    spent: int
    held: int
    """Set aside for calls in flight."""
    next_expiry_us: int | None
    next_expiry: int
    """At most so much is gone at ``next_expiry_us``, unless it is used before."""
    reference: int | None
    """The balance just after the last top-up."""
    change_id: int
    """The latest change of the ledger that this contains."""
    partition: int
    sequence: int
    """The latest settlement of the partition that this contains."""
    expired: int = 0
    """Already gone, but still in ``granted`` until the ledger has posted it."""
    rungs: Rungs = ()
    """Those ahead: what will be gone, unless it is used before."""
    ladder: Rungs = ()
    """All rungs that Redis was told of, those that have passed too."""

    @property
    def left(self) -> int:
        """Negative: more was used than there was."""
        return self.granted - self.expired - self.spent

    @property
    def available(self) -> int:
        """What a new call can be admitted with."""
        return self.left - self.held


def parse_rungs(text: str) -> Rungs:
    pairs = (rung.split(":") for rung in text.split())
    return tuple((int(at), int(microcredits)) for at, microcredits in pairs)


def gone(rungs: Rungs, now_us: int) -> int:
    """What has expired at ``now_us``: at its instant a rung has passed."""
    return sum(microcredits for at_us, microcredits in rungs if now_us >= at_us)


def next_expiry(rungs: Rungs, now_us: int) -> tuple[int | None, int]:
    """When credits expire next, and how many."""
    return next(((at_us, amount) for at_us, amount in rungs if now_us < at_us), (None, 0))
