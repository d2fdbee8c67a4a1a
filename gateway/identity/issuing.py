"""Creating, rotating, listing and revoking keys. Every change is in the audit log."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from gateway.errors import BadRequest
from gateway.identity.keys import Access, KeyRecord, digest_of, generate_key, prefix_of
from gateway.identity.postgres_keys import ALL, KeyTable, ListedKey
from gateway.identity.redis_keys import SharedKeys
from gateway.identity.roles import Reach
from gateway.settings.limits import Id, ModelPattern, OperationName

_ID = TypeAdapter(Id)
_MODEL = TypeAdapter(ModelPattern)
_OPERATION: TypeAdapter[str] = TypeAdapter(OperationName)
OVERLAP_DAYS_MAX = 90
"""How long an old secret may go on working: a quarter is the slowest pace at which secrets are replaced."""


class Revocations(Protocol):
    """Where holds look before they are taken: see `gateway.budgets.redis_holds.RedisHolds.revoke`."""

    async def revoke(self, org: str, key: str) -> None: ...

    async def reinstate(self, org: str, key: str) -> None: ...


@dataclass(frozen=True, slots=True)
class NewKey:
    """What is asked for. Ids are as in limits.yaml."""

    org_id: str
    name: str
    team_id: str | None = None
    user_id: str | None = None
    allowed_models: tuple[str, ...] | None = None
    allowed_operations: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    open_calls_max: int | None = None
    expires_at: datetime | None = None
    trusted_attribution: bool = False
    access: Access = "calls"


@dataclass(frozen=True, slots=True)
class IssuedKey:
    key: str
    """Shown this once; only its digest is kept."""
    listed: ListedKey


class KeyIssuer:
    """``actor`` names who does it, for the audit log, e.g. ``cli:root``."""

    def __init__(self, table: KeyTable, shared: SharedKeys, revocations: Revocations) -> None:
        self._table = table
        self._shared = shared
        self._holds = revocations

    async def create(
        self, new: NewKey, *, actor: str, now: datetime | None = None, of_member: bool = False
    ) -> IssuedKey:
        """``of_member``: its user is in its team. Raises `BadRequest` naming the member that cannot be, `Conflict` if
        its user is being erased or has left the team."""
        check(new, now or datetime.now(UTC))
        key = generate_key()
        record = KeyRecord(
            key_id=f"key-{secrets.token_hex(6)}",
            org_id=new.org_id,
            team_id=new.team_id,
            user_id=new.user_id,
            source="api",
            allowed_models=new.allowed_models,
            allowed_operations=new.allowed_operations,
            requests_per_minute=new.requests_per_minute,
            open_calls_max=new.open_calls_max,
            expires_at=new.expires_at,
            trusted_attribution=new.trusted_attribution,
            access=new.access,
        )
        listed = await self._table.insert(
            record,
            name=new.name,
            digest=digest_of(key),
            prefix=prefix_of(key),
            actor=actor,
            of_member=of_member,
        )
        return IssuedKey(key, listed)

    async def rotate(
        self, key_id: str, *, old_until: datetime | None, actor: str, now: datetime | None = None
    ) -> IssuedKey:
        """Give a key another secret. The old one works until ``old_until``, and from that instant on no more; None:
        it stops now, on all gateways within a second.

        Raises `BadRequest`, `NotFound`, `Conflict` for a revoked key, `StoreUnavailable`. Again after an error makes
        yet another secret.
        """
        now = now or datetime.now(UTC)
        if old_until is not None and not now <= old_until <= now + timedelta(days=OVERLAP_DAYS_MAX):
            raise BadRequest(
                f"old_valid_until: must lie within the next {OVERLAP_DAYS_MAX} days", param="old_valid_until"
            )
        # While nobody can be told nothing is changed: who rotates the key that they hold would be left without any.
        await self._shared.generation()
        key = generate_key()
        listed = await self._table.rotate(
            key_id,
            digest=digest_of(key),
            prefix=prefix_of(key),
            old_until=old_until or now,
            now=now,
            actor=actor,
        )
        await self._shared.forget([former.digest for former in listed.former])
        await self._tell_revoked([listed])
        return IssuedKey(key, listed)

    async def list(self, reach: Reach = ALL) -> list[ListedKey]:
        return await self._table.list(reach)

    async def revoke(self, key_id: str, *, actor: str) -> ListedKey:
        """Idempotent. Raises `NotFound`; `StoreUnavailable` if a store is down: revoke again until it
        succeeds.

        The order matters. Postgres first, so that nobody reads the old record any more; then the holds, which
        refuse the key from there on; last what gateways share, and the sign for them to forget what they
        remember: by then they find only the truth.
        """
        listed = await self._table.revoke(key_id, actor=actor)
        await self.announce([listed])
        return listed

    async def announce(self, keys: Iterable[ListedKey]) -> None:
        """Tell all gateways what has become of keys: of their own revocation, or because of their user."""
        revoked, valid = list[ListedKey](), list[ListedKey]()
        for listed in keys:
            (revoked if listed.record.revoked else valid).append(listed)
        for listed in valid:
            await self._holds.reinstate(listed.record.org_id, listed.record.key_id)
        await self._shared.forget([digest for listed in valid for digest in listed.records()])
        await self._revoke(revoked)
        await self._tell_revoked(valid)

    async def _tell_revoked(self, keys: Iterable[ListedKey]) -> None:
        """Tell once more of those of ``keys`` that are revoked by now: whoever did that meanwhile may have told so just
        before it was forgotten here.
        """
        if ids := frozenset(listed.record.key_id for listed in keys):
            found = await self._table.list(Reach(None, keys=ids))
            await self._revoke([listed for listed in found if listed.record.revoked])

    async def _revoke(self, keys: Iterable[ListedKey]) -> None:
        records: dict[str, KeyRecord] = {}
        for listed in keys:
            await self._holds.revoke(listed.record.org_id, listed.record.key_id)
            records.update(listed.records())
        await self._shared.revoke(records)


def check(new: NewKey, now: datetime) -> None:
    """Raises `BadRequest` naming the member that cannot be."""
    for param, value in (("org", new.org_id), ("team", new.team_id), ("user", new.user_id)):
        if value is not None:
            _valid(_ID, value, param)
    for model in new.allowed_models or ():
        check_model("allowed_models", model)
    for operation in new.allowed_operations or ():
        _valid(_OPERATION, operation, "allowed_operations")
    if not new.name.strip() or len(new.name) > 200 or not new.name.isprintable():
        raise BadRequest("name: must be 1 to 200 printable characters", param="name")
    for param, number in (
        ("requests_per_minute", new.requests_per_minute),
        ("open_calls_max", new.open_calls_max),
    ):
        if number is not None and not 1 <= number <= 1_000_000:
            raise BadRequest(f"{param}: must be from 1 to 1,000,000", param=param)
    if new.expires_at is not None:
        if new.expires_at.tzinfo is None:
            raise BadRequest("expires_at: must say its time zone", param="expires_at")
        if new.expires_at <= now:
            raise BadRequest("expires_at: must be in the future", param="expires_at")


def check_model(param: str, pattern: str) -> None:
    """Raises `BadRequest` naming ``param`` for a pattern that does not tell models apart."""
    _valid(_MODEL, pattern, param)


def _valid(adapter: TypeAdapter[str], value: str, param: str) -> None:
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        raise BadRequest(f"{param}: {value!r}: {error.errors()[0]['msg']}", param=param) from error
