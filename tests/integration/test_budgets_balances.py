"""Prepaid balances, shown on both implementations: the one in memory and the one in a real Redis."""

from __future__ import annotations

import pytest

from gateway.budgets.balances import BalanceChange
from gateway.errors import BalanceExhausted, BudgetContended
from tests.integration.test_budgets_behaviour import Start
from tests.integration.test_budgets_behaviour import start as start
from tests.integration.test_budgets_behaviour import url_of_redis as url_of_redis
from tests.unit.budgets.making import ask_for, directory_of


async def test_a_required_balance_holds_settles_and_runs_out(start: Start) -> None:
    setup = await start(directory_of(balance_required=True))
    with pytest.raises(BalanceExhausted):
        await setup.holds.hold(ask_for(1))
    assert await setup.change_balance(BalanceChange(1, 0, 1000, ""))
    ask = ask_for(600)
    grant = await setup.holds.hold(ask)
    assert grant.remaining == 400
    with pytest.raises(BudgetContended, match="prepaid balance of org acme"):
        await setup.holds.hold(ask_for(500))
    assert (await setup.holds.settle(grant, ask, 700, b"{}")).remaining == 300
    with pytest.raises(BalanceExhausted):
        await setup.holds.hold(ask_for(301))


async def test_a_change_of_the_ledger_counts_once(start: Start) -> None:
    setup = await start(directory_of(balance_required=True))
    assert await setup.change_balance(BalanceChange(1, 0, 1000, ""))
    assert not await setup.change_balance(BalanceChange(1, 0, 1000, ""))
    assert await setup.change_balance(BalanceChange(4, 1, -300, ""))
    assert not await setup.change_balance(BalanceChange(1, 0, 1000, ""))
    assert (await setup.holds.hold(ask_for(700))).remaining == 0


LONG_AGO_US, LONG_HENCE_US = 1_700_000_000_000_000, 4_000_000_000_000_000


async def test_what_has_expired_pays_for_nothing_before_the_ledger_says_so(start: Start) -> None:
    setup = await start(directory_of(balance_required=True))
    rungs = f"{LONG_AGO_US}:200 {LONG_AGO_US + 1}:100 {LONG_HENCE_US}:400"
    await setup.change_balance(BalanceChange(1, 0, 1000, rungs))
    with pytest.raises(BalanceExhausted) as refused:
        await setup.holds.hold(ask_for(701))
    assert "0.0007 credits" in refused.value.message
    ask = ask_for(500)
    grant = await setup.holds.hold(ask)
    assert grant.remaining == 200
    assert await setup.holds.extend(grant, ask, 300, 1) == 200
    assert (await setup.holds.settle(grant, ask, 600, b"{}")).remaining == 100


async def test_when_the_ledger_has_posted_an_expiry_it_is_not_counted_twice(start: Start) -> None:
    setup = await start(directory_of(balance_required=True))
    await setup.change_balance(BalanceChange(1, 0, 1000, f"{LONG_AGO_US}:300"))
    await setup.change_balance(BalanceChange(2, 1, -300, ""))
    assert (await setup.holds.hold(ask_for(700))).remaining == 0
