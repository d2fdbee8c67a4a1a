"""Buying credits: the life of a top-up, what it costs, and the port to whoever takes the money. Pure.

A top-up is a row before anybody is asked for money, and becomes a grant exactly once, when it is confirmed.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Protocol

from gateway.errors import BadRequest, Conflict
from pricing.money import MICROCREDITS_PER_CREDIT, format_credits

PENDING_MAX = 20
"""Per organisation: nobody means to pay more of them at once, and whoever confirms has to look through them."""
PENDING_OF_ONE_MAX = 5
"""Per buyer, so that one of them (or a program with somebody's key) does not use up what all may have."""
CURRENCY = "USD"
MINOR_PER_MAJOR = 100


class TopUpStatus(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    FAILED = "failed"


MOVES: Mapping[TopUpStatus, frozenset[TopUpStatus]] = {
    TopUpStatus.PENDING: frozenset({TopUpStatus.CONFIRMED, TopUpStatus.CANCELLED, TopUpStatus.FAILED}),
    TopUpStatus.CONFIRMED: frozenset(),
    TopUpStatus.CANCELLED: frozenset(),
    TopUpStatus.FAILED: frozenset(),
}
"""Which status may follow which."""


class TopUpMoved(Conflict):
    """This top-up is not pending any more."""

    code = "top_up_not_pending"


def check_move(from_: TopUpStatus, to: TopUpStatus) -> None:
    """Raises `TopUpMoved` for a move that is not in the table."""
    if to not in MOVES[from_]:
        raise TopUpMoved(f"This top-up is {from_.value}; it cannot be {to.value}.")


@dataclass(frozen=True, slots=True)
class TopUp:
    top_up_id: str
    org_id: str
    requested_by: str
    """As in the audit log."""
    requested_by_user: str | None
    amount_microcredits: int
    price_minor: int
    """In the smallest unit of ``currency``."""
    currency: str
    status: TopUpStatus
    provider: str
    reference: str | None
    url: str | None
    instructions: str
    created_at: datetime
    changed_at: datetime
    changed_by: str
    reason: str
    grant_id: str | None

    @property
    def price(self) -> str:
        """As people write it: ``12.50 USD``."""
        whole, rest = divmod(self.price_minor, MINOR_PER_MAJOR)
        return f"{whole}.{rest:02d} {self.currency}"


@dataclass(frozen=True, slots=True)
class Begun:
    """What the buyer has to do now."""

    reference: str
    """What the provider calls it."""
    url: str | None
    """Where to pay; None: there is no page."""
    instructions: str


class PaymentProvider(Protocol):
    """Takes the money. Raises `gateway.errors.TollgateError` when it cannot."""

    @property
    def name(self) -> str: ...

    async def begin(self, top_up: TopUp) -> Begun:
        """Called again for the same top-up it answers the same."""


class ManualPayments:
    """The money comes some other way, and an administrator confirms that it came."""

    name = "manual"

    async def begin(self, top_up: TopUp) -> Begun:
        reference = top_up.top_up_id.removeprefix("topup-").upper()
        return Begun(
            reference,
            None,
            f"Pay {top_up.price} and name the reference {reference}. "
            "The credits are added when an administrator confirms the payment.",
        )


@dataclass(frozen=True, slots=True)
class TopUpBounds:
    """What may be bought at once. Microcredits."""

    least: int = MICROCREDITS_PER_CREDIT
    most: int = 10_000_000 * MICROCREDITS_PER_CREDIT

    def check(self, amount: int) -> None:
        """Raises `BadRequest`."""
        if not self.least <= amount <= self.most:
            raise BadRequest(
                f"credits: buy between {format_credits(self.least)} and {format_credits(self.most)} at once",
                param="credits",
            )


def price_minor(amount_microcredits: int, credit_usd: Decimal) -> int:
    """What credits cost in cents, rounded up."""
    exact = Fraction(amount_microcredits, MICROCREDITS_PER_CREDIT) * Fraction(credit_usd) * MINOR_PER_MAJOR
    return -(-exact.numerator // exact.denominator)


def new_top_up_id() -> str:
    return f"topup-{secrets.token_hex(6)}"
