"""Transactions of the ledger before they are written: the lines of each kind, pure. Every draft sums to zero.

kind              from                  to
purchase          cash_clearing         customer_credit of a new grant
promotion         promo_expense         customer_credit of a new grant
adjustment        adjustments           customer_credit of a new grant; negative: the other way round
refund            refunds               customer_credit of the grants that had paid for the usage
                  customer_credit       cash_clearing, when what was bought is given back
usage             customer_credit       usage_revenue
postpaid_usage    receivable            usage_revenue
expiry            customer_credit       breakage
expiry_reversal   breakage              customer_credit
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gateway.ledger.burning import Burned, GrantKind, OpenGrant


class Account(StrEnum):
    CUSTOMER_CREDIT = "customer_credit"
    RECEIVABLE = "receivable"
    USAGE_REVENUE = "usage_revenue"
    CASH_CLEARING = "cash_clearing"
    PROMO_EXPENSE = "promo_expense"
    BREAKAGE = "breakage"
    REFUNDS = "refunds"
    ADJUSTMENTS = "adjustments"


class Kind(StrEnum):
    """Of a transaction."""

    PURCHASE = "purchase"
    PROMOTION = "promotion"
    ADJUSTMENT = "adjustment"
    REFUND = "refund"
    USAGE = "usage"
    POSTPAID_USAGE = "postpaid_usage"
    EXPIRY = "expiry"
    EXPIRY_REVERSAL = "expiry_reversal"


FUNDED_BY: Mapping[GrantKind, Account] = {
    GrantKind.PURCHASE: Account.CASH_CLEARING,
    GrantKind.PROMOTION: Account.PROMO_EXPENSE,
    GrantKind.ADJUSTMENT: Account.ADJUSTMENTS,
    GrantKind.REFUND: Account.REFUNDS,
}
"""Where the credits of a grant come from."""


@dataclass(frozen=True, slots=True)
class Line:
    account: Account
    amount: int
    """Microcredits; positive: the account is given them."""
    grant_id: str | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """One transaction to be written. Raises ValueError when it does not sum to zero."""

    kind: Kind
    idempotency_key: str
    occurred_at: datetime
    actor: str
    reason: str
    lines: tuple[Line, ...]
    ref: str | None = None
    payload: Mapping[str, object] = field(default_factory=dict)
    """What the key stands for; the same key with another payload is refused."""
    grant: OpenGrant | None = None
    """The grant that comes into being with it."""

    def __post_init__(self) -> None:
        if len(self.lines) < 2 or sum(line.amount for line in self.lines) != 0:
            raise ValueError(f"lines that do not sum to zero: {self.lines}")

    @property
    def credit(self) -> int:
        """By how much it changes the balance."""
        return sum(line.amount for line in self.lines if line.account is Account.CUSTOMER_CREDIT)

    @property
    def granted(self) -> int:
        """By how much it changes what Redis calls granted: usage is counted there by itself."""
        return 0 if self.kind is Kind.USAGE else self.credit


def credit_lines(amounts: Mapping[str, int], without_grant: int = 0) -> list[Line]:
    """Lines of customer_credit, one for each grant, and one for what no grant has."""
    lines = [
        Line(Account.CUSTOMER_CREDIT, amount, grant_id) for grant_id, amount in amounts.items() if amount
    ]
    if without_grant:
        lines.append(Line(Account.CUSTOMER_CREDIT, without_grant))
    return lines


def granted_lines(grant: OpenGrant, amount: int, debt: int) -> tuple[Line, ...]:
    """A new grant of ``amount``, which first pays ``debt`` (zero or positive) as far as it goes."""
    paid = min(debt, amount)
    return (
        Line(FUNDED_BY[grant.kind], -amount),
        *credit_lines({grant.grant_id: amount - paid}, paid),
    )


def used_lines(burned: Burned, against: Account) -> tuple[Line, ...]:
    """Credits go from grants (and into debt) to ``against``."""
    total = sum(burned.taken.values()) + burned.owed
    given = {grant_id: -amount for grant_id, amount in burned.taken.items()}
    return (*credit_lines(given, -burned.owed), Line(against, total))


def taken_back_lines(grant_id: str, amount: int) -> tuple[Line, ...]:
    return Line(Account.BREAKAGE, -amount, grant_id), Line(Account.CUSTOMER_CREDIT, amount, grant_id)


def expiry_lines(grant_id: str, amount: int) -> tuple[Line, ...]:
    return Line(Account.CUSTOMER_CREDIT, -amount, grant_id), Line(Account.BREAKAGE, amount, grant_id)


@dataclass(frozen=True, slots=True)
class Reversal:
    """How credits that paid for usage go back."""

    returned: Mapping[str, int]
    """By grant: where they had come from."""
    debt: int
    """What takes away from a debt that is still there."""
    rest: int
    """What had been owed and was paid by a later grant meanwhile: becomes a grant of its own."""


def reverse(original: Iterable[Line], refunded: Mapping[str | None, int], amount: int, debt: int) -> Reversal:
    """Give ``amount`` of a usage transaction back along its own lines, the last to pay first.

    ``refunded``: what earlier refunds gave back of each grant's line (None: of what was owed). ``debt``: what the
    organisation owes now (zero or positive). Raises ValueError when that much was not charged.
    """
    returned: dict[str, int] = {}
    owed = 0
    wanted = amount
    for line in reversed([line for line in original if line.account is Account.CUSTOMER_CREDIT]):
        part = min(wanted, -line.amount - refunded.get(line.grant_id, 0))
        if part <= 0:
            continue
        wanted -= part
        if line.grant_id is None:
            owed += part
        else:
            returned[line.grant_id] = part
    if wanted:
        raise ValueError(f"{amount} microcredits of a transaction that only has {amount - wanted} left")
    off_debt = min(owed, debt)
    return Reversal(returned, off_debt, owed - off_debt)
