"""A lead may not loosen what binds the lead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.budgets.model import Grace, Limit, Scope, Window
from gateway.errors import NotAllowed
from gateway.identity.limit_rights import check_change, tighter
from gateway.identity.postgres_places import Place
from gateway.identity.roles import Principal, Reach, Role
from gateway.identity.standing import Standing

LEAD = Principal("user:acme/lea", frozenset({Role.LEAD}), "acme", "lea", leads=frozenset({"research"}))
OF_LEAD = Reach("acme", frozenset({"research"}), frozenset({"lea"}), frozenset())
TEAM = Place(frozenset({"research"}))


def somebody(user: str, *held: tuple[str | None, Role]) -> Place:
    standing = Standing.of(held)
    return Place(standing.teams, user, standing=standing)


ADA, LEA = somebody("ada", ("research", Role.MEMBER)), somebody("lea", ("research", Role.LEAD))


def limit(amount: int = 100, scope: Scope = Scope.USER, **more: object) -> Limit:
    return Limit(scope, "x", Window.DAY, amount, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, limit()), (limit(100), limit(200)), (limit(100), None), (limit(100), limit(100, enforce=False))],
)
def test_a_lead_does_as_they_like_with_limits_of_others_in_the_team(
    before: Limit | None, after: Limit | None
) -> None:
    check_change(LEAD, OF_LEAD, ADA, before, after)


@pytest.mark.parametrize("place", [TEAM, LEA])
@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (None, limit(), True),
        (limit(100), limit(90), True),
        (limit(100), limit(100), True),
        (limit(100), limit(101), False),
        (limit(100), None, False),
        (limit(100), limit(90, enforce=False), False),
        (limit(100), limit(100, grace=Grace(1, 1)), False),
        (limit(100, grace=Grace(10, 10)), limit(100, grace=Grace(10, 20)), False),
        (limit(100, enforce=False), limit(100), True),
        (None, limit(alerts=(50,)), True),
        (None, limit(alerts=()), False),
        (limit(100), limit(90, alerts=()), False),
        (limit(100), limit(100, alerts=(100,)), False),
        (limit(100, alerts=(50, 90)), limit(90, alerts=(50, 90)), True),
        (limit(100, alerts=(50, 90)), limit(90), False),
    ],
)
def test_what_binds_the_lead_may_only_become_tighter(
    place: Place, before: Limit | None, after: Limit | None, allowed: bool
) -> None:
    scope = Scope.TEAM if place is TEAM else Scope.USER
    sides = [None if side is None else replace(side, scope=scope) for side in (before, after)]
    assert tighter(*sides) is allowed
    if allowed:
        check_change(LEAD, OF_LEAD, place, *sides)
    else:
        with pytest.raises(NotAllowed):
            check_change(LEAD, OF_LEAD, place, *sides)


@pytest.mark.parametrize(
    "place",
    [
        somebody("olga", ("research", Role.MEMBER), (None, Role.OWNER)),
        somebody("bob", ("research", Role.MEMBER), ("sales", Role.MEMBER)),
    ],
)
@pytest.mark.parametrize(("before", "after"), [(None, limit(0)), (limit(100), limit(90)), (limit(100), None)])
def test_a_lead_sets_no_limit_of_whom_they_do_not_manage_but_of_their_keys_in_the_team(
    place: Place, before: Limit | None, after: Limit | None
) -> None:
    with pytest.raises(NotAllowed, match="ask an owner"):
        check_change(LEAD, OF_LEAD, place, before, after)
    of_key = [None if side is None else replace(side, scope=Scope.KEY) for side in (before, after)]
    check_change(LEAD, OF_LEAD, Place(frozenset({"research"}), place.user, "key-1"), *of_key)


def test_who_reaches_the_whole_organisation_may_loosen_anything() -> None:
    owner = Principal("user:acme/olga", frozenset({Role.OWNER}), "acme", "olga")
    check_change(owner, Reach("acme"), TEAM, limit(1, Scope.TEAM), None)
