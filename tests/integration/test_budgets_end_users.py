"""Each end user has a limit of their own: in memory and in Redis, under concurrency, from the middle of a window."""

from __future__ import annotations

import asyncio

import pytest
import redis

from gateway.budgets.keyspace import partition_keys
from gateway.budgets.model import Outcome, Scope, Subject, Window
from gateway.budgets.plan import END_USER_RETENTION_MS
from gateway.errors import BudgetContended, BudgetExceeded
from tests.integration.test_budgets_behaviour import Setup, Start, start, url_of_redis  # noqa: F401
from tests.integration.test_budgets_seeding import Fleet, fleet  # noqa: F401
from tests.unit.budgets.making import ADA, ask_for, directory_of, limit_on

ZOE = ADA._replace(end_user="zoe")
YAN = ADA._replace(end_user="yan")
SERVICE = Subject("acme", None, None, "service", "zoe")
EACH_OF_TEAM = limit_on(Scope.TEAM, "research", 100, Window.DAY, each_end_user=True)
EACH_OF_ORG = limit_on(Scope.ORG, "acme", 150, Window.MONTH, each_end_user=True)


async def spend(setup: Setup, subject: Subject, amount: int) -> None:
    ask = ask_for(amount, subject=subject)
    grant = await setup.holds.hold(ask)
    assert (await setup.holds.settle(grant, ask, amount, b"{}")).outcome is Outcome.DONE


async def test_one_end_user_s_spending_leaves_the_others_theirs(start: Start) -> None:  # noqa: F811
    setup = await start(directory_of([EACH_OF_TEAM]))
    await spend(setup, ZOE, 90)
    with pytest.raises(BudgetExceeded) as refused:
        await setup.holds.hold(ask_for(20, subject=ZOE))
    assert "daily limit of end user zoe of team research" in refused.value.message
    detail = refused.value.detail
    assert (detail["scope"], detail["scope_id"], detail["within"]) == ("end_user", "zoe", "team research")
    assert (await setup.holds.hold(ask_for(20, subject=YAN))).remaining == 80
    assert (await setup.holds.hold(ask_for(500))).remaining is None, (
        "whom no end user is named for is not limited"
    )


async def test_all_that_limit_an_end_user_are_held_in_one_step_or_none(start: Start) -> None:  # noqa: F811
    team = limit_on(Scope.TEAM, "research", 120, Window.DAY)
    setup = await start(directory_of([EACH_OF_TEAM, EACH_OF_ORG, team]))
    await spend(setup, SERVICE, 80)  # of no team: only the org's
    assert (await setup.holds.hold(ask_for(60, subject=ZOE))).remaining == 10
    with pytest.raises(BudgetContended):
        await setup.holds.hold(ask_for(20, subject=ZOE))
    held = {(c.scope, c.end_user): c.held async for c in setup.counters() if c.window is not Window.TOTAL}
    assert held == {
        (Scope.TEAM, "zoe"): 60,
        (Scope.ORG, "zoe"): 60,
        (Scope.TEAM, None): 60,
    }


async def test_an_end_user_that_nothing_limits_is_counted_nowhere(start: Start) -> None:  # noqa: F811
    setup = await start(directory_of([limit_on(Scope.TEAM, "research", 100, Window.DAY)]))
    await spend(setup, ZOE, 10)
    assert [c.end_user async for c in setup.counters()] == [None, None]


async def test_the_reaper_charges_the_end_user_too(start: Start) -> None:  # noqa: F811
    setup = await start(directory_of([EACH_OF_TEAM]), hold_ttl_s=0.0)
    await setup.holds.hold(ask_for(60, subject=ZOE))
    assert await setup.holds.reap() == 1
    [counter] = [c async for c in setup.counters() if c.end_user is not None]
    assert (counter.end_user, counter.settled, counter.held) == ("zoe", 60, 0)


async def test_no_end_user_passes_their_limit_however_many_ask_at_once(start: Start) -> None:  # noqa: F811
    setup = await start(directory_of([EACH_OF_TEAM]))
    names = [f"user-{number}" for number in range(8)]

    async def call(name: str) -> int:
        ask = ask_for(7, subject=ADA._replace(end_user=name))
        try:
            grant = await setup.holds.hold(ask)
        except (BudgetExceeded, BudgetContended):
            return 0
        await setup.holds.settle(grant, ask, 7, b"{}")
        return 7

    spent = await asyncio.gather(*(call(name) for _ in range(40) for name in names))
    assert sum(spent) == len(names) * 98, "each has used 14 x 7 of 100 and not one more"
    counters = [c async for c in setup.counters() if c.end_user is not None]
    assert {c.end_user for c in counters} == set(names)
    assert {(c.settled, c.held, c.open_holds) for c in counters} == {(98, 0, 0)}


# ------------------------------------------------------------------ in Redis alone


async def test_a_new_limit_of_end_users_starts_from_what_each_has_spent(fleet: Fleet) -> None:  # noqa: F811
    gateway = await fleet.gateway(directory_of())
    for subject, amount in ((ZOE, 30), (YAN, 5), (ADA, 400)):
        ask = ask_for(amount, subject=subject)
        await gateway.holds.settle(await gateway.holds.hold(ask), ask, amount, b"{}")
    open_ask = ask_for(20, subject=ZOE)
    open_grant = await gateway.holds.hold(open_ask)
    await gateway.holds.set_directory(directory_of([EACH_OF_TEAM], version=2))
    assert (await gateway.holds.hold(ask_for(10, subject=ZOE))).remaining == 40
    assert (await gateway.holds.hold(ask_for(10, subject=YAN))).remaining == 85
    await gateway.holds.settle(open_grant, open_ask, 15, b"{}")
    [zoe] = [c async for c in gateway.books.counters() if c.end_user == "zoe"]
    assert (zoe.settled, zoe.held) == (45, 10)
    assert {query.end_user for query in fleet.ledger.queries} == {"zoe", "yan", None}


async def test_counters_of_end_users_are_forgotten_three_days_after_their_window(fleet: Fleet) -> None:  # noqa: F811
    gateway = await fleet.gateway(directory_of([EACH_OF_TEAM]))
    await gateway.holds.hold(ask_for(10, subject=ZOE))
    [zoe] = [c async for c in gateway.books.counters() if c.end_user == "zoe"]
    assert zoe.end_us is not None
    keys = partition_keys(0)
    with redis.Redis.from_url(fleet.url) as client:
        [key] = [key for key in client.zrange(keys.counter_index, 0, -1) if key.endswith(b"|zoe")]
        left_ms = client.pttl(key) - (zoe.end_us / 1000 - int(client.time()[0]) * 1000)
    assert abs(left_ms - END_USER_RETENTION_MS) < 60_000
