"""Which grants pay for what: laws that hold for any grants and any usage."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.burning import GrantKind, OpenGrant, burn, burn_order, expired

START = datetime(2026, 3, 1, tzinfo=UTC)


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


def grant(
    name: str,
    left: int = 100,
    *,
    kind: GrantKind = GrantKind.PURCHASE,
    priority: int = 100,
    expires: int | None = None,
    created: int = 0,
) -> OpenGrant:
    return OpenGrant(
        name, kind, priority, None if expires is None else minute(expires), minute(-100 + created), left
    )


EXPIRIES = st.sampled_from([None, 2, 5, 8])
GRANTS = st.lists(
    st.builds(
        lambda left, kind, priority, expires, created: (left, kind, priority, expires, created),
        st.integers(1, 60),
        st.sampled_from([GrantKind.PURCHASE, GrantKind.PROMOTION]),
        st.sampled_from([1, 100]),
        EXPIRIES,
        st.integers(0, 3),
    ),
    max_size=5,
)
USAGE = st.lists(st.tuples(st.integers(0, 10), st.integers(1, 50)), max_size=8)


def made(
    drawn: list[tuple[int, GrantKind, int, int | None, int]], one_priority: bool = False
) -> list[OpenGrant]:
    return [
        grant(
            f"g{number}",
            left,
            kind=kind,
            priority=100 if one_priority else priority,
            expires=expires,
            created=created,
        )
        for number, (left, kind, priority, expires, created) in enumerate(drawn)
    ]


def test_the_order_is_priority_expiry_promotion_age_id() -> None:
    in_order = [
        grant("z", priority=1),
        grant("y", expires=5),
        grant("x", expires=9),
        grant("w", kind=GrantKind.PROMOTION, created=9),
        grant("v", created=1),
        grant("a", created=2),
        grant("b", created=2),
    ]
    shuffled = in_order[:]
    random.Random(1).shuffle(shuffled)
    assert sorted(shuffled, key=burn_order) == in_order


@pytest.mark.parametrize(("began", "paid"), [(4, True), (5, False)])
def test_a_grant_pays_for_what_began_before_its_expiry_and_for_nothing_at_it(began: int, paid: bool) -> None:
    burned = burn([grant("a", expires=5)], [(minute(began), 10)])
    assert (dict(burned.taken), burned.owed) == (({"a": 10}, 0) if paid else ({}, 10))


@pytest.mark.parametrize(("now", "dead"), [(4, 0), (5, 1), (6, 1)])
def test_at_its_expiry_a_grant_is_dead(now: int, dead: int) -> None:
    assert len(expired([grant("a", expires=5), grant("b")], minute(now))) == dead


@given(GRANTS, USAGE)
def test_every_microcredit_of_usage_is_paid_or_owed_and_no_grant_gives_more_than_it_has(
    drawn: list[tuple[int, GrantKind, int, int | None, int]], usage: list[tuple[int, int]]
) -> None:
    grants = made(drawn)
    before = {one.grant_id: one.left for one in grants}
    burned = burn(grants, [(minute(at), amount) for at, amount in usage])
    assert sum(burned.taken.values()) + burned.owed == sum(amount for _, amount in usage)
    for one in grants:
        assert one.left == before[one.grant_id] - burned.taken.get(one.grant_id, 0) >= 0


@given(GRANTS, USAGE, st.randoms(use_true_random=False), st.integers(0, 10))
def test_when_usage_becomes_known_does_not_change_where_it_ends(
    drawn: list[tuple[int, GrantKind, int, int | None, int]],
    usage: list[tuple[int, int]],
    chance: random.Random,
    expiry_after: int,
) -> None:
    """With grants of one priority: those that expire sooner are used first, so nothing is gained by order."""
    in_time, late = made(drawn, one_priority=True), made(drawn, one_priority=True)
    owed = []
    for grants, order in ((in_time, sorted(usage)), (late, chance.sample(usage, len(usage)))):
        owed.append(0)
        for number, (at, amount) in enumerate(order):
            if number == expiry_after and grants is late:
                break_off(grants)
            owed[-1] += burn(grants, [(minute(at), amount)]).owed
        break_off(grants)
    assert owed[0] == owed[1]
    assert sum(one.broken for one in in_time) == sum(one.broken for one in late)
    assert [one.left for one in in_time] == [one.left for one in late]


def break_off(grants: list[OpenGrant]) -> None:
    for dead in expired(grants, minute(10)):
        dead.broken, dead.left = dead.broken + dead.left, 0


def test_late_usage_takes_back_no_more_than_its_part() -> None:
    grants = [grant("a", 100, expires=5)]
    break_off(grants)
    burned = burn(grants, [(minute(3), 30)])
    assert (dict(burned.taken), dict(burned.taken_back)) == ({"a": 30}, {"a": 30})
    assert (grants[0].left, grants[0].broken) == (0, 70)
