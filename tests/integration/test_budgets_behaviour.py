"""What holds promise, shown on both implementations: the one in memory and the one in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from gateway.budgets.balances import BalanceChange
from gateway.budgets.directory import Directory
from gateway.budgets.memory import MemoryHolds
from gateway.budgets.model import Grace, Outcome, Scope, State, Subject, Window
from gateway.budgets.ports import CounterReading, EmptyLedger
from gateway.budgets.redis_books import RedisBooks
from gateway.budgets.redis_holds import RedisHolds
from gateway.budgets.refusals import AlreadyResolved
from gateway.budgets.rules import HELD_MOST
from gateway.errors import (
    BudgetContended,
    BudgetExceeded,
    RateLimited,
    RevokedKey,
    TooManyOpenCalls,
)
from gateway.settings.limits import MICROCREDITS_MAX
from gateway.stores.redis import RedisStore
from tests.unit.budgets.making import ADA, ask_for, directory_of, key_limit, limit_on

Holds = MemoryHolds | RedisHolds


@dataclass
class Setup:
    """An implementation under test, and how to look inside."""

    holds: Holds
    counters: Callable[[], AsyncIterator[CounterReading]]
    change_balance: Callable[[BalanceChange], Awaitable[bool]]

    async def counter(self, scope: Scope, window: Window = Window.TOTAL) -> CounterReading:
        found = [c async for c in self.counters() if (c.scope, c.window) == (scope, window)]
        assert len(found) == 1, found
        return found[0]


Start = Callable[..., Awaitable[Setup]]


@pytest.fixture(params=["memory", "redis"])
def url_of_redis(request: pytest.FixtureRequest) -> str | None:
    """None: in memory."""
    return str(request.getfixturevalue("redis_url")) if request.param == "redis" else None


@pytest.fixture
async def start(url_of_redis: str | None) -> AsyncIterator[Start]:
    closing: list[Callable[[], Awaitable[None]]] = []

    async def in_memory(directory: Directory, hold_ttl_s: float = 60.0) -> Setup:
        holds = MemoryHolds(directory, hold_ttl_s=hold_ttl_s)

        async def change(made: BalanceChange) -> bool:
            return await holds.change_balance("acme", made)

        return Setup(holds, lambda: holds.counters("acme"), change)

    async def in_redis(directory: Directory, hold_ttl_s: float = 60.0) -> Setup:
        assert url_of_redis is not None
        store = RedisStore(url_of_redis)
        holds = RedisHolds(store, directory, EmptyLedger(), partitions=4, hold_ttl_s=hold_ttl_s)
        closing.extend([holds.close, store.close])
        await holds.start()
        books = RedisBooks(store, partitions=4)

        async def change(made: BalanceChange) -> bool:
            return await holds.balances.change("acme", made)

        return Setup(holds, books.counters, change)

    yield in_memory if url_of_redis is None else in_redis
    for close in closing:
        await close()


# ------------------------------------------------------------------ holding and settling


async def test_a_settlement_replaces_the_hold_by_the_cost_in_every_counter(start: Start) -> None:
    setup = await start(directory_of([key_limit(1000), limit_on(Scope.TEAM, "research", 2000, Window.DAY)]))
    ask = ask_for(100, 50)
    grant = await setup.holds.hold(ask)
    assert grant.amount == 150
    assert grant.remaining == 850
    held = await setup.counter(Scope.KEY)
    assert (held.settled, held.held, held.open_holds) == (0, 150, 1)
    settled = await setup.holds.settle(grant, ask, 120, b"{}")
    assert (settled.outcome, settled.remaining) == (Outcome.DONE, 880)
    for scope, window in ((Scope.KEY, Window.TOTAL), (Scope.TEAM, Window.DAY), (Scope.ORG, Window.TOTAL)):
        counter = await setup.counter(scope, window)
        assert (counter.settled, counter.held, counter.open_holds) == (120, 0, 0)


async def test_the_orgs_total_is_counted_even_without_any_limit(start: Start) -> None:
    setup = await start(directory_of())
    ask = ask_for(10, 5)
    grant = await setup.holds.hold(ask)
    assert grant.remaining is None
    await setup.holds.settle(grant, ask, 7, b"{}")
    assert (await setup.counter(Scope.ORG)).settled == 7


async def test_an_org_that_no_file_names_is_counted_too(start: Start) -> None:
    setup = await start(Directory({}))
    ask = ask_for(10)
    grant = await setup.holds.hold(ask)
    await setup.holds.settle(grant, ask, 3, b"{}")
    assert (await setup.counter(Scope.ORG)).settled == 3


async def test_a_second_settlement_changes_nothing_and_says_so(start: Start) -> None:
    setup = await start(directory_of([key_limit(1000)]))
    ask = ask_for(100)
    grant = await setup.holds.hold(ask)
    await setup.holds.settle(grant, ask, 60, b"{}")
    again = await setup.holds.settle(grant, ask, 99, b"{}")
    assert again.outcome is Outcome.DUPLICATE
    assert (await setup.counter(Scope.KEY)).settled == 60


async def test_a_cost_above_the_hold_is_posted_as_it_is(start: Start) -> None:
    setup = await start(directory_of([key_limit(100)]))
    ask = ask_for(100)
    grant = await setup.holds.hold(ask)
    settled = await setup.holds.settle(grant, ask, 130, b"{}")
    assert settled.remaining == -30
    assert (await setup.counter(Scope.KEY)).settled == 130


async def test_a_release_gives_everything_back_and_a_late_settlement_is_a_no_op(start: Start) -> None:
    setup = await start(directory_of([key_limit(100)]))
    ask = ask_for(100)
    grant = await setup.holds.hold(ask)
    assert await setup.holds.release(ask.request_id, "acme") is Outcome.DONE
    assert await setup.holds.release(ask.request_id, "acme") is Outcome.DUPLICATE
    assert (await setup.holds.settle(grant, ask, 50, b"{}")).outcome is Outcome.DUPLICATE
    assert (await setup.holds.hold(ask_for(100))).amount == 100


async def test_asking_again_under_the_same_id_takes_one_hold(start: Start) -> None:
    setup = await start(directory_of([key_limit(1000)]))
    ask = ask_for(100)
    first = await setup.holds.hold(ask)
    again = await setup.holds.hold(ask)
    assert (again.amount, again.started_at_us) == (first.amount, first.started_at_us)
    assert (await setup.counter(Scope.KEY)).held == 100


async def test_an_id_that_was_resolved_cannot_be_held_again(start: Start) -> None:
    setup = await start(directory_of())
    ask = ask_for(1)
    await setup.holds.release(ask.request_id, "acme")
    with pytest.raises(AlreadyResolved):
        await setup.holds.hold(ask)


async def test_all_or_nothing_over_every_limit(start: Start) -> None:
    limits = [key_limit(1000), limit_on(Scope.ORG, "acme", 50, Window.MONTH)]
    setup = await start(directory_of(limits))
    await setup.holds.hold(ask_for(10))
    with pytest.raises(BudgetExceeded):
        await setup.holds.hold(ask_for(60))
    assert (await setup.counter(Scope.KEY)).held == 10


async def test_a_storm_never_passes_the_limit_and_leaves_nothing_unused(start: Start) -> None:
    setup = await start(directory_of([key_limit(1000)]))
    results = await asyncio.gather(
        *(setup.holds.hold(ask_for(10)) for _ in range(300)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, BaseException)]
    assert len(refused) == 200
    assert {type(error) for error in refused} == {BudgetContended}
    assert (await setup.counter(Scope.KEY)).held == 1000


# ------------------------------------------------------------------ elastic holds


async def test_plenty_of_room_grants_the_most(start: Start) -> None:
    setup = await start(directory_of([key_limit(10_000)]))
    assert (await setup.holds.hold(ask_for(100, 10, 900))).amount == 1000


async def test_short_room_is_shared_with_those_that_are_open(start: Start) -> None:
    setup = await start(directory_of([key_limit(1000)]))
    await setup.holds.hold(ask_for(400))
    # 600 are left and one other call is open: half of it, 300, less the fixed 100.
    assert (await setup.holds.hold(ask_for(100, 10, 64_000))).amount == 300


async def test_short_room_never_grants_less_than_the_least(start: Start) -> None:
    setup = await start(directory_of([key_limit(1000)]))
    for _ in range(9):
        await setup.holds.hold(ask_for(100))
    assert (await setup.holds.hold(ask_for(50, 50, 64_000))).amount == 100


async def test_the_tightest_limit_decides(start: Start) -> None:
    setup = await start(directory_of([key_limit(10_000), limit_on(Scope.USER, "ada", 300, Window.WEEK)]))
    grant = await setup.holds.hold(ask_for(100, 10, 5000))
    assert (grant.amount, grant.remaining) == (300, 0)


async def test_amounts_are_exact_to_the_last_microcredit_up_to_2_to_the_53rd(start: Start) -> None:
    most = 2**53
    setup = await start(directory_of([key_limit(most)]))
    ask = ask_for(most - 1)
    grant = await setup.holds.hold(ask)
    await setup.holds.settle(grant, ask, most - 1, b"{}")
    last = await setup.holds.hold(ask_for(1))
    assert last.remaining == 0
    with pytest.raises(BudgetContended):
        await setup.holds.hold(ask_for(1))
    assert (await setup.counter(Scope.KEY)).settled == most - 1


async def test_an_ask_that_contradicts_itself_is_refused(start: Start) -> None:
    setup = await start(directory_of())
    for ask in (ask_for(-1), ask_for(0, 5, 4), ask_for(2**53, 0, 1)):
        with pytest.raises(ValueError, match="cannot hold"):
            await setup.holds.hold(ask)
    ask = ask_for(1)
    grant = await setup.holds.hold(ask)
    with pytest.raises(ValueError, match="cannot be charged"):
        await setup.holds.settle(grant, ask, -1, b"{}")


# ------------------------------------------------------------------ refusals


async def spend(setup: Setup, amount: int) -> None:
    ask = ask_for(amount)
    await setup.holds.settle(await setup.holds.hold(ask), ask, amount, b"{}")


async def test_exhausted_names_limit_scope_amount_and_reset(start: Start) -> None:
    setup = await start(directory_of([limit_on(Scope.USER, "ada", 2_500_000, Window.DAY, operation="chat")]))
    await spend(setup, 2_000_000)
    with pytest.raises(BudgetExceeded) as refused:
        await setup.holds.hold(ask_for(600_000))
    message, detail = refused.value.message, refused.value.detail
    assert "daily limit of user ada (operation chat)" in message
    assert "2 of 2.5 credits" in message
    assert "00:00 (Europe/Paris)" in message
    assert refused.value.retry_after_s is None
    assert detail["kind"] == "exhausted"
    assert (detail["limit_microcredits"], detail["settled_microcredits"]) == (2_500_000, 2_000_000)
    assert (detail["scope"], detail["scope_id"], detail["window"]) == ("user", "ada", "day")


async def test_contended_when_only_holds_are_in_the_way(start: Start) -> None:
    setup = await start(directory_of([key_limit(100)]))
    await setup.holds.hold(ask_for(80))
    with pytest.raises(BudgetContended) as refused:
        await setup.holds.hold(ask_for(30))
    assert 1 <= (refused.value.retry_after_s or 0) <= 30


async def test_exhausted_wins_over_contended(start: Start) -> None:
    limits = [key_limit(100), limit_on(Scope.ORG, "acme", 90, Window.MONTH)]
    setup = await start(directory_of(limits))
    await spend(setup, 60)
    await setup.holds.hold(ask_for(30))
    # The key's 40 unspent would do once the hold is gone; the org's month has 30 unspent, which never will.
    with pytest.raises(BudgetExceeded, match="monthly limit of org acme"):
        await setup.holds.hold(ask_for(35))


async def test_a_request_larger_than_the_limit_is_told_that_it_never_fits(start: Start) -> None:
    setup = await start(directory_of([key_limit(100)]))
    with pytest.raises(BudgetExceeded, match="never fits"):
        await setup.holds.hold(ask_for(50, 51))


async def test_a_refusal_says_what_is_left_and_what_would_be_needed(start: Start) -> None:
    """A limit that has something left is not used up; with grace, the limit that people know is named too."""
    grace = Grace(percent=10, minutes=60)
    images = limit_on(Scope.KEY, ADA.key, 50_000, Window.DAY, operation="image", grace=grace)
    setup = await start(directory_of([key_limit(250_000), images]))
    with pytest.raises(BudgetExceeded, match=r"is 0\.05 credits \(0\.055 with grace\)"):
        await setup.holds.hold(ask_for(60_000, operation="image"))
    await spend(setup, 102_340)
    with pytest.raises(BudgetExceeded, match=r"0\.10234 of 0\.25 credits are spent") as refused:
        await setup.holds.hold(ask_for(200_000))
    assert "needs at least 0.2 where 0.14766 are left" in refused.value.message
    assert "used up" not in refused.value.message
    await spend(setup, 147_660)
    with pytest.raises(BudgetExceeded, match=r"is used up: 0\.25 of 0\.25 credits are spent"):
        await setup.holds.hold(ask_for(1))


async def test_a_refusal_takes_nothing_and_the_same_id_may_try_again(start: Start) -> None:
    setup = await start(directory_of([key_limit(100)]))
    first = ask_for(100)
    grant = await setup.holds.hold(first)
    second = ask_for(50)
    with pytest.raises(BudgetContended):
        await setup.holds.hold(second)
    await setup.holds.settle(grant, first, 10, b"{}")
    assert (await setup.holds.hold(second)).amount == 50


async def test_a_limit_on_one_operation_leaves_others_alone(start: Start) -> None:
    setup = await start(directory_of([limit_on(Scope.TEAM, "research", 10, operation="image")]))
    with pytest.raises(BudgetExceeded):
        await setup.holds.hold(ask_for(20, operation="image"))
    assert (await setup.holds.hold(ask_for(20, operation="chat"))).amount == 20


async def test_a_limit_on_models_follows_its_wildcard(start: Start) -> None:
    setup = await start(directory_of([limit_on(Scope.TEAM, "research", 10, model="gpt-4*")]))
    with pytest.raises(BudgetExceeded, match=r"model gpt-4\*"):
        await setup.holds.hold(ask_for(20, model="gpt-4o-mini"))
    assert (await setup.holds.hold(ask_for(20, model="o3"))).amount == 20


async def test_names_with_any_characters_keep_their_counters_apart(start: Start) -> None:
    odd = Subject("acme", "a|b c", "x{y}\n", "k:%7C")
    limits = [limit_on(Scope.TEAM, "a|b c", 100), limit_on(Scope.KEY, "k:%7C", 50)]
    setup = await start(directory_of(limits))
    ask = ask_for(40, subject=odd, model="m |\n{p}")
    grant = await setup.holds.hold(ask)
    await setup.holds.settle(grant, ask, 40, b"{}")
    team = await setup.counter(Scope.TEAM)
    assert (team.scope_id, team.settled) == ("a|b c", 40)
    with pytest.raises(BudgetExceeded, match="k:%7C"):
        await setup.holds.hold(ask_for(20, subject=odd))


# ------------------------------------------------------------------ shadow and grace


async def test_a_shadow_limit_refuses_nothing_and_says_what_it_would_have(start: Start) -> None:
    setup = await start(directory_of([key_limit(100, enforce=False)]))
    first = await setup.holds.hold(ask_for(80))
    assert first.shadow == ()
    second = await setup.holds.hold(ask_for(80))
    assert second.shadow == ("total limit of key ada-laptop",)
    assert second.remaining is None
    assert (await setup.counter(Scope.KEY)).held == 160


async def test_grace_lets_a_limit_be_passed_by_its_percentage_and_no_further(start: Start) -> None:
    limit = limit_on(Scope.KEY, ADA.key, 1000, Window.DAY, grace=Grace(percent=10, minutes=60))
    setup = await start(directory_of([limit]))
    await spend(setup, 980)
    assert (await setup.counter(Scope.KEY, Window.DAY)).grace_start_us is None
    over = await setup.holds.hold(ask_for(50))
    assert over.grace == ("daily limit of key ada-laptop",)
    assert (await setup.counter(Scope.KEY, Window.DAY)).grace_start_us is not None
    with pytest.raises(BudgetExceeded):
        await setup.holds.hold(ask_for(121))
    # 1,100 with grace, less 980 spent and 50 held.
    assert (await setup.holds.hold(ask_for(70))).remaining == 0


async def test_grace_does_not_start_for_what_only_other_holds_stand_in_the_way_of(start: Start) -> None:
    limit = limit_on(Scope.KEY, ADA.key, 1000, Window.DAY, grace=Grace(percent=10, minutes=60))
    setup = await start(directory_of([limit]))
    await setup.holds.hold(ask_for(990))
    with pytest.raises(BudgetContended):
        await setup.holds.hold(ask_for(50))
    assert (await setup.counter(Scope.KEY, Window.DAY)).grace_start_us is None


# ------------------------------------------------------------------ keys


async def test_a_revoked_key_holds_nothing(start: Start) -> None:
    setup = await start(directory_of())
    await setup.holds.revoke("acme", ADA.key)
    with pytest.raises(RevokedKey):
        await setup.holds.hold(ask_for(1))
    await setup.holds.reinstate("acme", ADA.key)
    assert (await setup.holds.hold(ask_for(1))).amount == 1


async def test_requests_in_any_minute_are_bounded(start: Start) -> None:
    setup = await start(directory_of())
    for _ in range(3):
        await setup.holds.hold(ask_for(1, requests_per_minute=3))
    with pytest.raises(RateLimited) as refused:
        await setup.holds.hold(ask_for(1, requests_per_minute=3))
    assert 59 <= (refused.value.retry_after_s or 0) <= 60


async def test_open_calls_are_bounded_and_freed_by_every_ending(start: Start) -> None:
    setup = await start(directory_of())
    first, second = ask_for(1, open_calls_max=2), ask_for(1, open_calls_max=2)
    grant = await setup.holds.hold(first)
    await setup.holds.hold(second)
    with pytest.raises(TooManyOpenCalls):
        await setup.holds.hold(ask_for(1, open_calls_max=2))
    await setup.holds.settle(grant, first, 1, b"{}")
    await setup.holds.release(second.request_id, "acme")
    for _ in range(2):
        await setup.holds.hold(ask_for(1, open_calls_max=2))


async def test_more_than_a_counter_can_hold_is_refused_whole(start: Start) -> None:
    setup = await start(directory_of([key_limit(5, enforce=False)]))
    bob = ADA._replace(user="bob", key="bob-laptop")
    asks = [ask_for(MICROCREDITS_MAX, subject=bob) for _ in range(HELD_MOST // MICROCREDITS_MAX - 1)]
    await asyncio.gather(*map(setup.holds.hold, asks))
    with pytest.raises(BudgetContended, match="no room right now"):
        await setup.holds.hold(ask_for(MICROCREDITS_MAX))
    await asyncio.gather(*(setup.holds.release(ask.request_id, "acme") for ask in asks))
    assert [(c.held, c.open_holds) async for c in setup.counters() if c.held or c.open_holds] == []


# ------------------------------------------------------------------ deadlines


async def test_the_reaper_charges_what_was_held_once(start: Start) -> None:
    setup = await start(directory_of([key_limit(1000)]), hold_ttl_s=0.0)
    ask = ask_for(100, 20)
    grant = await setup.holds.hold(ask)
    assert await setup.holds.reap() == 1
    assert await setup.holds.reap() == 0
    assert (await setup.counter(Scope.KEY)).settled == 120
    assert (await setup.counter(Scope.KEY)).held == 0
    late = await setup.holds.settle(grant, ask, 5, b"{}")
    assert (late.outcome, late.state) == (Outcome.DUPLICATE, State.REAPED)
    assert (await setup.counter(Scope.KEY)).settled == 120


async def test_a_hold_within_its_deadline_is_not_reaped(start: Start) -> None:
    setup = await start(directory_of())
    await setup.holds.hold(ask_for(100))
    assert await setup.holds.reap() == 0


async def test_renewing_says_which_holds_are_gone(start: Start) -> None:
    setup = await start(directory_of())
    ask = ask_for(1)
    await setup.holds.hold(ask)
    assert await setup.holds.renew([("acme", ask.request_id), ("acme", "never-held")]) == {"never-held"}
    await setup.holds.release(ask.request_id, "acme")
    assert await setup.holds.renew([("acme", ask.request_id)]) == {ask.request_id}


async def test_extending_takes_what_there_is_or_nothing(start: Start) -> None:
    setup = await start(directory_of([key_limit(1000)]))
    ask = ask_for(600)
    grant = await setup.holds.hold(ask)
    assert await setup.holds.extend(grant, ask, 300, 100) == 300
    assert await setup.holds.extend(grant, ask, 300, 100) == 100
    assert await setup.holds.extend(grant, ask, 300, 100) is None
    assert (await setup.counter(Scope.KEY)).held == 1000
    await setup.holds.settle(grant, ask, 1000, b"{}")
    assert (await setup.counter(Scope.KEY)).held == 0
    with pytest.raises(AlreadyResolved):
        await setup.holds.extend(grant, ask, 1, 1)


# ------------------------------------------------------------------ changed limits


async def test_a_raised_limit_takes_effect_at_once_over_what_was_spent(start: Start) -> None:
    setup = await start(directory_of([key_limit(100)]))
    await spend(setup, 90)
    with pytest.raises(BudgetExceeded):
        await setup.holds.hold(ask_for(20))
    await setup.holds.set_directory(directory_of([key_limit(200)], version=2))
    assert (await setup.holds.hold(ask_for(20))).remaining == 90


async def test_a_new_limit_counts_what_is_in_flight(start: Start) -> None:
    setup = await start(directory_of())
    ask = ask_for(70)
    grant = await setup.holds.hold(ask)
    await setup.holds.set_directory(directory_of([key_limit(100)], version=2))
    with pytest.raises(BudgetContended):
        await setup.holds.hold(ask_for(40))
    await setup.holds.settle(grant, ask, 50, b"{}")
    counter = await setup.counter(Scope.KEY)
    assert (counter.settled, counter.held, counter.open_holds) == (50, 0, 0)
    assert (await setup.holds.hold(ask_for(40))).remaining == 10


async def test_limits_set_by_an_operator_take_effect(start: Start) -> None:
    setup = await start(directory_of([key_limit(100)]))
    rules = await setup.holds.set_limits("acme", [key_limit(30)])
    assert [limit.amount for limit in rules.limits] == [30]
    with pytest.raises(BudgetExceeded):
        await setup.holds.hold(ask_for(40))
    assert [limit.amount for limit in (await setup.holds.limits("acme")).limits] == [30]
