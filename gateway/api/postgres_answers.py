"""First answers of calls that move credits, kept for `KEPT`.

The ledger itself does nothing twice under one key, whatever is remembered here; this makes the repetition's answer
equal to the first one, and tells a key that was used for something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.errors import IdempotencyConflict
from gateway.stores.postgres import Postgres
from gateway.stores.sql import Queries

KEPT = timedelta(days=30)
_SQL = Queries.load("gateway.api", "answers.sql")


@dataclass(frozen=True, slots=True)
class Asked:
    """What identifies a call that may be repeated. ``digest``: of its parameters and body."""

    caller: str
    operation: str
    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """``document`` is JSON text; None for a reply without a body."""

    status: int
    document: str | None


class Answers:
    """Raises `PostgresUnavailable` when Postgres does not answer."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def find(self, asked: Asked) -> Answer | None:
        """The first answer to the same call. Raises `IdempotencyConflict` when the key was another call's."""
        row = await self._postgres.fetch_one(_SQL["find"], asked.caller, asked.operation, asked.key)
        if row is None:
            return None
        if row["asked"] != asked.digest:
            raise IdempotencyConflict(param="Idempotency-Key")
        return Answer(row["status"], row["answer"])

    async def keep(self, asked: Asked, answer: Answer) -> None:
        """Of two that were under way at once, the first one kept stays."""
        await self._postgres.execute(
            _SQL["keep"],
            asked.caller,
            asked.operation,
            asked.key,
            asked.digest,
            answer.status,
            answer.document,
        )

    async def forget(self, now: datetime) -> None:
        await self._postgres.execute(_SQL["forget"], now - KEPT)
