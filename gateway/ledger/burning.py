"""Which grants pay for what, and when they end: the rules of the credit ledger, pure.

Grants are used in the order priority (low first), expiry (soonest first, never last), promotions before what was
paid for, age, id. A grant pays for usage that began in a minute before its expiry; at its expiry it is dead. Usage
that began before an expiry and is recorded after it takes its part back from what had expired.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

_NEVER = datetime.max.replace(tzinfo=UTC)


class GrantKind(StrEnum):
    PURCHASE = "purchase"
    PROMOTION = "promotion"
    ADJUSTMENT = "adjustment"
    REFUND = "refund"


@dataclass(slots=True)
class OpenGrant:
    """A grant as it stands. Microcredits."""

    grant_id: str
    kind: GrantKind
    priority: int
    expires_at: datetime | None
    created_at: datetime
    left: int
    broken: int = 0
    """What expired unused."""

    def alive(self, at: datetime) -> bool:
        """Half-open: at its expiry a grant is dead."""
        return self.expires_at is None or at < self.expires_at


def burn_order(grant: OpenGrant) -> tuple[int, datetime, bool, datetime, str]:
    return (
        grant.priority,
        grant.expires_at or _NEVER,
        grant.kind is not GrantKind.PROMOTION,
        grant.created_at,
        grant.grant_id,
    )


@dataclass(frozen=True, slots=True)
class Burned:
    """What an amount of usage was paid with. Microcredits by grant id."""

    taken: Mapping[str, int] = field(default_factory=dict)
    taken_back: Mapping[str, int] = field(default_factory=dict)
    """The part of ``taken`` that had expired before this usage was known."""
    owed: int = 0
    """What no grant paid for."""


def burn(grants: Iterable[OpenGrant], usage: Iterable[tuple[datetime, int]]) -> Burned:
    """Pay for ``usage``, pairs of the minute it began in and microcredits. Changes ``grants``."""
    in_order = sorted(grants, key=burn_order)
    taken: dict[str, int] = {}
    taken_back: dict[str, int] = {}
    owed = 0
    for minute, amount in sorted(usage):
        if amount < 0:
            raise ValueError(f"usage of {amount} microcredits")
        for grant in in_order:
            if amount == 0:
                break
            part = min(amount, grant.left + grant.broken) if grant.alive(minute) else 0
            if part == 0:
                continue
            back = max(0, part - grant.left)
            grant.left -= part - back
            grant.broken -= back
            amount -= part
            taken[grant.grant_id] = taken.get(grant.grant_id, 0) + part
            if back:
                taken_back[grant.grant_id] = taken_back.get(grant.grant_id, 0) + back
        owed += amount
    return Burned(taken, taken_back, owed)


def expired(grants: Iterable[OpenGrant], now: datetime) -> list[OpenGrant]:
    """Grants that are dead and still hold credits, in the order of their expiry."""
    return sorted(
        (grant for grant in grants if grant.left > 0 and not grant.alive(now)),
        key=lambda grant: (grant.expires_at or _NEVER, grant.grant_id),
    )


def whole_minute(at: datetime) -> bool:
    return at.second == 0 and at.microsecond == 0


def minute_of(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)
