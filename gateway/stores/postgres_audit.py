"""The audit log: written in the transaction of what it records, so that neither is without the other.

Its rows form a chain of hashes that the database makes (migrations/0011_trust.sql); `verify` follows it. When Postgres
is down everything raises `PostgresUnavailable`.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

import orjson

from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.stores", "audit.sql")
_PAGE = 1_000
GENESIS = bytes(32)
"""What stands for the hash before the first row."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something was asked for."""

    address: str
    request_id: str


_origin: ContextVar[Origin | None] = ContextVar("tollgate_audit_origin", default=None)


@contextmanager
def coming_from(address: str, request_id: str) -> Iterator[None]:
    """What is audited inside the block was asked for by this API call.

    A context variable, because what writes the log is many calls below what knows where a request came from.
    """
    token = _origin.set(Origin(address, request_id))
    try:
        yield
    finally:
        _origin.reset(token)


async def record(
    session: Session,
    *,
    actor: str,
    action: str,
    object: str,
    org: str | None = None,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Who did what to which object, e.g. actor ``cli:root``, action ``key.revoke``, object ``key:ada-laptop``.

    ``before`` and ``after`` are the parts that changed; never a key, a prompt or a password, nor a name, an address or
    a number of a person. ``org``: whose log shows it; None: the platform's alone. Do this last in the transaction: it
    waits for others that are writing the log.
    """
    origin = _origin.get()
    where = (None, None) if origin is None else (origin.address, origin.request_id)
    await session.execute(_SQL["record"], actor, action, object, org, *where, _json(before), _json(after))


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row. ``before`` and ``after`` are JSON as the database prints it, which is what was hashed."""

    place: int
    at: str
    """RFC 3339, UTC, microseconds."""
    actor: str
    action: str
    object: str
    org_id: str | None
    address: str | None
    request_id: str | None
    before: str | None
    after: str | None
    previous_hash: bytes
    hash: bytes

    def expected_hash(self) -> bytes:
        parts = (
            *(str(self.place), self.at, self.actor, self.action, self.object, self.org_id),
            *(self.address, self.request_id, self.before, self.after),
        )
        return hashlib.sha256(self.previous_hash + b"".join(map(_part, parts))).digest()


def _part(value: str | None) -> bytes:
    if value is None:
        return b"-"
    encoded = value.encode()
    return b"%d:%b" % (len(encoded), encoded)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``broken`` says of the first row that does not fit what is wrong with it; None: all do."""

    entries: int
    """Rows that hold, from the first on."""
    head: bytes
    """The hash of the last of them. Kept elsewhere, it later proves that nothing was cut off the end."""
    broken: str | None


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """What to look for; None: anything."""

    org: str | None = None
    actor: str | None = None
    action: str | None = None
    """``key.revoke``, or ``key`` for all that is done to keys."""
    object: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before_place: int | None = None


class AuditLog:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def entries(self) -> AsyncIterator[AuditEntry]:
        """All of them, oldest first."""
        place = -(2**63)
        while page := await self._postgres.fetch(_SQL["page"], place, _PAGE):
            for row in page:
                yield _entry(row)
            place = page[-1]["place"]

    async def search(self, wanted: AuditSearch, limit: int) -> list[AuditEntry]:
        """The newest first, at most ``limit``."""
        narrowed = (wanted.org, wanted.actor, wanted.action, wanted.object, wanted.since, wanted.until)
        rows = await self._postgres.fetch(_SQL["search"], *narrowed, wanted.before_place, limit)
        return [_entry(row) for row in rows]

    async def length(self) -> int:
        """How many entries there are, if none is missing."""
        newest: int = await self._postgres.fetch_value(_SQL["newest_place"])
        return newest

    async def verify(
        self, *expected_heads: bytes, checked: Callable[[int], None] = lambda count: None
    ) -> Verdict:
        """Follow the chain. ``expected_heads``: heads of before that must still be in it. ``checked`` hears how many
        entries hold so far."""
        count, head, missing = 0, GENESIS, set(expected_heads)
        async for entry in self.entries():
            checked(count)
            broken = _fault(entry, count + 1, head)
            if broken is not None:
                return Verdict(count, head, broken)
            count, head = count + 1, entry.hash
            missing.discard(head)
        if missing:
            gone = ", ".join(sorted(one.hex() for one in missing))
            return Verdict(count, head, f"{gone} was in the log and is not: its end was cut off or rewritten")
        return Verdict(count, head, None)


def _fault(entry: AuditEntry, place: int, head: bytes) -> str | None:
    if entry.place != place:
        return f"row {place} is missing: row {entry.place} ({entry.action} {entry.object}) comes next"
    what = f"row {place} ({entry.at} {entry.action} {entry.object})"
    if entry.previous_hash != head:
        return f"{what} does not follow the row before it: one of the two was replaced"
    if entry.hash != entry.expected_hash():
        return f"{what} was changed after it was written"
    return None


def _entry(row: Row) -> AuditEntry:
    return AuditEntry(**dict(row))


def _json(part: Mapping[str, object] | None) -> str | None:
    return None if part is None else orjson.dumps(part).decode()
