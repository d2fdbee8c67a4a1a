"""What limits.yaml declares, found by id. Whatever it declares belongs to it: the API can read that, not change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import Conflict
from gateway.identity.keys import KeyRecord, file_keys
from gateway.identity.roles import Role
from gateway.identity.standing import Standing
from gateway.settings.limits import LimitsFile, OrgSettings, TeamSettings, UserSettings


@dataclass(frozen=True, slots=True)
class DeclaredUser:
    settings: UserSettings
    team_id: str | None

    @property
    def standing(self) -> Standing:
        role = Role(self.settings.role)
        teams = frozenset() if self.team_id is None else frozenset({self.team_id})
        return Standing(frozenset({role}), teams, teams if role is Role.LEAD else frozenset())


class Declared:
    """One version of the file."""

    def __init__(self, limits: LimitsFile, file: str = "limits.yaml") -> None:
        self.file = file
        self.orgs: dict[str, OrgSettings] = {}
        self.teams: dict[tuple[str, str], TeamSettings] = {}
        self.users: dict[tuple[str, str], DeclaredUser] = {}
        self.keys: dict[str, KeyRecord] = {record.key_id: record for record in file_keys(limits).values()}
        for org in limits.orgs:
            self.orgs[org.id] = org
            for _path, spender, team, _user in org.spenders():
                if isinstance(spender, TeamSettings):
                    self.teams[org.id, spender.id] = spender
                elif isinstance(spender, UserSettings):
                    self.users[org.id, spender.id] = DeclaredUser(spender, team)

    def org_users(self, org: str) -> dict[str, DeclaredUser]:
        return {user: found for (of, user), found in self.users.items() if of == org}

    def owners(self, org: str) -> set[str]:
        return {user for user, found in self.org_users(org).items() if Role.OWNER in found.standing.roles}

    def refuse_org(self, org: str) -> None:
        """Raises `Conflict` if the file declares ``org``. So do the other three of what they name."""
        self._refuse(org in self.orgs, f"The organisation {org}")

    def refuse_team(self, org: str, team: str) -> None:
        self._refuse((org, team) in self.teams, f"The team {team}")

    def refuse_user(self, org: str, user: str) -> None:
        self._refuse((org, user) in self.users, f"The user {user}")

    def refuse_key(self, key: str) -> None:
        self._refuse(key in self.keys, f"The key {key}")

    def _refuse(self, declared: bool, what: str) -> None:
        if declared:
            raise Conflict(f"{what} is declared in {self.file}: it can be changed there and nowhere else.")


class Declarations:
    """The version that is in force. ``limits``: see `gateway.reload.LiveConfig`."""

    def __init__(self, limits: Callable[[], LimitsFile], path: Path) -> None:
        self._limits = limits
        self._file = path.name
        self._seen: LimitsFile | None = None
        self._declared: Declared | None = None

    @property
    def current(self) -> Declared:
        limits = self._limits()
        if self._declared is None or limits is not self._seen:
            self._seen, self._declared = limits, Declared(limits, self._file)
        return self._declared
