"""Credits added to prepaid balances: a row for each, projected into Redis exactly once.

The row comes first. If the gateway dies, or Redis is down, before the balance shows it, the same call again
(or `project`, at every start) adds it: Redis knows a grant by its id and takes it once.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import orjson

from gateway.errors import BadRequest
from gateway.stores.postgres import Postgres, Row
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.ledger", "grants.sql")


class Balances(Protocol):
    """See `gateway.budgets.redis_holds.RedisHolds.grant_credits`."""

    async def grant_credits(self, org: str, grant_id: str, amount: int) -> bool: ...


class IdempotencyConflict(BadRequest):
    """This idempotency key was used before, for another grant."""

    status = 409
    code = "idempotency_conflict"


@dataclass(frozen=True, slots=True)
class CreditGrant:
    grant_id: str
    org_id: str
    amount_microcredits: int
    """Negative: a correction."""
    reason: str
    granted_by: str
    granted_at: datetime


class CreditGrants:
    def __init__(self, postgres: Postgres, balances: Balances) -> None:
        self._postgres = postgres
        self._balances = balances

    async def grant(
        self, org_id: str, amount_microcredits: int, *, idempotency_key: str, reason: str, actor: str
    ) -> CreditGrant:
        """Add credits. The same key and amount again answer with the first grant; nothing is added twice.

        Raises `IdempotencyConflict` for the same key with another amount, `StoreUnavailable` if a store is
        down: call again with the same key.
        """
        if amount_microcredits == 0:
            raise BadRequest("amount: must not be zero", param="amount")
        async with self._postgres.transaction() as session:
            row = await session.fetch_one(
                _SQL["insert"],
                f"grant-{secrets.token_hex(8)}",
                org_id,
                idempotency_key,
                amount_microcredits,
                reason,
                actor,
            )
            if row is not None:
                after = {"org": org_id, "microcredits": amount_microcredits, "reason": reason}
                await session.execute(
                    _SQL["audit"], actor, "credits.grant", f"org:{org_id}", orjson.dumps(after).decode()
                )
            else:
                row = await session.fetch_one(_SQL["find"], org_id, idempotency_key)
        assert row is not None
        if row["amount_microcredits"] != amount_microcredits:
            raise IdempotencyConflict(param="idempotency_key")
        grant = _grant(row)
        await self._balances.grant_credits(grant.org_id, grant.grant_id, grant.amount_microcredits)
        return grant

    async def project(self, org_id: str | None = None) -> int:
        """Show every grant in the balances, of one org or of all; returns how many were missing there."""
        missing = 0
        for grant in await self.list(org_id):
            missing += await self._balances.grant_credits(
                grant.org_id, grant.grant_id, grant.amount_microcredits
            )
        return missing

    async def list(self, org_id: str | None = None) -> list[CreditGrant]:
        """Oldest first."""
        return [_grant(row) for row in await self._postgres.fetch(_SQL["of_org"], org_id)]


def _grant(row: Row) -> CreditGrant:
    return CreditGrant(
        grant_id=row["grant_id"],
        org_id=row["org_id"],
        amount_microcredits=row["amount_microcredits"],
        reason=row["reason"],
        granted_by=row["granted_by"],
        granted_at=row["granted_at"],
    )
