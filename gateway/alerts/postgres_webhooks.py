"""Webhook endpoints and their secrets. Down with Postgres; changes are audited where they are made.

A secret is shown once, when it is made; what is stored is sealed and bound to its row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from gateway.alerts.guard import check_url
from gateway.alerts.identifiers import new_id
from gateway.alerts.postgres_deliveries import DeliveryTable
from gateway.alerts.signing import new_secret
from gateway.errors import Conflict, NotFound
from gateway.identity.vault import Vault, place
from gateway.stores import postgres_audit
from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.alerts", "webhooks.sql")
ENDPOINTS_MAX = 20
"""Of one organisation: each gets a copy of every message."""
SECRETS_MAX = 3
"""That sign at once; a signature takes microseconds, but the header must stay short."""
ROTATION = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Endpoint:
    endpoint_id: str
    org_id: str
    url: str
    description: str
    kinds: tuple[str, ...] | None
    """Of alerts that are sent to it; None: all."""
    disabled_reason: str | None
    created_at: datetime
    changed_at: datetime

    @property
    def target(self) -> str:
        return f"endpoint:{self.endpoint_id}"


class WebhookReading:
    """What is known of endpoints, their secrets apart."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def page(self, org: str, after: str | None, limit: int) -> list[Endpoint]:
        return [_endpoint(row) for row in await self._postgres.fetch(_SQL["page"], org, after, limit)]

    async def get(self, org: str, endpoint_id: str, session: Session | None = None) -> Endpoint:
        """Raises `NotFound`."""
        row = await (session or self._postgres).fetch_one(_SQL["find"], org, endpoint_id)
        if row is None:
            raise NotFound(f"There is no webhook {endpoint_id!r}.", param="id")
        return _endpoint(row)


class WebhookTable(WebhookReading):
    def __init__(
        self, postgres: Postgres, vault: Vault, now: Callable[[], datetime], *, allow_private: bool = False
    ) -> None:
        super().__init__(postgres)
        self._vault = vault
        self._now = now
        self._allow_private = allow_private
        self._deliveries = DeliveryTable(postgres)

    async def add(
        self, org: str, url: str, description: str, kinds: tuple[str, ...] | None, *, actor: str
    ) -> tuple[Endpoint, str]:
        """The endpoint and its secret. Raises `BadRequest`, `Conflict`, `EncryptionNotConfigured`."""
        now = self._now()
        checked = check_url(url, allow_private=self._allow_private)
        made = Endpoint(new_id("we", now), org, checked, description, kinds, None, now, now)
        async with self._postgres.transaction() as session:
            if await session.fetch_value(_SQL["count"], org) >= ENDPOINTS_MAX:
                raise Conflict(f"An organisation has at most {ENDPOINTS_MAX} webhooks; remove one first.")
            listed = None if kinds is None else list(kinds)
            await session.execute(_SQL["insert"], made.endpoint_id, org, url, description, listed, now, actor)
            secret = await self._add_secret(session, made.endpoint_id)
            await _audit(session, actor, "webhook.add", made, None, _said(made))
        return made, secret

    async def change(self, org: str, endpoint_id: str, changes: dict[str, Any], *, actor: str) -> Endpoint:
        """``changes``: url, description, kinds, active. Raises `NotFound`, `BadRequest`."""
        wanted = dict(changes)
        if "active" in wanted:
            wanted["disabled_reason"] = None if wanted.pop("active") else "disabled by its owner"
        if "url" in wanted:
            check_url(wanted["url"], allow_private=self._allow_private)
        async with self._postgres.transaction() as session:
            before = await self.get(org, endpoint_id, session)
            after = replace(before, **wanted, changed_at=self._now())
            listed = None if after.kinds is None else list(after.kinds)
            await session.execute(
                _SQL["change"], org, endpoint_id, after.url, after.description, listed, after.disabled_reason,
                after.changed_at,
            )  # fmt: skip
            if after.disabled_reason is not None:
                await self._deliveries.cancel(session, after.target, self._now())
            await _audit(session, actor, "webhook.change", after, _said(before), _said(after))
        return after

    async def remove(self, org: str, endpoint_id: str, *, actor: str) -> None:
        """Raises `NotFound`. What was delivered to it stays on record."""
        async with self._postgres.transaction() as session:
            before = await self.get(org, endpoint_id, session)
            await session.execute(_SQL["remove"], org, endpoint_id)
            await self._deliveries.cancel(session, before.target, self._now())
            await _audit(session, actor, "webhook.remove", before, _said(before), None)

    async def rotate(
        self, org: str, endpoint_id: str, *, actor: str, overlap: timedelta = ROTATION
    ) -> tuple[str, datetime]:
        """A new secret, and until when the former ones sign as well. Raises `NotFound`, `Conflict`."""
        ends = self._now() + overlap
        async with self._postgres.transaction() as session:
            endpoint = await self.get(org, endpoint_id, session)
            if len(await session.fetch(_SQL["secrets"], endpoint_id, self._now())) >= SECRETS_MAX:
                raise Conflict(f"{SECRETS_MAX} secrets of this webhook sign already; wait until one ends.")
            await session.execute(_SQL["expire_secrets"], endpoint_id, ends)
            secret = await self._add_secret(session, endpoint_id)
            await _audit(session, actor, "webhook.rotate", endpoint, None, {"former_until": ends.isoformat()})
        return secret, ends

    async def ping(self, org: str, endpoint_id: str, *, actor: str) -> str:
        """Queue a test message; the id of its delivery. Raises `NotFound`, `Conflict`."""
        async with self._postgres.transaction() as session:
            endpoint = await self.get(org, endpoint_id, session)
            if endpoint.disabled_reason is not None:
                raise Conflict(f"This webhook is not in use: {endpoint.disabled_reason}.")
            delivery_id = await self._deliveries.queue_test(session, org, endpoint.target, self._now())
            await _audit(session, actor, "webhook.test", endpoint, None, {"delivery_id": delivery_id})
        return delivery_id

    async def sendable(self, endpoint_id: str) -> tuple[str, list[str]] | None:
        """The URL and the secrets that sign now, newest first; None: nothing is to be sent there."""
        url = await self._postgres.fetch_value(_SQL["sendable"], endpoint_id)
        if url is None:
            return None
        rows = await self._postgres.fetch(_SQL["secrets"], endpoint_id, self._now())
        return url, [self._vault.open(row["secret_sealed"], _place(row["secret_id"])) for row in rows]

    async def disable(self, endpoint_id: str, reason: str) -> None:
        """Its receiver said that it is gone."""
        now = self._now()
        async with self._postgres.transaction() as session:
            org = await session.fetch_value(_SQL["disable"], endpoint_id, reason, now)
            if org is not None:
                endpoint = await self.get(org, endpoint_id, session)
                await self._deliveries.cancel(session, endpoint.target, now)
                await _audit(session, "tollgate", "webhook.disable", endpoint, None, {"reason": reason})

    async def forget(self, now: datetime) -> None:
        """Remove secrets that sign nothing any more."""
        await self._postgres.execute(_SQL["forget_secrets"], now)

    async def _add_secret(self, session: Session, endpoint_id: str) -> str:
        now, secret = self._now(), new_secret()
        secret_id = new_id("ws", now)
        sealed = self._vault.seal(secret, _place(secret_id))
        await session.execute(_SQL["add_secret"], secret_id, endpoint_id, sealed, now)
        return secret


def _place(secret_id: str) -> str:
    return place("webhook_secrets", "secret_sealed", secret_id)


def _endpoint(row: Row) -> Endpoint:
    return Endpoint(**{**row, "kinds": None if row["kinds"] is None else tuple(row["kinds"])})


def _said(endpoint: Endpoint) -> dict[str, Any]:
    """For the audit log: of the URL its host only, as paths and queries may hold tokens."""
    return {
        "host": urlsplit(endpoint.url).netloc,
        "kinds": None if endpoint.kinds is None else list(endpoint.kinds),
        "disabled_reason": endpoint.disabled_reason,
    }


async def _audit(
    session: Session,
    actor: str,
    action: str,
    endpoint: Endpoint,
    before: Mapping[str, object] | None,
    after: Mapping[str, object] | None,
) -> None:
    await postgres_audit.record(
        session,
        actor=actor,
        action=action,
        object=f"webhook:{endpoint.endpoint_id}",
        org=endpoint.org_id,
        before=before,
        after=after,
    )
