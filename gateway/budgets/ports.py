"""What budgets ask of the ledger, and what they show to reconcile.

The ledger implements `Ledger` over Postgres without importing this package's adapters: the protocol is
structural.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.budgets.balances import BalanceBooks, BalanceQuery
from gateway.budgets.model import Scope, Window


@dataclass(frozen=True, slots=True)
class SpentQuery:
    """What was charged to one counter, by rows whose ``started_at`` lies in [start_us, end_us).

    ``scope`` and ``scope_id`` select rows by org_id, team_id, user_id or key_id (always within ``org``).
    ``operation`` None means all; ``model`` None means all, and may hold ``*`` wildcards (any run of
    characters, see `gateway.budgets.selection.model_matches`). ``end_us`` None means without end. Both edges
    fall on quarter hours, as rollups do.
    """

    org: str
    scope: Scope
    scope_id: str
    operation: str | None
    model: str | None
    start_us: int
    end_us: int | None
    partition: int
    upto_sequence: int
    """Rows of this partition with a greater sequence number are left out: Redis has counted them already.
    Sequence numbers only grow, also over a Redis that lost its data (they start at its clock)."""
    unread: Sequence[str] = ()
    """Request ids seen in the usage stream just before this question."""
    end_user: str | None = None
    """None means all; otherwise rows that count towards the limits of this end user."""


@dataclass(frozen=True, slots=True)
class Spent:
    microcredits: int
    """The sum over committed rows."""
    recorded: frozenset[str] = field(default_factory=frozenset)
    """Those of ``SpentQuery.unread`` that are committed, in the same snapshot as the sum."""


class Ledger(Protocol):
    async def spent(self, query: SpentQuery) -> Spent:
        """Answer from one snapshot. Raises `gateway.errors.StoreUnavailable` when Postgres does not
        answer.
        """

    async def balance(self, query: BalanceQuery) -> BalanceBooks:
        """Answer from one snapshot. Raises `gateway.errors.StoreUnavailable` when Postgres does not
        answer.
        """


class EmptyLedger:
    """A ledger that never saw a row: for installations and tests that start from nothing."""

    async def spent(self, query: SpentQuery) -> Spent:
        return Spent(0)

    async def balance(self, query: BalanceQuery) -> BalanceBooks:
        return BalanceBooks()


@dataclass(frozen=True, slots=True)
class CounterReading:
    """One counter as it stands in Redis. Amounts in microcredits.

    Its identity is (org, scope, scope_id, operation, model, window, start_us, end_user).
    """

    org: str
    scope: Scope
    scope_id: str
    operation: str | None
    model: str | None
    window: Window
    start_us: int
    end_us: int | None
    """None: no end (total)."""
    settled: int
    held: int
    open_holds: int
    grace_start_us: int | None
    unseeded: bool
    """A base from the ledger is still to be added."""
    partition: int
    sequence: int
    """The partition's sequence when this was read: rows up to it are what ``settled`` should equal."""
    end_user: str | None = None
