"""Writing the ledger of one organisation. When Postgres is down everything here raises `PostgresUnavailable` and
nothing was written.

Whoever posts holds the organisation's lock until the commit, so what is read stays true until then, and ids grow in
the order of commits. What Redis has to know of it is put into the outbox in the same transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from gateway.errors import IdempotencyConflict
from gateway.ledger.burning import GrantKind, OpenGrant
from gateway.ledger.drafts import Account, Draft, Line
from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.sql import Queries

SQL = Queries.load("gateway.ledger", "posting.sql")
RUNGS_MAX = 100
"""How many instants of expiry Redis is told of at once, as scripts read all of them with each hold. Those beyond are
told as the first ones pass."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The sums of an organisation's lines. Microcredits."""

    granted: int = 0
    spent: int = 0
    debt: int = 0
    """What was used beyond all grants: zero or positive."""
    last_transaction_id: int = 0

    @property
    def balance(self) -> int:
        return self.granted - self.spent


class Posting:
    """See `posting`. ``now`` is when everything in it is recorded."""

    def __init__(self, session: Session, org_id: str, now: datetime) -> None:
        self.session = session
        self.org_id = org_id
        self.now = now
        self.topped_up = False
        """Set it when the balance was topped up on purpose: alerts count from here."""
        self._granted = 0
        self._written = False

    async def known(self, idempotency_key: str, payload: Mapping[str, object]) -> int | None:
        """The transaction that this key made before, if it did. Raises `IdempotencyConflict` when it was for
        something else.
        """
        row = await self.session.fetch_one(SQL["by_key"], self.org_id, idempotency_key)
        if row is None:
            return None
        # What was written before a member existed does not have it.
        stored: dict[str, Any] = orjson.loads(row["payload"])
        if any(payload.get(name) != value for name, value in stored.items()):
            raise IdempotencyConflict(param="idempotency_key")
        transaction_id: int = row["id"]
        return transaction_id

    async def standing(self) -> Standing:
        row = await self.session.fetch_one(SQL["standing"], self.org_id)
        if row is None:
            return Standing()
        return Standing(
            row["granted_microcredits"],
            row["spent_microcredits"],
            -row["debt_microcredits"],
            row["last_transaction_id"],
        )

    async def grants(self, since: datetime | None = None) -> dict[str, OpenGrant]:
        """Grants with credits left, and those that expired after ``since`` with some unused."""
        rows = await self.session.fetch(SQL["open_grants"], self.org_id, since)
        return {row["grant_id"]: _open_grant(row) for row in rows}

    async def write(self, draft: Draft) -> int:
        """Returns the transaction's id."""
        transaction_id: int = await self.session.fetch_value(
            SQL["insert_transaction"],
            self.org_id,
            draft.kind.value,
            draft.idempotency_key,
            orjson.dumps(draft.payload).decode(),
            draft.occurred_at,
            self.now,
            draft.actor,
            draft.reason,
            draft.ref,
            draft.credit,
        )
        if draft.grant is not None:
            await self._open(draft.grant, transaction_id)
        await self.session.execute(
            SQL["insert_lines"],
            transaction_id,
            [line.account.value for line in draft.lines],
            [line.grant_id for line in draft.lines],
            [line.amount for line in draft.lines],
        )
        self._granted += draft.granted
        self._written = True
        return transaction_id

    async def _open(self, grant: OpenGrant, transaction_id: int) -> None:
        await self.session.execute(
            SQL["insert_grant"],
            grant.grant_id,
            self.org_id,
            transaction_id,
            grant.kind.value,
            grant.left,
            grant.priority,
            grant.expires_at,
            grant.created_at,
        )

    async def lines(self, transaction_id: int) -> list[Line]:
        rows = await self.session.fetch(SQL["lines_of"], [transaction_id])
        return [line_of(row) for row in rows]

    async def announce(self) -> None:
        """Leave word for Redis, if it has to know of what was written."""
        if self._written:
            await self.session.execute(SQL["announce"], self.org_id, self._granted, self.topped_up, RUNGS_MAX)


@asynccontextmanager
async def posting(postgres: Postgres, org_id: str, now: datetime) -> AsyncIterator[Posting]:
    """One database transaction over the ledger of ``org_id``, alone at it; committed when the block ends."""
    async with postgres.transaction() as session:
        await session.execute(SQL["lock"], org_id)
        opened = Posting(session, org_id, now)
        yield opened
        await opened.announce()


def line_of(row: Row) -> Line:
    return Line(Account(row["account"]), row["amount_microcredits"], row["grant_id"])


def _open_grant(row: Row) -> OpenGrant:
    return OpenGrant(
        grant_id=row["grant_id"],
        kind=GrantKind(row["kind"]),
        priority=row["priority"],
        expires_at=row["expires_at"],
        created_at=row["created_at"],
        left=row["left_microcredits"],
        broken=row["broken_microcredits"],
    )
