"""Teams, as limits.yaml declares them or as they were made here. Published like organisations."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from gateway.errors import Conflict, NotFound
from gateway.identity.declared import Declarations
from gateway.identity.keys import Source
from gateway.identity.orgs import Orgs, Publishing
from gateway.identity.roles import Reach
from gateway.settings.limits import TeamSettings
from gateway.stores import postgres_audit
from gateway.stores.postgres import Postgres, Row
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.identity", "orgs.sql")


@dataclass(frozen=True, slots=True)
class TeamProfile:
    name: str
    allowed_models: tuple[str, ...] | None = None
    """None: whatever the organisation allows."""
    allowed_operations: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Team:
    org_id: str
    team_id: str
    source: Source
    profile: TeamProfile
    created_at: datetime | None
    """None: declared in the file."""


class Teams:
    def __init__(
        self, postgres: Postgres, declarations: Declarations, orgs: Orgs, publishing: Publishing
    ) -> None:
        self._postgres = postgres
        self._declarations = declarations
        self._orgs = orgs
        self._publishing = publishing

    async def get(self, org: str, team: str) -> Team:
        """Raises `NotFound`."""
        declared = self._declarations.current.teams.get((org, team))
        if declared is not None:
            return _declared(org, declared)
        row = await self._postgres.fetch_one(_SQL["find_team"], org, team)
        if row is None:
            raise _no_such_team(team)
        return _made(row)

    async def page(self, org: str, reach: Reach, after: str | None, limit: int) -> list[Team]:
        """By id, those within ``reach`` after ``after``."""
        within = None if reach.whole else list(reach.teams or ())
        rows = await self._postgres.fetch(_SQL["teams"], org, after, within, limit)
        found = {row["team_id"]: _made(row) for row in rows}
        for (of, team), settings in self._declarations.current.teams.items():
            if of == org and (after is None or team > after) and (within is None or team in within):
                found[team] = _declared(org, settings)
        return [found[team] for team in sorted(found)][:limit]

    async def create(self, org: str, team: str, profile: TeamProfile, *, actor: str) -> Team:
        """Raises `Conflict` if there is one of this id, `NotFound` if there is no such organisation."""
        self._declarations.current.refuse_team(org, team)
        await self._orgs.get(org)
        async with self._postgres.transaction() as session:
            row = await session.fetch_one(
                _SQL["insert_team"],
                org,
                team,
                profile.name,
                profile.allowed_models,
                profile.allowed_operations,
            )
            if row is None:
                raise Conflict(f"There is a team {team} already.", param="id")
            await self._publishing.newer(session, org)
            await postgres_audit.record(
                session,
                actor=actor,
                action="team.create",
                object=f"team:{org}/{team}",
                org=org,
                after=asdict(profile),
            )
        await self._publishing.announce()
        return _made(row)

    async def change(self, org: str, team: str, changes: dict[str, Any], *, actor: str) -> Team:
        """Set the named members of its profile. Raises `NotFound`, `Conflict` for one that the file declares."""
        self._declarations.current.refuse_team(org, team)
        async with self._postgres.transaction() as session:
            row = await session.fetch_one(_SQL["lock_team"], org, team)
            if row is None:
                raise _no_such_team(team)
            before = _made(row).profile
            after = replace(before, **changes)
            if after != before:
                columns = after.name, after.allowed_models, after.allowed_operations
                row = await session.fetch_one(_SQL["update_team"], org, team, *columns)
                assert row is not None
                await self._publishing.newer(session, org)
                await postgres_audit.record(
                    session,
                    actor=actor,
                    action="team.change",
                    object=f"team:{org}/{team}",
                    org=org,
                    before={name: getattr(before, name) for name in changes},
                    after=changes,
                )
        await self._publishing.announce()
        return _made(row)


def _no_such_team(team: str) -> NotFound:
    return NotFound(f"There is no team {team!r}.", param="team")


def _made(row: Row) -> Team:
    models, operations = row["allowed_models"], row["allowed_operations"]
    profile = TeamProfile(
        row["name"],
        None if models is None else tuple(models),
        None if operations is None else tuple(operations),
    )
    return Team(row["org_id"], row["team_id"], "api", profile, row["created_at"])


def _declared(org: str, settings: TeamSettings) -> Team:
    profile = TeamProfile(settings.id, settings.allowed_models, settings.allowed_operations)
    return Team(org, settings.id, "file", profile, None)
