"""Credits to be given, checked before anything is written. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.errors import BadRequest
from gateway.ledger.burning import GrantKind, whole_minute
from pricing.money import AMOUNT_MAX_MICROCREDITS, format_credits

PRIORITY_DEFAULT = 100
PRIORITY_MAX = 1000
REASON_CHARS_MAX = 500
KEY_CHARS_MAX = 255


NOT_PREPAID_NOTE = (
    "This organisation is not prepaid: its calls use no credits and are paid afterwards, so these stay as they are "
    "until `balance: {required: true}` is declared for it."
)
"""Said wherever such an organisation is given credits: they may be meant for when it is, so nothing is refused."""


@dataclass(frozen=True, slots=True)
class NewGrant:
    """What somebody wants to give. Microcredits."""

    org_id: str
    kind: GrantKind
    amount: int
    reason: str
    actor: str
    idempotency_key: str
    priority: int = PRIORITY_DEFAULT
    """Lower ones are used first."""
    expires_at: datetime | None = None
    """Aware, a whole minute: usage is posted by the minute in which it began."""
    ref: str | None = None
    """What it is for: a top-up."""

    @property
    def payload(self) -> dict[str, object]:
        """What the idempotency key stands for."""
        return {
            "kind": self.kind.value,
            "amount_microcredits": self.amount,
            "priority": self.priority,
            "expires_at": None if self.expires_at is None else self.expires_at.isoformat(),
            "reason": self.reason,
        }

    def check(self, now: datetime) -> None:
        """Raises `BadRequest` for what cannot be given."""
        if self.amount <= 0:
            raise BadRequest("credits: must be more than zero; to take credits away, adjust", param="credits")
        check_amount(self.amount)
        check_reason(self.reason)
        if not 0 <= self.priority <= PRIORITY_MAX:
            raise BadRequest(f"priority: must be 0 to {PRIORITY_MAX}", param="priority")
        check_expiry(self.expires_at, now)


def check_amount(amount: int) -> None:
    """Raises `BadRequest` for an amount that cannot be counted exactly."""
    if abs(amount) > AMOUNT_MAX_MICROCREDITS:
        most = format_credits(AMOUNT_MAX_MICROCREDITS)
        raise BadRequest(f"credits: must be at most {most}", param="credits")


def check_reason(reason: str) -> None:
    """Raises `BadRequest` for a reason that says nothing or cannot be stored."""
    if not reason.strip() or len(reason) > REASON_CHARS_MAX or "\0" in reason:
        raise BadRequest(f"reason: say why, in at most {REASON_CHARS_MAX} characters", param="reason")


def check_expiry(expires_at: datetime | None, now: datetime) -> None:
    """Raises `BadRequest` unless it is a whole minute to come, or never."""
    if expires_at is None:
        return
    if not whole_minute(expires_at):
        raise BadRequest(
            "expires_at: must be a whole minute, without seconds, e.g. 2027-01-01T00:00:00Z",
            param="expires_at",
        )
    if expires_at <= now:
        raise BadRequest("expires_at: must be in the future", param="expires_at")
