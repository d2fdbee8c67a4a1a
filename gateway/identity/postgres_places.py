"""Where in an organisation a team, user or key belongs: what decides who may see and set its limits.

When Postgres is down this raises `PostgresUnavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from gateway.budgets.model import Scope
from gateway.identity.declared import DeclaredUser
from gateway.identity.roles import Reach, Role
from gateway.identity.standing import Standing
from gateway.settings.limits import KeySettings, LimitsFile, TeamSettings, UserSettings
from gateway.stores.postgres import Postgres, Row
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.identity", "places.sql")
_MEMBER = Standing()

Named = tuple[Scope, str]
"""A scope and the id of what it is, e.g. (Scope.USER, "ada")."""


@dataclass(frozen=True, slots=True)
class Place:
    teams: frozenset[str] = frozenset()
    """Of a user: every team that they belong to."""
    user: str | None = None
    key: str | None = None
    standing: Standing = _MEMBER
    """Of a user."""

    def within(self, reach: Reach) -> bool:
        return any(reach.covers(team, self.user, self.key) for team in self.teams or (None,))


class Places:
    def __init__(self, postgres: Postgres, file: Callable[[], LimitsFile]) -> None:
        """``file``: limits.yaml as it is now."""
        self._postgres = postgres
        self._file = file

    async def find(self, org: str, wanted: Collection[Named]) -> Mapping[Named, Place]:
        """Those of ``wanted`` that exist; where the file declares one, it decides. The organisation itself is always
        there, and in no team."""
        found = _declared(self._file(), org, frozenset(wanted))
        teams, users, keys = (
            [name for scope, name in wanted if scope is kind and (scope, name) not in found]
            for kind in (Scope.TEAM, Scope.USER, Scope.KEY)
        )
        async with self._postgres.session() as session:
            if teams:
                for row in await session.fetch(_SQL["teams"], org, teams):
                    found[Scope.TEAM, row["team_id"]] = Place(frozenset({row["team_id"]}))
            if users:
                found.update(_users(await session.fetch(_SQL["users"], org, users)))
            if keys:
                for row in await session.fetch(_SQL["keys"], org, keys):
                    teams_of_key = frozenset({row["team_id"]} if row["team_id"] is not None else ())
                    found[Scope.KEY, row["key_id"]] = Place(teams_of_key, row["user_id"], row["key_id"])
        found.update({named: Place() for named in wanted if named == (Scope.ORG, org)})
        return found


def _declared(file: LimitsFile, org: str, wanted: frozenset[Named]) -> dict[Named, Place]:
    found: dict[Named, Place] = {}
    for declared in file.orgs:
        if declared.id != org:
            continue
        for _path, spender, team, user in declared.spenders():
            teams = frozenset({team} if team is not None else ())
            if isinstance(spender, KeySettings):
                named, place = (Scope.KEY, spender.id), Place(teams, user, spender.id)
            elif isinstance(spender, TeamSettings):
                named, place = (Scope.TEAM, spender.id), Place(frozenset({spender.id}))
            else:
                assert isinstance(spender, UserSettings), "nobody else spends"
                standing = DeclaredUser(spender, team).standing
                named, place = (Scope.USER, spender.id), Place(teams, spender.id, standing=standing)
            if named in wanted:
                found[named] = place
    return found


def _users(rows: Iterable[Row]) -> Mapping[Named, Place]:
    held: dict[str, list[tuple[str | None, Role]]] = {}
    for row in rows:
        held.setdefault(row["user_id"], []).append((row["team_id"], Role(row["role"])))
    standings = {user: Standing.of(pairs) for user, pairs in held.items()}
    return {
        (Scope.USER, user): Place(standing.teams, user, standing=standing)
        for user, standing in standings.items()
    }
