"""A prepaid balance, as forecasts use it up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from gateway.ledger.burning import OpenGrant, burn_order
from gateway.ledger.postgres_reading import GrantStanding

GRANTS_MAX = 1_000
"""Of an organisation, the newest; what is left of others counts as if it never expired."""


@dataclass(frozen=True, slots=True)
class Prepaid:
    left: int
    """As Redis has it, microcredits: the ledger is some seconds behind. Negative when overdrawn."""
    grants: tuple[tuple[datetime | None, int], ...]
    """When each expires (None: never) and what the ledger says is left of it, in the order in which usage takes."""

    @classmethod
    def of(cls, left: int, standings: Iterable[GrantStanding]) -> Prepaid:
        opened = (
            OpenGrant(one.grant_id, one.kind, one.priority, one.expires_at, one.created_at, one.left)
            for one in standings
        )
        return cls(left, tuple((grant.expires_at, grant.left) for grant in sorted(opened, key=burn_order)))
