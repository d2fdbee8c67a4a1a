"""A message on its way to one target, and what can come of an attempt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from gateway.alerts.postgres_book import Alert


class Outcome(StrEnum):
    DELIVERED = "delivered"
    FAILED = "failed"
    """It is tried again, until the schedule ends."""
    REFUSED = "refused"
    """For good: the address is not taken, or there is nobody any more."""
    GONE = "gone"
    """For good, and nothing else is to be sent there either."""


@dataclass(frozen=True, slots=True)
class Attempt:
    outcome: Outcome
    status: int | None = None
    """Of HTTP or SMTP."""
    reason: str = ""
    """For people; no addresses, no contents."""
    retry_after_s: float | None = None
    """What the receiver asked for."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Leased by this process."""

    delivery_id: str
    sequence: int
    org_id: str
    alert: Alert | None
    """None: a test."""
    message_id: str
    """What the receiver knows the message by, over all attempts and replays."""
    channel: str
    target: str
    subject: str
    created_at: datetime
    attempts: int
    """This one included."""
    token: str


class Channel(Protocol):
    """One way to people. Never raises for what a receiver or a network does: that is an `Attempt`."""

    @property
    def name(self) -> str: ...

    async def send(self, delivery: Delivery) -> Attempt: ...
