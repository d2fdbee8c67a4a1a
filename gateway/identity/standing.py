"""What somebody is in an organisation, and what that lets them do to others. Pure rules.

Nobody gives or takes away a role above their own, and nobody manages somebody whose roles are above their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.errors import NotAllowed
from gateway.identity.roles import Principal, Role

OF_ORG = frozenset({Role.OWNER, Role.BILLING, Role.AUDITOR})
"""Roles that are held in the organisation as a whole; lead and member are held in a team."""
OF_TEAM = frozenset({Role.LEAD, Role.MEMBER})

_GIVES: Mapping[Role, frozenset[Role]] = {
    Role.ADMIN: OF_ORG | OF_TEAM,
    Role.OWNER: OF_ORG | OF_TEAM,
    Role.BILLING: frozenset(),
    # In the teams that they lead.
    Role.LEAD: OF_TEAM,
    Role.MEMBER: frozenset(),
    Role.AUDITOR: frozenset(),
    Role.CALLER: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """The roles of one user. Without any other, everybody is a member."""

    roles: frozenset[Role] = frozenset({Role.MEMBER})
    teams: frozenset[str] = frozenset()
    """Those that the user belongs to."""
    leads: frozenset[str] = frozenset()

    @classmethod
    def of(cls, memberships: Iterable[tuple[str | None, Role]]) -> Standing:
        """Of (team or None, role) pairs."""
        pairs = list(memberships)
        return cls(
            frozenset(role for _, role in pairs) or frozenset({Role.MEMBER}),
            frozenset(team for team, _ in pairs if team is not None),
            frozenset(team for team, role in pairs if team is not None and role is Role.LEAD),
        )


def check_gives(principal: Principal, role: Role, team: str | None) -> None:
    """Raises `NotAllowed` unless ``principal`` may give this role, or take it away. ``team`` None: org-wide."""
    for own in principal.roles:
        in_reach = own in (Role.ADMIN, Role.OWNER) or (team is not None and team in principal.leads)
        if role in _GIVES[own] and in_reach:
            return
    where = "" if team is None else f" in the team {team}"
    raise NotAllowed(f"Your role may neither give nor take away the role {role.value}{where}.", param="role")


def manages(principal: Principal, target: Standing) -> bool:
    """Whether ``principal`` may change everything about somebody of this standing, their roles apart."""
    return over_all(principal) or (bool(target.teams) and takes_in(principal, target))


def takes_in(principal: Principal, target: Standing) -> bool:
    """Whether ``principal`` may give somebody of this standing a role in their own team: nobody of another one, whose
    profile would be shown to them."""
    if over_all(principal):
        return True
    return Role.LEAD in principal.roles and target.roles <= OF_TEAM and target.teams <= principal.leads


def acts_within(principal: Principal, target: Standing) -> bool:
    """Whether a secret that acts with the roles of ``target`` gives its holder nothing that ``principal`` lacks."""
    if over_all(principal):
        return True
    return target.roles <= principal.roles | {Role.MEMBER} and target.leads <= principal.leads


def over_all(principal: Principal) -> bool:
    """Whether ``principal`` is above everybody in the organisation."""
    return bool(principal.roles & {Role.ADMIN, Role.OWNER})
