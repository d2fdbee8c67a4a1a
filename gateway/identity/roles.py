"""Who may do what: one table, which every handler of the API asks through its operation.

A role says how far an action reaches: to oneself, to the teams one leads, to the whole organisation, or over all of
them. Roles of one person add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from gateway.errors import BadRequest, NotAllowed


class Role(StrEnum):
    """``admin`` is whoever holds the admin token, ``caller`` a key for calls, whatever its user's roles; all others are
    held in one organisation."""

    ADMIN = "admin"
    OWNER = "owner"
    BILLING = "billing"
    LEAD = "lead"
    MEMBER = "member"
    AUDITOR = "auditor"
    CALLER = "caller"


class Extent(IntEnum):
    """How far an action reaches. Greater ones contain the lesser."""

    NONE = 0
    SELF = 1
    TEAM = 2
    ORG = 3
    PLATFORM = 4


class Action(StrEnum):
    """What can be asked of the API. A name says both what is done and to what."""

    SEE_ME = "see_me"
    QUOTE = "quote"
    SEE_BALANCE = "see_balance"
    SEE_USAGE = "see_usage"
    SEE_TIPS = "see_tips"
    NAME_CONVERSATIONS = "name_conversations"
    SEE_LIMITS = "see_limits"
    SET_LIMITS = "set_limits"
    SEE_ALERTS = "see_alerts"
    SET_ALERTS = "set_alerts"
    SET_OWN_ALERTS = "set_own_alerts"
    SEE_WEBHOOKS = "see_webhooks"
    SET_WEBHOOKS = "set_webhooks"
    BUY = "buy"
    SEE_TOP_UPS = "see_top_ups"
    CONFIRM_TOP_UPS = "confirm_top_ups"
    SEE_LEDGER = "see_ledger"
    GRANT_CREDITS = "grant_credits"
    SEE_ORG = "see_org"
    SET_ORG = "set_org"
    CREATE_ORGS = "create_orgs"
    SEE_TEAMS = "see_teams"
    SET_TEAMS = "set_teams"
    SEE_PEOPLE = "see_people"
    SET_PEOPLE = "set_people"
    ERASE_PEOPLE = "erase_people"
    EXPORT_PEOPLE = "export_people"
    SEE_KEYS = "see_keys"
    SET_KEYS = "set_keys"
    ROTATE_KEYS = "rotate_keys"
    SEE_AUDIT = "see_audit"


N, S, T, O, P = Extent.NONE, Extent.SELF, Extent.TEAM, Extent.ORG, Extent.PLATFORM  # noqa: E741 - columns of the table

_COLUMNS = (Role.ADMIN, Role.OWNER, Role.BILLING, Role.LEAD, Role.MEMBER, Role.AUDITOR, Role.CALLER)
_TABLE: Mapping[Action, tuple[Extent, ...]] = {
    #                          admin owner billing lead member auditor caller
    Action.SEE_ME:             (P, O, O, S, S, O, S),
    Action.QUOTE:              (N, S, S, S, S, S, S),
    Action.SEE_BALANCE:        (P, O, O, O, O, O, O),
    Action.SEE_USAGE:          (P, O, O, T, S, O, S),
    Action.SEE_TIPS:           (P, O, O, T, S, O, S),
    Action.NAME_CONVERSATIONS: (P, O, N, T, S, N, S),
    Action.SEE_LIMITS:         (P, O, O, T, S, O, S),
    Action.SET_LIMITS:         (P, O, N, T, N, N, N),
    Action.SEE_ALERTS:         (P, O, O, T, S, O, S),
    Action.SET_ALERTS:         (P, O, O, N, N, N, N),
    Action.SET_OWN_ALERTS:     (P, O, O, S, S, N, N),
    Action.SEE_WEBHOOKS:       (P, O, N, N, N, O, N),
    Action.SET_WEBHOOKS:       (P, O, N, N, N, N, N),
    Action.BUY:                (P, O, O, S, S, N, N),
    Action.SEE_TOP_UPS:        (P, O, O, S, S, O, S),
    Action.CONFIRM_TOP_UPS:    (P, N, N, N, N, N, N),
    Action.SEE_LEDGER:         (P, O, O, N, N, O, N),
    Action.GRANT_CREDITS:      (P, N, N, N, N, N, N),
    Action.SEE_ORG:            (P, O, O, O, O, O, O),
    Action.SET_ORG:            (P, O, N, N, N, N, N),
    Action.CREATE_ORGS:        (P, N, N, N, N, N, N),
    Action.SEE_TEAMS:          (P, O, O, T, N, O, N),
    Action.SET_TEAMS:          (P, O, N, N, N, N, N),
    Action.SEE_PEOPLE:         (P, O, N, T, S, N, N),
    Action.SET_PEOPLE:         (P, O, N, T, N, N, N),
    Action.ERASE_PEOPLE:       (P, O, N, N, N, N, N),
    Action.EXPORT_PEOPLE:      (P, O, N, N, S, N, N),
    Action.SEE_KEYS:           (P, O, N, T, S, O, S),
    Action.SET_KEYS:           (P, O, N, T, S, N, N),
    Action.ROTATE_KEYS:        (P, O, N, T, S, N, S),
    Action.SEE_AUDIT:          (P, O, N, N, N, O, N),
}  # fmt: skip

ACTIONS: Mapping[Action, Mapping[Role, Extent]] = {
    action: dict(zip(_COLUMNS, extents, strict=True)) for action, extents in _TABLE.items()
}
"""The table: how far each role's right to each action reaches."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What one call may see or touch. With all three sets None: everything in the organisation (or, with
    ``org_id`` None, everywhere). Otherwise the union of what the sets name, and nothing else.

    In SQL: ``$whole OR team_id = ANY($teams) OR user_id = ANY($users) OR key_id = ANY($keys)``.
    """

    org_id: str | None
    teams: frozenset[str] | None = None
    users: frozenset[str] | None = None
    keys: frozenset[str] | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing in the organisation is out of reach."""
        return self.teams is None and self.users is None and self.keys is None

    def covers(self, team: str | None, user: str | None, key: str | None = None) -> bool:
        """Whether something of this team, user and key (of ``org_id``) is within reach."""
        return (
            self.whole
            or (team is not None and team in (self.teams or ()))
            or (user is not None and user in (self.users or ()))
            or (key is not None and key in (self.keys or ()))
        )


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking."""

    actor: str
    """For the audit log: ``admin``, ``user:acme/ada`` or ``key:acme/ci`` (a key that belongs to nobody)."""
    roles: frozenset[Role]
    org_id: str | None = None
    """None: the platform's admin."""
    user_id: str | None = None
    team_id: str | None = None
    """The team of the key that was used."""
    key_id: str | None = None
    leads: frozenset[str] = frozenset()
    """Teams that this principal leads."""

    @property
    def counted_as(self) -> str:
        """Whose calls and connections are bounded together. Keys of nobody share what one person may: whoever leads a
        team makes as many as they like."""
        if self.user_id is not None or self.key_id is None:
            return self.actor
        return f"keys:{self.org_id}/{self.team_id or ''}"

    def extent(self, action: Action) -> Extent:
        return max((ACTIONS[action][role] for role in self.roles), default=Extent.NONE)

    def may(self, action: Action) -> bool:
        return self.extent(action) is not Extent.NONE

    def names_people(self, action: Action) -> bool:
        """Whether everybody whom ``action`` reaches may be shown by name: roles add up, and one of them may reach
        further than the one that sees people. Whoever reaches only what is their own knows whose it is."""
        return self.extent(action) <= max(Extent.SELF, self.extent(Action.SEE_PEOPLE))

    def reach(self, action: Action, org: str | None) -> Reach:
        """How far ``action`` reaches in ``org`` (None: one's own).

        Raises `NotAllowed` for what the roles do not allow and for other organisations, whether they exist or not.
        """
        extent = self.extent(action)
        if extent is Extent.NONE:
            raise NotAllowed(f"Your role may not do this ({action.value}).")
        if extent is Extent.PLATFORM:
            return Reach(org)
        if org is not None and org != self.org_id:
            raise NotAllowed("You may only ask about your own organisation.", param="org")
        if extent is Extent.ORG:
            return Reach(self.org_id)
        teams = self.leads if extent is Extent.TEAM else None
        users = frozenset({self.user_id}) if self.user_id is not None else None
        # A key that belongs to nobody stands for itself alone.
        keys = frozenset({self.key_id}) if self.user_id is None and self.key_id is not None else frozenset()
        return Reach(self.org_id, teams, users, keys)


ADMIN = Principal(actor="admin", roles=frozenset({Role.ADMIN}))


def named_org(reach: Reach) -> str:
    """The organisation of ``reach``; raises `BadRequest` when the platform's admin did not say which."""
    if reach.org_id is None:
        raise BadRequest("org: say which organisation is meant, e.g. ?org=acme", param="org")
    return reach.org_id
