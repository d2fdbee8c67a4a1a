"""Where in an organisation a team, user or key belongs: what decides who may see and set its limits.

When Postgres is down this raises `PostgresUnavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from gateway.budgets.model import Scope
from gateway.identity.roles import Reach
from gateway.settings.limits import KeySettings, LimitsFile, TeamSettings
from gateway.stores.postgres import Postgres
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.identity", "places.sql")

Named = tuple[Scope, str]
"""A scope and the id of what it is, e.g. (Scope.USER, "ada")."""


@dataclass(frozen=True, slots=True)
class Place:
    teams: frozenset[str] = frozenset()
    """Of a user: every team that they belong to, or have a key in."""
    user: str | None = None
    key: str | None = None

    def within(self, reach: Reach) -> bool:
        return any(reach.covers(team, self.user, self.key) for team in self.teams or (None,))


class Places:
    def __init__(self, postgres: Postgres, file: Callable[[], LimitsFile]) -> None:
        """``file``: limits.yaml as it is now."""
        self._postgres = postgres
        self._file = file

    async def find(self, org: str, wanted: Collection[Named]) -> Mapping[Named, Place]:
        """Those of ``wanted`` that exist. The organisation itself is always there, and in no team."""
        found = _declared(self._file(), org, frozenset(wanted))
        teams, users, keys = (
            [name for scope, name in wanted if scope is kind] for kind in (Scope.TEAM, Scope.USER, Scope.KEY)
        )
        async with self._postgres.session() as session:
            if teams:
                for row in await session.fetch(_SQL["teams"], org, teams):
                    _add(found, (Scope.TEAM, row["team_id"]), Place(frozenset({row["team_id"]})))
            if users:
                for row in await session.fetch(_SQL["users"], org, users):
                    name = row["user_id"]
                    _add(found, (Scope.USER, name), Place(frozenset(row["teams"]), name))
            if keys:
                for row in await session.fetch(_SQL["keys"], org, keys):
                    teams_of_key = frozenset({row["team_id"]} if row["team_id"] is not None else ())
                    _add(
                        found, (Scope.KEY, row["key_id"]), Place(teams_of_key, row["user_id"], row["key_id"])
                    )
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
                named, place = (Scope.USER, spender.id), Place(teams, spender.id)
            if named in wanted:
                _add(found, named, place)
    return found


def _add(found: dict[Named, Place], named: Named, place: Place) -> None:
    known = found.get(named)
    found[named] = place if known is None else Place(known.teams | place.teams, place.user, place.key)
