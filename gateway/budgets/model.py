"""The words of budgets: limits, the windows they run over, and the life of a hold.

All amounts are integer microcredits, all instants integer microseconds since the epoch (`_us`) as Redis tells
them; windows are half-open intervals [start_us, end_us).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from pricing.record import record


class Scope(StrEnum):
    ORG = "org"
    TEAM = "team"
    USER = "user"
    KEY = "key"


class Window(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Grace:
    """How far and how long a limit may be passed, once per window."""

    percent: int
    minutes: int


@dataclass(frozen=True, slots=True)
class Limit:
    """One spending limit. Its identity is (scope, scope_id, window, operation, model, each_end_user); the amount
    may change.
    """

    scope: Scope
    scope_id: str
    window: Window
    amount: int
    """Microcredits."""
    operation: str | None = None
    model: str | None = None
    grace: Grace | None = None
    enforce: bool = True
    """False: shadow mode; what it would have refused is counted, nothing is refused."""
    alerts: tuple[int, ...] | None = None
    """Levels at which people are told, in percent; None: the org's; empty: none."""
    each_end_user: bool = False
    """Not of the scope as a whole but of each end user within it apart, each with counters of their own."""

    @property
    def identity(self) -> tuple[Scope, str, Window, str | None, str | None, str | None]:
        """What makes it this limit, whatever its amount."""
        each = "end user" if self.each_end_user else None
        return self.scope, self.scope_id, self.window, self.operation, self.model, each


class Subject(NamedTuple):
    """Who is spending: the chain of scopes above one key, and for whom the key's holder says that it is.

    A tuple, as plans are looked up by it twice in every request.
    """

    org: str
    team: str | None
    user: str | None
    key: str
    end_user: str | None = None
    """Only from a key whose word for it is taken: whom limits of end users count."""


@record(frozen=True, slots=True)
class Ask:
    """What one request wants held: ``fixed`` in any case, and between ``least`` and ``most`` on top of it."""

    request_id: str
    subject: Subject
    operation: str
    model: str
    fixed: int
    least: int
    most: int
    admission: bytes
    """The JSON of the admission half of the usage event (`gateway.ledger.event.Admission`), so that whoever
    finds the hold orphaned can still write a complete row."""
    requests_per_minute: int | None = None
    open_calls_max: int | None = None


@record(frozen=True, slots=True)
class Grant:
    """A hold that was taken."""

    request_id: str
    amount: int
    """Microcredits held: fixed + something between least and most."""
    started_at_us: int
    """Redis TIME at admission: fixes the windows charged and is part of the row's key."""
    remaining: int | None
    """What the tightest enforced limit or balance has left after this hold; None: nothing limits this
    call.
    """
    grace: tuple[str, ...] = ()
    """Limits that only let this through because their grace runs."""
    shadow: tuple[str, ...] = ()
    """Shadow limits that would have refused this."""


class State(StrEnum):
    """held -> settled | released | reaped; nothing else, ever."""

    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"
    REAPED = "reaped"


class Outcome(StrEnum):
    """What a resolving call found."""

    DONE = "done"
    DUPLICATE = "duplicate"
    """Already resolved before; nothing was changed."""


@record(frozen=True, slots=True)
class Settled:
    outcome: Outcome
    remaining: int | None
    """As in `Grant.remaining`, after the settle; None when nothing limits the call."""
    state: State = State.SETTLED
    """How the hold has ended: a duplicate is an earlier try whose reply was lost, or came after somebody else."""


class Holds(Protocol):
    """The budget store. One behaviour suite runs over every implementation.

    If the store is down every method raises `gateway.errors.StoreUnavailable`. `hold` raises the refusals of
    `gateway.errors` (`BudgetExceeded`, `BalanceExhausted`, `BudgetContended`, `RateLimited`,
    `TooManyOpenCalls`, `RevokedKey`) with a message that names limit, scope, amount and reset time.
    """

    async def hold(self, ask: Ask) -> Grant:
        """Check every limit that applies and take every hold, or none. Idempotent by request id."""

    async def settle(self, grant: Grant, ask: Ask, cost: int, result: bytes) -> Settled:
        """Replace the hold by ``cost`` in every counter and put the usage event on the stream, in one call.

        ``result`` is the JSON of `gateway.ledger.event.Result`. Idempotent: a second settle, or one after the
        reaper, changes nothing and says `DUPLICATE`.
        """

    async def release(self, request_id: str, org: str) -> Outcome:
        """Give a hold back whose request was never forwarded. No usage event, no charge."""

    async def renew(self, holds: Sequence[tuple[str, str]]) -> set[str]:
        """Push the deadlines of (org, request_id) out; returns the ids that no longer exist."""

    async def reap(self, limit: int = 100) -> int:
        """Settle at the held amount what has outlived its deadline; returns how many."""
