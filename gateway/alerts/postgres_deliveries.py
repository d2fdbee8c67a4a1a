"""Rows of deliveries: a queue that any number of gateways work at. Down with Postgres; nothing is lost."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from gateway.alerts.delivery import Attempt, Delivery, Outcome
from gateway.alerts.identifiers import new_id
from gateway.alerts.postgres_book import Alert
from gateway.errors import NotFound
from gateway.stores import postgres_audit
from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.alerts", "deliveries.sql")
REPLAYED_MAX = 1000
"""Deliveries repeated by one command: what an endpoint missed in some weeks."""
REASON_CHARS_MAX = 300
KEPT = timedelta(days=90)
"""How long a delivery that ended can be looked at, and replayed."""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery as operators see it."""

    delivery_id: str
    alert_id: str | None
    kind: str | None
    message_id: str
    channel: str
    target: str
    subject: str
    state: str
    created_at: datetime
    due_at: datetime
    attempts: int
    ended_at: datetime | None
    replay_of: str | None
    sequence: int


@dataclass(frozen=True, slots=True)
class AttemptRow:
    attempt: int
    at: datetime
    duration_ms: int
    outcome: str
    status: int | None
    reason: str


class DeliveryTable:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def lease(
        self, channel: str, now: datetime, length: timedelta, *, per_target: int, per_org: int, limit: int
    ) -> list[Delivery]:
        """What is due, as this caller's until ``now + length``: at most so many under way for each target and each
        organisation, whoever took them."""
        token = secrets.token_hex(8)
        rows = await self._postgres.fetch(
            _SQL["lease"], channel, now, now + length, token, per_target, per_org, limit
        )
        alert_ids = sorted({row["alert_id"] for row in rows if row["alert_id"] is not None})
        found = await self._postgres.fetch(_SQL["alerts_of"], alert_ids) if alert_ids else []
        alerts = {row["alert_id"]: Alert(**{**row, "data": orjson.loads(row["data"])}) for row in found}
        return sorted((_delivery(row, alerts, token) for row in rows), key=lambda one: one.sequence)

    async def attempted(
        self,
        delivery: Delivery,
        attempt: Attempt,
        *,
        started: datetime,
        duration_ms: int,
        now: datetime,
        retry_at: datetime | None,
    ) -> None:
        """Write down what came of an attempt, unless the lease was lost. ``retry_at`` None: that was all."""
        async with self._postgres.transaction() as session:
            who = (delivery.delivery_id, delivery.token)
            if attempt.outcome is Outcome.FAILED and retry_at is not None:
                held = await session.fetch_value(_SQL["again"], *who, retry_at)
            else:
                state = "delivered" if attempt.outcome is Outcome.DELIVERED else "failed"
                held = await session.fetch_value(_SQL["end"], *who, state, now)
            if held is None:
                return
            said = Outcome.REFUSED if attempt.outcome is Outcome.GONE else attempt.outcome
            await session.execute(
                _SQL["attempt"], delivery.delivery_id, delivery.attempts, started, duration_ms, said.value,
                attempt.status, attempt.reason[:REASON_CHARS_MAX],
            )  # fmt: skip

    async def cancel(self, session: Session, target: str, now: datetime) -> None:
        """Nothing is to be sent to ``target`` any more."""
        await session.execute(_SQL["cancel_target"], target, now)

    async def forget(self, now: datetime) -> None:
        """Remove what ended long ago."""
        await self._postgres.execute(_SQL["forget"], now - KEPT)

    # ---------------------------------------------------------------- for operators

    async def page(
        self, org: str, *, target: str | None, state: str | None, before: int | None, limit: int
    ) -> list[DeliveryRow]:
        """The newest first, those made before ``before``."""
        rows = await self._postgres.fetch(_SQL["page"], org, target, state, before, limit)
        return [DeliveryRow(**row) for row in rows]

    async def attempts(self, org: str, target: str, delivery_id: str) -> list[AttemptRow]:
        """Raises `NotFound`, also for a delivery to another target: it may be somebody's mail."""
        named = org, target, delivery_id
        rows = await self._postgres.fetch(_SQL["attempts"], *named)
        if not rows and await self._postgres.fetch_value(_SQL["exists"], *named) is None:
            raise NotFound(f"There is no delivery {delivery_id!r} to this endpoint.", param="delivery_id")
        return [AttemptRow(**row) for row in rows]

    async def replay(
        self,
        org: str,
        target: str,
        now: datetime,
        *,
        actor: str,
        delivery_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        state: str | None = None,
    ) -> list[str]:
        """Deliver again, under the same message ids, oldest first; the ids of the new deliveries.

        Raises `NotFound` when one was named that is not there.
        """
        made = []
        async with self._postgres.transaction() as session:
            rows = await session.fetch(
                _SQL["to_replay"], org, target, delivery_id, since, until, state, REPLAYED_MAX
            )
            if delivery_id is not None and not rows:
                raise NotFound(f"There is no delivery {delivery_id!r} to this endpoint.", param="delivery_id")
            for row in rows:
                made.append(new_id("dl", now))
                await session.execute(
                    _SQL["queue"], made[-1], org, row["alert_id"], row["message_id"], row["channel"], target,
                    row["subject"], now, row["delivery_id"],
                )  # fmt: skip
            await postgres_audit.record(
                session, actor=actor, action="webhook.replay", org=org,
                object=f"webhook:{target.removeprefix('endpoint:')}", after={"deliveries": len(made)},
            )  # fmt: skip
        return made

    async def queue_test(self, session: Session, org: str, target: str, now: datetime) -> str:
        """A message that says it is a test; the id of its delivery."""
        delivery_id = new_id("dl", now)
        await session.execute(
            _SQL["queue"], delivery_id, org, None, new_id("msg", now), "webhook", target, "test", now, None
        )
        return delivery_id


def _delivery(row: Row, alerts: dict[str, Alert], token: str) -> Delivery:
    fields = dict(row)
    alert = alerts.get(fields.pop("alert_id"))
    return Delivery(**fields, alert=alert, token=token)
