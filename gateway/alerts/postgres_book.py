"""The book of alerts: what happened, who was told, who read it. Down with Postgres; crossings then wait in Redis.

Recording and planning the deliveries are one transaction: there is no alert without its deliveries, nor one twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from gateway.alerts.identifiers import new_id
from gateway.alerts.kind import AlertKind
from gateway.alerts.notice import Notice, instant
from gateway.alerts.postgres_choices import choices_of
from gateway.errors import NotFound, StoreUnavailable
from gateway.identity.declared import Declared
from gateway.identity.roles import Reach, Role
from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.redis import RedisCalls
from gateway.stores.sql import Queries

log = logging.getLogger("tollgate.alerts")

_SQL = Queries.load("gateway.alerts", "book.sql")
LIVE_CHANNEL = "tg:live:alerts"
TELLING_ROLES = frozenset({Role.OWNER, Role.BILLING})
"""Whom an organisation's news reach if nobody said otherwise."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A row as readers see it."""

    alert_id: str
    org_id: str
    kind: str
    severity: str
    team_id: str | None
    user_id: str | None
    key_id: str | None
    occurred_at: datetime
    recorded_at: datetime
    sent: bool
    data: dict[str, Any]
    read_at: datetime | None = None


class AlertReading:
    """What readers see of the book, within their reach."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def page(
        self,
        org: str,
        reach: Reach,
        reader: str,
        *,
        kind: AlertKind | None = None,
        unread: bool = False,
        after: tuple[datetime, str] | None = None,
        limit: int = 50,
    ) -> list[Alert]:
        """The newest first."""
        at, alert_id = after or (None, "")
        rows = await self._postgres.fetch(
            _SQL["page"], org, reader, *_within(reach), kind, unread, at, alert_id, limit
        )
        return [_alert(row) for row in rows]

    async def unread(self, org: str, reach: Reach, reader: str) -> int:
        """How many that were sent ``reader`` has not read."""
        return int(await self._postgres.fetch_value(_SQL["unread"], org, reader, *_within(reach)))


class AlertBook(AlertReading):
    """``channels``: the ways that this installation has (``email``, ``sms``; webhooks always)."""

    def __init__(
        self,
        postgres: Postgres,
        redis: RedisCalls,
        declared: Callable[[], Declared],
        now: Callable[[], datetime],
        channels: Collection[str],
    ) -> None:
        super().__init__(postgres)
        self._redis = redis
        self._declared = declared
        self._now = now
        self._channels = frozenset(channels)

    async def tell(self, notices: Iterable[Notice]) -> list[Alert]:
        """Record news in a transaction of their own; returns those that were new."""
        async with self._postgres.transaction() as session:
            recorded = await self.record(session, notices)
        await self.announce(recorded)
        return recorded

    async def record(self, session: Session, notices: Iterable[Notice]) -> list[Alert]:
        """Record news with whatever else the caller's transaction does. `announce` them when it is committed."""
        recorded = []
        for notice in notices:
            alert = await self._insert(session, notice)
            if alert is None:
                continue
            recorded.append(alert)
            if notice.sent:
                for channel, target in await self._targets(session, notice):
                    await self._deliver(session, alert, notice.subject, channel, target)
        return recorded

    async def announce(self, alerts: Sequence[Alert]) -> None:
        """Tell those who follow live. They can do without: the book has it."""
        for alert in alerts:
            if not alert.sent:
                continue
            message = {
                "org": alert.org_id, "team": alert.team_id, "user": alert.user_id, "key": alert.key_id,
                "alert": document(alert),
            }  # fmt: skip
            try:
                await self._redis.command("PUBLISH", LIVE_CHANNEL, orjson.dumps(message))
            except StoreUnavailable:
                log.warning("an alert was not told live", extra={"alert": alert.alert_id})

    async def read(self, org: str, reach: Reach, reader: str, alert_id: str) -> None:
        """Mark it read. Raises `NotFound` for what is not there or out of reach."""
        if await self._postgres.fetch_value(_SQL["find"], org, alert_id, *_within(reach)) is None:
            raise NotFound(f"There is no alert {alert_id!r}.", param="id")
        await self._postgres.execute(_SQL["read"], alert_id, reader, self._now())

    # ---------------------------------------------------------------- inside

    async def _insert(self, session: Session, notice: Notice) -> Alert | None:
        now = self._now()
        alert = Alert(
            new_id("al", now), notice.org_id, notice.kind.value, notice.severity.value, notice.team_id,
            notice.user_id, notice.key_id, notice.occurred_at, now, notice.sent, dict(notice.data),
        )  # fmt: skip
        found = await session.fetch_value(
            _SQL["record"], alert.alert_id, alert.org_id, alert.kind, alert.severity, notice.news_key, alert.team_id,
            alert.user_id, alert.key_id, alert.occurred_at, now, alert.sent, orjson.dumps(alert.data).decode(),
        )  # fmt: skip
        return None if found is None else alert

    async def _targets(self, session: Session, notice: Notice) -> list[tuple[str, str]]:
        """(channel, target) of everybody who is to be told."""
        choices = await choices_of(session, notice.org_id)
        kind = notice.kind.value
        told, seeing = await self._by_role(session, notice)
        found = [
            ("webhook", f"endpoint:{row['endpoint_id']}")
            for row in await session.fetch(_SQL["endpoints"], notice.org_id, kind)
        ]
        found += [
            (row["channel"], f"address:{row['address_id']}")
            for row in await session.fetch(_SQL["addresses"], notice.org_id, kind, sorted(seeing))
        ]
        reachable = await session.fetch(_SQL["reachable"], notice.org_id, sorted(told), kind, sorted(seeing))
        for row in reachable:
            for channel, has, default in (
                ("email", row["has_email"], choices.email), ("sms", row["has_phone"], choices.sms)
            ):  # fmt: skip
                said = row[channel]
                if has and (said if said is not None else default and row["by_role"]):
                    found.append((channel, f"user:{row['user_id']}"))
        return [(channel, target) for channel, target in found if channel in {"webhook", *self._channels}]

    async def _by_role(self, session: Session, notice: Notice) -> tuple[set[str], set[str]]:
        """Who is told of it unless they said otherwise, and who may see it. The former are among the latter."""
        staff = await session.fetch(_SQL["staff"], notice.org_id, notice.team_id or "")
        told = {row["user_id"] for row in staff if row["told"]}
        seeing = {row["user_id"] for row in staff}
        if notice.user_id is not None:
            told.add(notice.user_id)
        for user, found in self._declared().org_users(notice.org_id).items():
            standing = found.standing
            if standing.roles & TELLING_ROLES or (notice.team_id and notice.team_id in standing.leads):
                told.add(user)
            if Role.AUDITOR in standing.roles:
                seeing.add(user)
        return told, seeing | told

    async def _deliver(self, session: Session, alert: Alert, subject: str, channel: str, target: str) -> None:
        now = self._now()
        await session.execute(
            _SQL["deliver"], new_id("dl", now), alert.org_id, alert.alert_id, new_id("msg", now), channel,
            target, subject, now,
        )  # fmt: skip


def document(alert: Alert) -> dict[str, Any]:
    """An alert as webhooks and live listeners are told it."""
    return {
        "id": alert.alert_id,
        "kind": alert.kind,
        "severity": alert.severity,
        "org_id": alert.org_id,
        "team_id": alert.team_id,
        "user_id": alert.user_id,
        "key_id": alert.key_id,
        "occurred_at": instant(alert.occurred_at),
        **alert.data,
    }


def _within(reach: Reach) -> tuple[bool, list[str], list[str], list[str]]:
    return reach.whole, sorted(reach.teams or ()), sorted(reach.users or ()), sorted(reach.keys or ())


def _alert(row: Row) -> Alert:
    return Alert(**{**row, "data": orjson.loads(row["data"])})
