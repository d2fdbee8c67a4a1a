"""Rules of the table that says who may do what."""

from __future__ import annotations

import pytest

from gateway.errors import BadRequest, NotAllowed
from gateway.identity.roles import ACTIONS, ADMIN, Action, Extent, Principal, Reach, Role, named_org


def someone(*roles: Role, leads: frozenset[str] = frozenset(), user: str | None = "ada") -> Principal:
    return Principal(
        actor="test",
        roles=frozenset(roles),
        org_id="acme",
        user_id=user,
        team_id="research",
        key_id="laptop",
        leads=leads,
    )


@pytest.mark.parametrize("action", list(Action))
def test_every_action_is_decided_for_every_role(action: Action) -> None:
    assert set(ACTIONS[action]) == set(Role)


@pytest.mark.parametrize("action", list(Action))
def test_nobody_but_the_admin_reaches_beyond_their_organisation(action: Action) -> None:
    for role, extent in ACTIONS[action].items():
        assert extent < Extent.PLATFORM or role is Role.ADMIN


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMIN])
def test_another_organisation_is_refused_whatever_the_role(action: Action, role: Role) -> None:
    with pytest.raises(NotAllowed):
        someone(role).reach(action, "globex")


@pytest.mark.parametrize("action", list(Action))
def test_an_auditor_changes_nothing(action: Action) -> None:
    changes = not action.value.startswith("see_") and action is not Action.QUOTE
    if changes:
        assert ACTIONS[action][Role.AUDITOR] is Extent.NONE


@pytest.mark.parametrize("action", list(Action))
def test_an_applications_key_looks_and_is_nowhere_above_a_member(action: Action) -> None:
    extent = ACTIONS[action][Role.CALLER]
    assert extent <= ACTIONS[action][Role.MEMBER]
    own = (Action.QUOTE, Action.NAME_CONVERSATIONS, Action.ROTATE_KEYS)
    assert extent is Extent.NONE or action.value.startswith("see_") or action in own


@pytest.mark.parametrize(
    ("roles", "named"),
    [({Role.CALLER}, True), ({Role.MEMBER}, True), ({Role.LEAD}, True), ({Role.BILLING, Role.MEMBER}, False)],
)
def test_people_are_named_to_who_sees_them_or_reaches_nobody_else(roles: set[Role], named: bool) -> None:
    assert someone(*roles).names_people(Action.SEE_USAGE) is named


def test_roles_add_up_to_the_widest() -> None:
    both = someone(Role.MEMBER, Role.LEAD, leads=frozenset({"research"}))
    reach = both.reach(Action.SEE_USAGE, None)
    assert reach.covers("research", "bob")
    assert reach.covers(None, "ada")
    assert not reach.covers("sales", "bob")


def test_a_member_reaches_only_what_is_their_own() -> None:
    reach = someone(Role.MEMBER).reach(Action.SEE_USAGE, "acme")
    assert not reach.whole
    assert reach.covers("research", "ada", "any")
    assert not reach.covers("research", "bob", "laptop")
    assert not reach.covers(None, None, None)


def test_a_key_that_belongs_to_nobody_reaches_only_itself() -> None:
    reach = someone(Role.MEMBER, user=None).reach(Action.SEE_USAGE, None)
    assert reach.covers(None, None, "laptop")
    assert not reach.covers("research", None, "other")


def test_a_lead_without_a_team_reaches_no_team() -> None:
    reach = someone(Role.LEAD).reach(Action.SEE_USAGE, None)
    assert not reach.whole
    assert not reach.covers("research", "bob")


def test_the_admin_says_which_organisation_is_meant() -> None:
    assert named_org(ADMIN.reach(Action.SEE_BALANCE, "acme")) == "acme"
    with pytest.raises(BadRequest):
        named_org(ADMIN.reach(Action.SEE_BALANCE, None))


def test_nothing_is_whole_but_a_reach_without_bounds() -> None:
    assert Reach("acme").whole
    assert not Reach("acme", users=frozenset()).whole
    assert not Reach("acme", users=frozenset()).covers("t", "u", "k")
