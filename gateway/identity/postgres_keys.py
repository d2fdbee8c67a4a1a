"""The table of keys that were created here. When Postgres is down everything raises `PostgresUnavailable`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.errors import NotFound
from gateway.identity.keys import KeyRecord
from gateway.stores import postgres_audit
from gateway.stores.postgres import Postgres, Row
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.identity", "keys.sql")


@dataclass(frozen=True, slots=True)
class ListedKey:
    """One line of a list of keys: enough to recognise a key, nothing to use it with."""

    record: KeyRecord
    name: str
    prefix: str
    digest: str
    created_at: datetime
    revoked_at: datetime | None


class KeyTable:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def find(self, digest: str) -> KeyRecord | None:
        row = await self._postgres.fetch_one(_SQL["find"], digest)
        return None if row is None else _record(row)

    async def list(self, org_id: str | None) -> list[ListedKey]:
        """Oldest first; of one org or of all."""
        return [_listed(row) for row in await self._postgres.fetch(_SQL["list"], org_id)]

    async def insert(
        self, record: KeyRecord, *, name: str, digest: str, prefix: str, actor: str
    ) -> ListedKey:
        """Add a key and say so in the audit log. Raises `DataRefused` if its id or digest is taken."""
        async with self._postgres.transaction() as session:
            row = await session.fetch_one(
                _SQL["insert"],
                record.key_id,
                name,
                record.org_id,
                record.team_id,
                record.user_id,
                digest,
                prefix,
                record.allowed_models,
                record.allowed_operations,
                record.requests_per_minute,
                record.open_calls_max,
                record.trusted_attribution,
                record.expires_at,
            )
            assert row is not None
            after = {"name": name, "org": record.org_id, "team": record.team_id, "user": record.user_id}
            await postgres_audit.record(
                session, actor=actor, action="key.create", object=f"key:{record.key_id}", after=after
            )
        return _listed(row)

    async def revoke(self, key_id: str, *, actor: str) -> ListedKey:
        """Revoke a key and say so in the audit log; again does nothing. Raises `NotFound`."""
        async with self._postgres.transaction() as session:
            found = await session.fetch_one(_SQL["find_by_id"], key_id)
            if found is None:
                raise NotFound(
                    f"There is no key {key_id!r} that was created here; `tollgate keys list` shows them."
                )
            revoked = await session.fetch_one(_SQL["revoke"], key_id)
            if revoked is None:
                return _listed(found)
            await postgres_audit.record(
                session,
                actor=actor,
                action="key.revoke",
                object=f"key:{key_id}",
                before={"revoked": False},
                after={"revoked": True},
            )
        return _listed(revoked)


def _record(row: Row) -> KeyRecord:
    return KeyRecord(
        key_id=row["key_id"],
        org_id=row["org_id"],
        team_id=row["team_id"],
        user_id=row["user_id"],
        source="api",
        allowed_models=None if row["allowed_models"] is None else tuple(row["allowed_models"]),
        allowed_operations=None if row["allowed_operations"] is None else tuple(row["allowed_operations"]),
        requests_per_minute=row["requests_per_minute"],
        open_calls_max=row["open_calls_max"],
        expires_at=row["expires_at"],
        trusted_attribution=row["trusted_attribution"],
        revoked=row["revoked_at"] is not None,
    )


def _listed(row: Row) -> ListedKey:
    return ListedKey(
        record=_record(row),
        name=row["name"],
        prefix=row["prefix"],
        digest=row["digest"],
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
    )
