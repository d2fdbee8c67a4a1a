"""Organisations, as limits.yaml declares them or as they were made here.

What the budgets need of those made here is published with a version, as limits are, and in force on every gateway
within a second (`gateway.budgets.postgres_managed`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from gateway.budgets.postgres_managed import bump
from gateway.budgets.windows import Weekday
from gateway.errors import Conflict
from gateway.identity.declared import Declarations
from gateway.identity.keys import Source
from gateway.identity.known_orgs import no_such_org
from gateway.settings.limits import OrgSettings, WeekStart
from gateway.stores import postgres_audit
from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.identity", "orgs.sql")
_DAYS: tuple[WeekStart, ...] = (
    *("monday", "tuesday", "wednesday", "thursday"),
    *("friday", "saturday", "sunday"),
)


@dataclass(frozen=True, slots=True)
class OrgProfile:
    """What can be said of an organisation."""

    name: str
    time_zone: str = "UTC"
    week_start: WeekStart = "monday"
    balance_required: bool = False
    """Prepaid: nothing runs without credits."""
    allowed_models: tuple[str, ...] | None = None
    allowed_operations: tuple[str, ...] | None = None
    events_kept_months: int | None = None
    """Single requests are removed when so many whole months have passed; None: never."""


@dataclass(frozen=True, slots=True)
class Org:
    org_id: str
    source: Source
    profile: OrgProfile
    created_at: datetime | None
    """None: declared in the file."""


class Announcing(Protocol):
    """See `gateway.budgets.postgres_managed.ManagedLimits`."""

    async def announce(self) -> None: ...


class Publishing:
    """Has every gateway read again what budgets need of an organisation made here."""

    def __init__(self, managed: Announcing, published_version: Callable[[str], Awaitable[int]]) -> None:
        self._managed = managed
        self._published_version = published_version

    async def newer(self, session: Session, org: str) -> None:
        """In the transaction that changes something of ``org``."""
        await bump(session, org, await self._published_version(org))

    async def announce(self) -> None:
        """When it is committed. Raises `StoreUnavailable`: then the same change again announces it."""
        await self._managed.announce()


class Orgs:
    def __init__(self, postgres: Postgres, declarations: Declarations, publishing: Publishing) -> None:
        self._postgres = postgres
        self._declarations = declarations
        self._publishing = publishing

    async def get(self, org: str) -> Org:
        """Raises `NotFound`."""
        declared = self._declarations.current.orgs.get(org)
        if declared is not None:
            return _declared(declared)
        row = await self._postgres.fetch_one(_SQL["find_org"], org)
        if row is None:
            raise no_such_org(org)
        return _made(row)

    async def page(self, after: str | None, limit: int) -> list[Org]:
        """By id, those after ``after``."""
        declared = self._declarations.current.orgs
        rows = await self._postgres.fetch(_SQL["orgs"], after, limit)
        found = {row["org_id"]: _made(row) for row in rows}
        found |= {
            org: _declared(settings) for org, settings in declared.items() if after is None or org > after
        }
        return [found[org] for org in sorted(found)][:limit]

    async def create(self, org: str, profile: OrgProfile, *, actor: str) -> Org:
        """Raises `Conflict` if there is one of this id."""
        self._declarations.current.refuse_org(org)
        async with self._postgres.transaction() as session:
            row = await session.fetch_one(_SQL["insert_org"], org, *_columns(profile))
            if row is None:
                raise Conflict(f"There is an organisation {org} already.", param="id")
            await self._publishing.newer(session, org)
            await _audit(session, org, actor, "org.create", None, asdict(profile))
        await self._publishing.announce()
        return _made(row)

    async def change(self, org: str, changes: dict[str, Any], *, actor: str) -> Org:
        """Set the named members of its profile. Raises `NotFound`, `Conflict` for one that the file declares."""
        self._declarations.current.refuse_org(org)
        async with self._postgres.transaction() as session:
            row = await session.fetch_one(_SQL["lock_org"], org)
            if row is None:
                raise no_such_org(org)
            before = _made(row).profile
            after = replace(before, **changes)
            if after != before:
                row = await session.fetch_one(_SQL["update_org"], org, *_columns(after))
                assert row is not None
                await self._publishing.newer(session, org)
                parts = {name: getattr(before, name) for name in changes}, changes
                await _audit(session, org, actor, "org.change", *parts)
        await self._publishing.announce()
        return _made(row)

    async def events_kept_months(self) -> dict[str, int]:
        """Of every organisation that does not keep single requests for ever."""
        rows = await self._postgres.fetch(_SQL["kept_months"])
        kept = {row["org_id"]: row["events_kept_months"] for row in rows}
        for org, settings in self._declarations.current.orgs.items():
            kept.pop(org, None)
            if settings.events_kept_months is not None:
                kept[org] = settings.events_kept_months
        return kept


async def _audit(
    session: Session,
    org: str,
    actor: str,
    action: str,
    before: dict[str, Any] | None,
    after: dict[str, Any],
) -> None:
    await postgres_audit.record(
        session, actor=actor, action=action, object=f"org:{org}", org=org, before=before, after=after
    )


def _columns(profile: OrgProfile) -> tuple[object, ...]:
    return (
        profile.name,
        profile.time_zone,
        int(Weekday[profile.week_start.upper()]),
        profile.balance_required,
        profile.allowed_models,
        profile.allowed_operations,
        profile.events_kept_months,
    )


def _made(row: Row) -> Org:
    models, operations = row["allowed_models"], row["allowed_operations"]
    profile = OrgProfile(
        name=row["name"],
        time_zone=row["time_zone"],
        week_start=_DAYS[row["week_start"]],
        balance_required=row["balance_required"],
        allowed_models=None if models is None else tuple(models),
        allowed_operations=None if operations is None else tuple(operations),
        events_kept_months=row["events_kept_months"],
    )
    return Org(row["org_id"], "api", profile, row["created_at"])


def _declared(settings: OrgSettings) -> Org:
    profile = OrgProfile(
        name=settings.id,
        time_zone=settings.time_zone,
        week_start=settings.week_start,
        balance_required=settings.balance.required,
        allowed_models=settings.allowed_models,
        allowed_operations=settings.allowed_operations,
        events_kept_months=settings.events_kept_months,
    )
    return Org(settings.id, "file", profile, None)
