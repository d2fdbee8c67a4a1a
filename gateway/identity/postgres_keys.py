"""The table of keys that were created here. When Postgres is down everything raises `PostgresUnavailable`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.errors import Conflict, NotFound
from gateway.identity import postgres_people
from gateway.identity.keys import KeyRecord
from gateway.identity.roles import Reach
from gateway.stores import postgres_audit
from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.identity", "keys.sql")
ALL = Reach(None)
FORMER_MAX = 5
"""Former secrets of one key that still work. Each of them has to be stopped when the key is revoked; two are enough for
whoever replaces a secret in one place after the other.
"""


@dataclass(frozen=True, slots=True)
class FormerSecret:
    """What a key was before it was rotated, and until when that stands for it."""

    prefix: str
    digest: str
    valid_until: datetime


@dataclass(frozen=True, slots=True)
class ListedKey:
    """One line of a list of keys: enough to recognise a key, nothing to use it with."""

    record: KeyRecord
    name: str
    prefix: str
    digest: str
    created_at: datetime
    created_by: str | None
    rotated_at: datetime | None
    revoked_at: datetime | None
    former: tuple[FormerSecret, ...] = ()

    def records(self) -> dict[str, KeyRecord]:
        """By digest: what each of its secrets stands for, those first that work longest."""
        until = {one.digest: _until(self.record, one.valid_until) for one in reversed(self.former)}
        return {self.digest: self.record, **until}


class KeyTable:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def find(self, digest: str) -> KeyRecord | None:
        row = await self._postgres.fetch_one(_SQL["find"], digest)
        return None if row is None else _until(_record(row), row["valid_until"])

    async def list(
        self,
        reach: Reach = ALL,
        *,
        user: str | None = None,
        after: tuple[datetime, str] | None = None,
        limit: int | None = None,
    ) -> list[ListedKey]:
        """Oldest first: what is within ``reach``, of one user or of all, after (created_at, key id)."""
        async with self._postgres.session() as session:
            return await _listed(session, reach, user=user, after=after, limit=limit)

    async def get(self, key_id: str, reach: Reach = ALL) -> ListedKey:
        """Raises `NotFound`, also for what is out of reach."""
        async with self._postgres.session() as session:
            return await _one(session, key_id, reach)

    async def insert(
        self, record: KeyRecord, *, name: str, digest: str, prefix: str, actor: str, of_member: bool = False
    ) -> ListedKey:
        """Add a key and say so in the audit log. ``of_member``: its user is in its team.

        Raises `Conflict` if its user is being erased, or is a member no more; `DataRefused` if its id or digest is
        taken.
        """
        async with self._postgres.transaction() as session:
            await _check_user(session, record, of_member)
            await session.execute(
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
                record.access,
                actor,
            )
            after = {"team": record.team_id, "user": record.user_id, "access": record.access}
            await _audit(session, actor, "key.create", record, after=after)
            return await _one(session, record.key_id)

    async def rotate(
        self, key_id: str, *, digest: str, prefix: str, old_until: datetime, now: datetime, actor: str
    ) -> ListedKey:
        """Give a key another secret; the one that it had stands for it until ``old_until``.

        Raises `NotFound`, or `Conflict` for a key that is revoked or has `FORMER_MAX` secrets that would still work.
        """
        async with self._postgres.transaction() as session:
            (row,) = await _locked(session, [key_id])
            if row["revoked_at"] is not None:
                raise Conflict(f"{key_id} is revoked; create another key.")
            await session.execute(_SQL["drop_former"], key_id, now)
            await session.execute(_SQL["shorten_former"], key_id, old_until)
            await _check_former(session, key_id, old_until, now)
            await session.execute(_SQL["keep_former"], key_id, old_until)
            await session.execute(_SQL["rotate"], key_id, digest, prefix, now)
            listed = await _one(session, key_id)
            after = {"prefix": prefix, "old_valid_until": old_until}
            await _audit(session, actor, "key.rotate", listed.record, {"prefix": row["prefix"]}, after)
        return listed

    async def revoke(self, key_id: str, *, actor: str) -> ListedKey:
        """Revoke a key and say so in the audit log; again does nothing. Raises `NotFound`."""
        async with self._postgres.transaction() as session:
            return (await revoke_keys(session, [key_id], actor))[0]


async def _check_former(session: Session, key_id: str, old_until: datetime, now: datetime) -> None:
    """Raises `Conflict` if another one that works until ``old_until`` would be too many."""
    live = await session.fetch_value(_SQL["live_former"], key_id, now)
    if old_until > now and live >= FORMER_MAX:
        raise Conflict(
            f"{key_id} has {live} former secrets that still work. Wait until one of them has ended, or rotate without "
            "old_valid_until, which stops them all.",
            param="old_valid_until",
        )


async def _check_user(session: Session, record: KeyRecord, of_member: bool) -> None:
    """Raises `Conflict`. Nobody begins to erase the key's user, or takes them out of a team, until the transaction
    ends: whoever does so afterwards finds the key."""
    org, user = record.org_id, record.user_id
    if user is None:
        return
    await postgres_people.lock(session, org)
    if await postgres_people.being_erased(session, org, user):
        raise Conflict(f"{user} is being erased.", param="user")
    if of_member and not await postgres_people.in_team(session, org, user, record.team_id):
        raise Conflict(f"{user} has just left the team {record.team_id}.", param="team")


async def revoke_keys(session: Session, key_ids: Iterable[str], actor: str) -> list[ListedKey]:
    """As `KeyTable.revoke`, in a transaction of the caller's."""
    ids = list(key_ids)
    unrevoked = {row["key_id"] for row in await _locked(session, ids) if row["revoked_at"] is None}
    await session.execute(_SQL["revoke"], ids)
    found = await _listed(session, Reach(None, keys=frozenset(ids)))
    # Last, for all of them: who writes the log may have to wait for others, and must not keep them waiting for a key.
    for listed in found:
        if listed.record.key_id in unrevoked:
            await _audit(session, actor, "key.revoke", listed.record, {"revoked": False}, {"revoked": True})
    return found


async def _locked(session: Session, key_ids: list[str]) -> list[Row]:
    """Their rows, which nobody else changes until the transaction ends. Raises `NotFound`."""
    rows = await session.fetch(_SQL["lock"], key_ids)
    if missing := set(key_ids) - {row["key_id"] for row in rows}:
        raise _no_such_key(min(missing))
    return rows


async def keys_of(session: Session, org: str, user: str) -> list[ListedKey]:
    """All keys of one user, revoked ones too."""
    return await _listed(session, Reach(org), user=user)


async def _audit(
    session: Session,
    actor: str,
    action: str,
    record: KeyRecord,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    await postgres_audit.record(
        session,
        actor=actor,
        action=action,
        object=f"key:{record.key_id}",
        org=record.org_id,
        before=before,
        after=after,
    )


async def _one(session: Session, key_id: str, reach: Reach = ALL) -> ListedKey:
    for listed in await _listed(session, reach, key_id=key_id):
        return listed
    raise _no_such_key(key_id)


def _no_such_key(key_id: str) -> NotFound:
    return NotFound(f"There is no key {key_id!r} that was created here; `tollgate keys list` shows them.")


async def _listed(
    session: Session,
    reach: Reach,
    *,
    key_id: str | None = None,
    user: str | None = None,
    after: tuple[datetime, str] | None = None,
    limit: int | None = None,
) -> list[ListedKey]:
    sets = [list(part or ()) for part in (reach.teams, reach.users, reach.keys)]
    after_at, after_id = after or (None, None)
    rows = await session.fetch(
        _SQL["listed"], reach.org_id, key_id, user, reach.whole, *sets, after_at, after_id, limit
    )
    return [_line(row) for row in rows]


def _until(record: KeyRecord, instant: datetime | None) -> KeyRecord:
    if instant is None or (record.expires_at is not None and record.expires_at <= instant):
        return record
    return replace(record, expires_at=instant)


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
        access=row["access"],
        revoked=row["revoked_at"] is not None or bool(row["owner_suspended"]),
    )


def _line(row: Row) -> ListedKey:
    former = zip(
        *(row[name] or () for name in ("former_prefixes", "former_digests", "former_until")), strict=True
    )
    return ListedKey(
        record=_record(row),
        name=row["name"],
        prefix=row["prefix"],
        digest=row["digest"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        rotated_at=row["rotated_at"],
        revoked_at=row["revoked_at"],
        former=tuple(FormerSecret(*one) for one in former),
    )
