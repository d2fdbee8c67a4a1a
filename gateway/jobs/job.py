"""What a job is, and when the recurring ones run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.errors import TollgateError
from gateway.stores.postgres import Session


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to do, once. (kind, org_id, period) names it."""

    kind: str
    org_id: str
    """Empty: of the installation as a whole."""
    period: str
    run_at: datetime


@dataclass(frozen=True, slots=True)
class LeasedJob:
    """A job that this process may do until its lease ends."""

    job: Job
    job_id: int
    token: str
    attempts: int
    """This one included."""


class NotYet(TollgateError):
    """It is too early for this job."""

    code = "not_yet"

    def __init__(self, run_at: datetime) -> None:
        super().__init__()
        self.run_at = run_at


Work = Callable[[Job, Session], Awaitable[None]]
"""Does a job within the transaction that also marks it done: what it writes through the session is written once.
Raises `NotYet` when what it is about is not over; nothing is then written."""


class Schedule(Protocol):
    """Which jobs of a kind are to be done around an instant."""

    async def jobs(self, now: datetime) -> Iterable[Job]:
        """The last that was due for each organisation, and the next. Naming one again does no harm."""


@dataclass(frozen=True, slots=True)
class Trade:
    """A kind of job: who does it, and when it recurs (None: others put its rows there)."""

    kind: str
    work: Work
    schedule: Schedule | None = None
