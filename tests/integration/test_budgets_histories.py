"""Any history: Redis decides as the definition in memory does, and no admission passes a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from gateway.budgets.memory import MemoryHolds
from gateway.budgets.model import Ask, Grace, Grant, Limit, Scope, Subject, Window
from gateway.budgets.plan import Planner, identities
from gateway.budgets.ports import CounterReading, EmptyLedger
from gateway.budgets.redis_books import RedisBooks
from gateway.budgets.redis_holds import RedisHolds
from gateway.budgets.rules import Cap
from gateway.errors import TollgateError
from gateway.stores.redis import RedisStore
from tests.unit.budgets.making import ask_for, directory_of

SUBJECTS = [
    Subject("acme", "research", "ada", "laptop"),
    Subject("acme", "research", "bob", "desk"),
    Subject("acme", None, None, "service"),
]
SCOPES = [
    (Scope.KEY, "laptop"),
    (Scope.USER, "ada"),
    (Scope.TEAM, "research"),
    (Scope.ORG, "acme"),
]
LIMITS = st.lists(
    st.builds(
        lambda scope, window, amount, operation, model, grace, enforce: Limit(
            *scope, window, amount, operation, model, grace, enforce
        ),
        st.sampled_from(SCOPES),
        st.sampled_from([Window.TOTAL, Window.MONTH]),
        st.sampled_from([0, 7, 100, 1000, 2**46, 2**53]),
        st.sampled_from([None, "chat", "image"]),
        st.sampled_from([None, "gpt*"]),
        st.sampled_from([None, Grace(10, 60)]),
        st.booleans(),
    ),
    max_size=5,
    unique_by=lambda limit: (limit.scope, limit.window, limit.operation, limit.model),
)
AMOUNTS = st.integers(0, 120) | st.sampled_from([500, 2**45])
"""No history's sum reaches 2^53: above it, and so above every limit, Redis compares to the nearest even number."""


class History(RuleBasedStateMachine):
    """Every hold is due for reaping at once, so that no step has to wait for time."""

    url: ClassVar[str]
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
        self.runner = asyncio.Runner()
        self.run: Callable[[Coroutine[Any, Any, Any]], Any] = self.runner.run
        self.memory = MemoryHolds(directory_of(), hold_ttl_s=0.0)
        self.store = self.run(connected(self.url))
        self.redis = RedisHolds(self.store, directory_of(), EmptyLedger(), partitions=2, hold_ttl_s=0.0)
        self.books = RedisBooks(self.store, partitions=2)
        self.run(self.redis.start())
        self.limits_changed = False

    def teardown(self) -> None:
        self.run(self.redis.close())
        self.run(self.store.close())
        self.runner.close()

    @rule(limits=LIMITS)
    def change_limits(self, limits: list[Limit]) -> None:
        self.run(self.memory.set_limits("acme", limits))
        self.run(self.redis.set_limits("acme", limits))
        self.limits_changed = True

    @rule(
        target=held,
        subject=st.sampled_from(SUBJECTS),
        operation=st.sampled_from(["chat", "image"]),
        model=st.sampled_from(["gpt-4o", "o3"]),
        fixed=AMOUNTS,
        least=AMOUNTS,
        more=AMOUNTS,
        open_calls_max=st.sampled_from([None, None, 2]),
    )
    def hold(
        self,
        subject: Subject,
        operation: str,
        model: str,
        fixed: int,
        least: int,
        more: int,
        open_calls_max: int | None,
    ) -> Any:
        ask = ask_for(
            fixed,
            least,
            min(least + more, 2**53 - fixed),
            subject=subject,
            operation=operation,
            model=model,
            open_calls_max=open_calls_max,
        )
        in_memory = self.run(outcome(self.memory.hold(ask)))
        in_redis = self.run(outcome(self.redis.hold(ask)))
        assert told(in_memory) == told(in_redis)
        if not isinstance(in_redis, Grant):
            return multiple()
        self.check_counters(ask, in_redis)
        return ask, in_memory, in_redis

    @rule(entry=held, share=st.integers(0, 100))
    def settle(self, entry: tuple[Ask, Grant, Grant], share: int) -> None:
        ask, in_memory, in_redis = entry
        cost = in_redis.amount * share // 100
        expected = self.run(self.memory.settle(in_memory, ask, cost, b"{}"))
        settled = self.run(self.redis.settle(in_redis, ask, cost, b"{}"))
        assert settled.outcome == expected.outcome
        if not self.limits_changed:
            assert settled.remaining == expected.remaining

    @rule(entry=consumes(held))
    def release(self, entry: tuple[Ask, Grant, Grant]) -> None:
        request_id = entry[0].request_id
        expected = self.run(self.memory.release(request_id, "acme"))
        assert self.run(self.redis.release(request_id, "acme")) == expected

    @rule(entry=held, amount=AMOUNTS, least=AMOUNTS)
    def extend(self, entry: tuple[Ask, Grant, Grant], amount: int, least: int) -> None:
        ask, in_memory, in_redis = entry
        if self.limits_changed:
            return
        expected = self.run(outcome(self.memory.extend(in_memory, ask, amount, least)))
        assert told(self.run(outcome(self.redis.extend(in_redis, ask, amount, least)))) == told(expected)

    @rule(entry=held)
    def renew(self, entry: tuple[Ask, Grant, Grant]) -> None:
        holds = [("acme", entry[0].request_id)]
        assert self.run(self.redis.renew(holds)) == self.run(self.memory.renew(holds))

    @rule(limit=st.integers(1, 3))
    def reap(self, limit: int) -> None:
        assert self.run(self.redis.reap(limit)) == self.run(self.memory.reap(limit))

    @invariant()
    def the_orgs_total_is_the_sum_over_its_requests(self) -> None:
        expected = self.run(totals(self.memory.counters("acme")))
        found = self.run(totals(self.books.counters("acme")))
        assert (found or [(0, 0, 0)]) == (expected or [(0, 0, 0)])

    def check_counters(self, ask: Ask, grant: Grant) -> None:
        """The counters that this request met are the sums over requests, and within their limits."""
        expected = {name(c): c for c in self.run(listed(self.memory.counters("acme")))}
        found = {name(c): c for c in self.run(listed(self.books.counters("acme")))}
        rules = self.run(self.redis.limits("acme"))
        planner = Planner(rules, dict.fromkeys(identities(rules), 0), self.redis.keys("acme"))
        plan = planner.plan(ask.subject, ask.operation, ask.model, grant.started_at_us)
        for charge in plan.charges:
            counter = next(c for c in found.values() if c.scope == charge.name.scope and name(c) == (
                charge.name.scope, charge.name.scope_id, charge.name.operation, charge.name.model,
                charge.name.window, charge.name.start_us,
            ))  # fmt: skip
            assert amounts(counter) == amounts(expected[name(counter)])
            if charge.cap is not None and charge.cap.enforced:
                assert counter.settled + counter.held <= ceiling(charge.cap, counter)


def ceiling(cap: Cap, counter: CounterReading) -> int:
    return cap.amount if counter.grace_start_us is None else cap.ceiling


def name(c: CounterReading) -> tuple[object, ...]:
    return (c.scope, c.scope_id, c.operation, c.model, c.window, c.start_us)


def amounts(c: CounterReading) -> tuple[object, ...]:
    return (c.settled, c.held, c.open_holds, c.grace_start_us is None, c.unseeded)


async def connected(url: str) -> RedisStore:
    return RedisStore(url)


async def listed(counters: Any) -> list[CounterReading]:
    return [counter async for counter in counters]


async def totals(counters: Any) -> list[tuple[object, ...]]:
    return [
        amounts(c)[:3]
        async for c in counters
        if (c.scope, c.window, c.operation, c.model) == (Scope.ORG, Window.TOTAL, None, None)
    ]


async def outcome(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await work
    except TollgateError as refusal:
        return refusal


def told(result: Any) -> object:
    """What a caller learns, without the instants at which it was decided."""
    if isinstance(result, Grant):
        return result.amount, result.remaining, result.grace, result.shadow
    if isinstance(result, TollgateError):
        return type(result), result.message, result.detail
    return result


@pytest.fixture
def history(redis_url: str) -> type[RuleBasedStateMachine]:
    return type("HistoryThere", (History,), {"url": redis_url})


def test_any_history_is_decided_alike_and_stays_within_every_limit(
    history: type[RuleBasedStateMachine],
) -> None:
    run_machine(
        history,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
