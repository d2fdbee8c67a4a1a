"""Any order of grants, usage, expiry, adjustments and refunds, with crashes: every transaction sums to zero, the
balance is the sum of its lines, and Redis ends up with it exactly once.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from gateway.budgets.keyspace import partition_keys, partition_of
from gateway.errors import Conflict
from gateway.ledger.burning import GrantKind
from gateway.ledger.drafts import Account
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.ledger.reconcile import Report
from gateway.ledger.reconcile_balances import reconcile_balances
from tests.support.bank import Bank, open_bank

AMOUNTS = st.integers(1, 200)
MINUTES = st.integers(0, 60)
_orgs = itertools.count(1)


class Credit(RuleBasedStateMachine):
    """An organisation of its own for each history: what was written stays."""

    redis_url: ClassVar[str]
    postgres_dsn: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.run: Callable[[Coroutine[Any, Any, Any]], Any] = self.runner.run
        self.stack = AsyncExitStack()
        self.bank: Bank = self.run(
            self.stack.enter_async_context(open_bank(self.redis_url, self.postgres_dsn))
        )
        self.org = f"org{next(_orgs)}"
        self.key = partition_keys(partition_of(self.org, 2)).balance(self.org)
        self.expected = 0
        """The balance, if nothing had expired."""
        self.asked = {"reason": "test", "actor": "test"}

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    # -------------------------------------------------------------- what happens

    @rule(
        amount=AMOUNTS,
        kind=st.sampled_from([GrantKind.PURCHASE, GrantKind.PROMOTION]),
        priority=st.sampled_from([1, 100]),
        lives=st.sampled_from([None, None, 1, 10, 30]),
    )
    def grant(self, amount: int, kind: GrantKind, priority: int, lives: int | None) -> None:
        passed = (self.bank.now - self.bank.in_minutes(0)) // timedelta(minutes=1)
        expires_in = None if lives is None else passed + lives
        made = self.bank.grant(amount, kind=kind, priority=priority, expires_in=expires_in, org=self.org)
        self.run(made)
        self.expected += amount

    @rule(amount=AMOUNTS, minute=MINUTES, prepaid=st.booleans())
    def use(self, amount: int, minute: int, prepaid: bool) -> None:
        self.run(self._use(amount, minute, prepaid))
        self.expected -= amount if prepaid else 0

    async def _use(self, amount: int, minute: int, prepaid: bool) -> None:
        if prepaid and await self.bank.balances.reading(self.org) is not None:
            await self.bank.redis.command("HINCRBY", self.key, "spent", amount)  # as the settle script does
        await self.bank.use(amount, minute=minute, prepaid=prepaid, org=self.org)

    @rule()
    def post(self) -> None:
        self.run(self.bank.post(self.org))

    @rule(minutes=st.integers(1, 20))
    def let_time_pass(self, minutes: int) -> None:
        self.bank.now += timedelta(minutes=minutes)
        self.run(self.bank.poster.run_expiry(self.bank.now))

    @rule(amount=st.integers(-150, 150).filter(bool))
    def adjust(self, amount: int) -> None:
        key = f"adjust{next(self.bank.keys)}"
        for _ in range(2):
            self.run(self.bank.ledger.adjust(self.org, amount, idempotency_key=key, **self.asked))
        self.expected += amount

    @rule(pick=st.integers(0, 1000), amount=st.none() | AMOUNTS)
    def refund(self, pick: int, amount: int | None) -> None:
        found = self.run(
            self.bank.postgres.fetch(
                "SELECT id FROM ledger_transactions WHERE org_id = $1 AND kind IN ('usage', 'purchase') ORDER BY id",
                self.org,
            )
        )
        if found:
            self.run(self._refund(found[pick % len(found)]["id"], amount))

    async def _refund(self, transaction_id: int, amount: int | None) -> None:
        key = f"refund{next(self.bank.keys)}"
        try:
            written = await self.bank.ledger.refund(
                self.org, transaction_id, amount, idempotency_key=key, **self.asked
            )
        except Conflict:
            return
        self.expected += await self.bank.postgres.fetch_value(
            "SELECT sum(amount_microcredits)::bigint FROM ledger_lines "
            "WHERE transaction_id = $1 AND account = 'customer_credit'",
            written.transaction_id,
        )

    @rule()
    def deliver(self) -> None:
        self.run(self.bank.relay.deliver(self.org))

    @rule(count=st.integers(1, 3))
    def deliver_and_die_before_it_is_noted(self, count: int) -> None:
        self.run(self._deliver_and_die(count))

    async def _deliver_and_die(self, count: int) -> None:
        for org, change in (await self.bank.outbox.due(self.org, count))[:count]:
            await self.bank.balances.change(org, change)

    @rule()
    def redis_loses_the_balance(self) -> None:
        self.run(self.bank.redis.command("DEL", self.key))

    # -------------------------------------------------------------- what holds

    @invariant()
    def every_transaction_sums_to_zero_and_the_balance_is_the_sum_of_lines(self) -> None:
        self.run(self._check_ledger())

    async def _check_ledger(self) -> None:
        unbalanced = await self.bank.postgres.fetch(
            "SELECT transaction_id FROM ledger_lines GROUP BY 1 HAVING sum(amount_microcredits) <> 0"
        )
        assert unbalanced == []
        accounts = await self.bank.accounts(self.org)
        pending = await self.bank.postgres.fetch_value(
            "SELECT coalesce(sum(microcredits), 0)::bigint FROM ledger_pending WHERE org_id = $1 AND from_balance",
            self.org,
        )
        broken = accounts.get(Account.BREAKAGE, 0)
        assert accounts.get(Account.CUSTOMER_CREDIT, 0) - pending == self.expected - broken
        assert await PostgresLedger(self.bank.postgres).differences() == []

    @invariant()
    def what_redis_was_told_is_what_the_ledger_says_of_it(self) -> None:
        self.run(self._check_redis(delivered=False))

    @rule()
    def once_all_is_delivered_redis_has_the_balance_of_the_ledger(self) -> None:
        self.run(self.bank.relay.deliver(self.org))
        self.run(self._check_redis(delivered=True))

    async def _check_redis(self, delivered: bool) -> None:
        report = await reconcile_balances(Report((), 0, 0, 0, 0), self.bank.balances, self._ledger())
        assert report.differences == ()
        if delivered:
            balance = await self.bank.balances.read(self.org)
            accounts = await self.bank.accounts(self.org)
            assert balance.left + balance.expired == self.expected - accounts.get(Account.BREAKAGE, 0)

    def _ledger(self) -> PostgresLedger:
        return PostgresLedger(self.bank.postgres)


@pytest.mark.parametrize("steps", [30])
def test_any_history_keeps_the_books(redis_url: str, postgres_dsn: str, steps: int) -> None:
    machine = type("Credit", (Credit,), {"redis_url": redis_url, "postgres_dsn": postgres_dsn})
    run_machine(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
