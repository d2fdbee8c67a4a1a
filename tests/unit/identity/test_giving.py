"""What may be put into a key: never more than is in the one that is asked with, nor a role above one's own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import BadRequest, NotAllowed
from gateway.identity.giving import narrowed, placed
from gateway.identity.issuing import NewKey
from gateway.identity.keys import KeyRecord
from gateway.identity.roles import Principal, Reach, Role
from gateway.identity.standing import Standing, acts_within, check_gives, manages, takes_in

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def own(
    models: tuple[str, ...] | None = None,
    operations: tuple[str, ...] | None = None,
    expires_at: datetime | None = None,
) -> KeyRecord:
    return KeyRecord(
        "k",
        "acme",
        None,
        "ada",
        "api",
        allowed_models=models,
        allowed_operations=operations,
        expires_at=expires_at,
    )


def wanted(
    models: tuple[str, ...] | None = None,
    operations: tuple[str, ...] | None = None,
    expires_at: datetime | None = None,
) -> NewKey:
    return NewKey("acme", "x", allowed_models=models, allowed_operations=operations, expires_at=expires_at)


def test_what_is_left_open_is_as_in_ones_own_key() -> None:
    mine = own(("gpt-*",), ("chat",), NOW)
    assert narrowed(wanted(), mine) == wanted(("gpt-*",), ("chat",), NOW)


def test_an_unbounded_key_gives_what_is_asked() -> None:
    asked = wanted(("gpt-*",), ("chat",), NOW)
    assert narrowed(asked, own()) == asked


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4*", "gpt-*", "gpt-*-mini", "gpt-"])
def test_a_narrower_pattern_is_given(model: str) -> None:
    assert narrowed(wanted((model,)), own(("gpt-*",))).allowed_models == (model,)


@pytest.mark.parametrize("model", ["*", "gpt*", "claude-3", "*gpt-4", "o1"])
def test_a_wider_pattern_is_not(model: str) -> None:
    with pytest.raises(NotAllowed):
        narrowed(wanted(("gpt-4o", model)), own(("gpt-*",)))


def lead(*teams: str) -> Principal:
    return Principal("user:acme/lea", frozenset({Role.LEAD}), "acme", "lea", leads=frozenset(teams))


@pytest.mark.parametrize(
    "memberships",
    [
        [(None, Role.OWNER), ("research", Role.MEMBER)],
        [(None, Role.AUDITOR), ("research", Role.MEMBER)],
        [("research", Role.MEMBER), ("sales", Role.MEMBER)],
    ],
)
def test_a_lead_is_given_no_secret_of_somebody_whom_they_do_not_manage(
    memberships: list[tuple[str | None, Role]],
) -> None:
    """Even a key for calls alone shows and exports what is its user's own, in other teams too."""
    reach = Reach("acme", frozenset({"research"}), frozenset({"lea"}), frozenset())
    new = NewKey("acme", "x", team_id="research", user_id="ada")
    with pytest.raises(NotAllowed):
        placed(new, lead("research"), reach, Standing.of(memberships))
    assert placed(new, lead("research"), reach, Standing.of([("research", Role.MEMBER)])) == new


def test_a_key_counts_for_the_only_team_of_its_user_and_of_several_one_has_to_be_named() -> None:
    """Whoever asks: without a team it would escape the team's limits and allow list."""
    admin, everything = Principal("admin", frozenset({Role.ADMIN})), Reach("acme")
    new = NewKey("acme", "x", user_id="ada")
    assert placed(new, admin, everything, standing(teams=("research",))).team_id == "research"
    assert placed(new, admin, everything, standing()).team_id is None
    several = standing(teams=("research", "sales"))
    with pytest.raises(BadRequest, match="research, sales"):
        placed(new, admin, everything, several)
    assert placed(replace(new, team_id="sales"), admin, everything, several).team_id == "sales"


def test_more_operations_or_a_longer_life_are_not_given() -> None:
    with pytest.raises(NotAllowed):
        narrowed(wanted(operations=("chat", "image")), own(operations=("chat",)))
    with pytest.raises(NotAllowed):
        narrowed(wanted(expires_at=NOW + timedelta(seconds=1)), own(expires_at=NOW))


def principal(*roles: Role, leads: tuple[str, ...] = ()) -> Principal:
    return Principal("user:acme/x", frozenset(roles), "acme", "x", leads=frozenset(leads))


def standing(*roles: Role, teams: tuple[str, ...] = (), leads: tuple[str, ...] = ()) -> Standing:
    return Standing(frozenset(roles), frozenset(teams), frozenset(leads))


ALL = (Role.OWNER, Role.BILLING, Role.AUDITOR, Role.LEAD, Role.MEMBER)


@pytest.mark.parametrize("giver", [Role.ADMIN, Role.OWNER])
@pytest.mark.parametrize("role", ALL)
def test_admins_and_owners_give_every_role(giver: Role, role: Role) -> None:
    check_gives(principal(giver), role, None)


@pytest.mark.parametrize("giver", [Role.BILLING, Role.AUDITOR, Role.MEMBER])
@pytest.mark.parametrize("role", ALL)
def test_others_give_none(giver: Role, role: Role) -> None:
    with pytest.raises(NotAllowed):
        check_gives(principal(giver, leads=("research",)), role, "research")


@pytest.mark.parametrize(
    ("role", "team", "given"),
    [
        (Role.LEAD, "research", True),
        (Role.MEMBER, "research", True),
        (Role.MEMBER, "sales", False),
        (Role.OWNER, None, False),
        (Role.OWNER, "research", False),
        (Role.BILLING, None, False),
    ],
)
def test_leads_give_roles_in_their_own_teams(role: Role, team: str | None, given: bool) -> None:
    try:
        check_gives(principal(Role.LEAD, leads=("research",)), role, team)
        assert given
    except NotAllowed:
        assert not given


@pytest.mark.parametrize(
    ("target", "managed", "taken_in"),
    [
        (standing(Role.MEMBER, teams=("research",)), True, True),
        (standing(Role.LEAD, teams=("research",), leads=("research",)), True, True),
        (standing(Role.MEMBER), False, True),
        (standing(Role.MEMBER, teams=("research", "sales")), False, False),
        (standing(Role.MEMBER, Role.OWNER, teams=("research",)), False, False),
        (standing(Role.AUDITOR), False, False),
    ],
)
def test_whom_a_lead_manages_and_takes_in(target: Standing, managed: bool, taken_in: bool) -> None:
    lead = principal(Role.LEAD, leads=("research",))
    assert (manages(lead, target), takes_in(lead, target)) == (managed, taken_in)
    assert manages(principal(Role.OWNER), target)


@pytest.mark.parametrize(
    ("asker", "target", "within"),
    [
        (principal(Role.OWNER), standing(Role.OWNER, Role.BILLING), True),
        (principal(Role.BILLING), standing(Role.BILLING), True),
        (principal(Role.BILLING), standing(Role.AUDITOR), False),
        (principal(Role.MEMBER), standing(Role.OWNER), False),
        (principal(Role.LEAD, leads=("a",)), standing(Role.LEAD, teams=("a", "b"), leads=("a", "b")), False),
        (principal(Role.LEAD, leads=("a",)), standing(Role.MEMBER, teams=("a",)), True),
    ],
)
def test_a_secret_that_acts_with_a_role_is_given_to_who_has_it(
    asker: Principal, target: Standing, within: bool
) -> None:
    assert acts_within(asker, target) is within
