"""The credit ledger: what is given, used, expired, adjusted and refunded, in lines that sum to zero."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from gateway.budgets.redis_holds import RedisHolds
from gateway.errors import BadRequest, Conflict, IdempotencyConflict, NotFound
from gateway.ledger.burning import GrantKind
from gateway.ledger.drafts import Account
from gateway.ledger.grants import NewGrant
from gateway.ledger.postgres_credits import Written
from gateway.ledger.postgres_reading import LedgerReading
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.stores.postgres import DataRefused
from tests.support.bank import Bank, open_bank
from tests.unit.budgets.making import ask_for, directory_of


@pytest.fixture
async def bank(redis_url: str, postgres_dsn: str) -> AsyncIterator[Bank]:
    async with open_bank(redis_url, postgres_dsn) as opened:
        yield opened


# ------------------------------------------------------------------ giving


async def test_a_purchase_moves_credits_from_cash_to_the_customer(bank: Bank) -> None:
    written = await bank.grant(500)
    assert written.new
    assert await bank.accounts() == {Account.CASH_CLEARING: -500, Account.CUSTOMER_CREDIT: 500}
    await bank.relay.deliver()
    balance = await bank.balance()
    assert (balance.granted, balance.left, balance.reference) == (500, 500, 500)


async def test_the_same_key_answers_with_the_first_grant_and_refuses_another(bank: Bank) -> None:
    first = await bank.grant(500, key="order-1")
    again = await bank.grant(500, key="order-1")
    assert (again.transaction_id, again.new) == (first.transaction_id, False)
    with pytest.raises(IdempotencyConflict):
        await bank.grant(501, key="order-1")
    with pytest.raises(IdempotencyConflict):
        await bank.grant(500, key="order-1", reason="another reason")
    assert await bank.left() == [500]


async def test_the_same_key_in_another_organisation_is_another_key(bank: Bank) -> None:
    await bank.grant(500, key="order-1")
    assert (await bank.grant(700, key="order-1", org="globex")).new


@pytest.mark.parametrize("expires_in", [0, -1])
async def test_a_grant_cannot_expire_before_it_is_given(bank: Bank, expires_in: int) -> None:
    with pytest.raises(BadRequest, match="in the future"):
        await bank.grant(1, expires_in=expires_in)


async def test_a_grant_expires_at_a_whole_minute(bank: Bank) -> None:
    at = bank.in_minutes(5) + timedelta(seconds=1)
    with pytest.raises(BadRequest, match="whole minute"):
        await bank.ledger.grant(NewGrant("acme", GrantKind.PROMOTION, 1, "x", "cli:test", "k", 100, at))


async def test_every_grant_is_audited_once(bank: Bank) -> None:
    await bank.grant(500, key="a")
    await bank.grant(500, key="a")
    rows = await bank.postgres.fetch("SELECT action, object FROM audit_log")
    assert [(row["action"], row["object"]) for row in rows] == [("credits.grant", "org:acme")]


# ------------------------------------------------------------------ using


async def test_usage_burns_grants_in_order_one_line_each(bank: Bank) -> None:
    await bank.grant(100)
    await bank.grant(100, kind=GrantKind.PROMOTION)
    await bank.grant(100, expires_in=60)
    await bank.grant(100, priority=1)
    await bank.use(350)
    assert await bank.post() == 1
    # priority 1, then the one that expires, then the promotion, then what was paid for
    assert await bank.left() == [50, 0, 0, 0]
    assert (await bank.accounts())[Account.USAGE_REVENUE] == 350


async def test_usage_beyond_all_grants_is_owed_and_paid_by_the_next_grant(bank: Bank) -> None:
    await bank.grant(100)
    await bank.use(130)
    await bank.post()
    assert (await bank.accounts())[Account.CUSTOMER_CREDIT] == -30
    await bank.grant(50)
    assert await bank.left() == [0, 20]
    assert (await bank.accounts())[Account.CUSTOMER_CREDIT] == 20


async def test_postpaid_usage_is_receivable_and_leaves_the_balance_alone(bank: Bank) -> None:
    await bank.grant(100)
    await bank.use(70, prepaid=False)
    await bank.post()
    assert await bank.left() == [100]
    assert await bank.accounts() == {
        Account.CASH_CLEARING: -100,
        Account.CUSTOMER_CREDIT: 100,
        Account.RECEIVABLE: -70,
        Account.USAGE_REVENUE: 70,
    }


async def test_a_row_is_posted_once_however_often_it_is_written_and_posted(bank: Bank) -> None:
    await bank.grant(100)
    await bank.use(30)
    assert [await bank.post(), await bank.post()] == [1, 0]
    assert await bank.left() == [70]


async def test_usage_of_two_quarters_makes_two_transactions(bank: Bank) -> None:
    await bank.grant(100)
    await bank.use(1, minute=0)
    await bank.use(2, minute=14)
    await bank.use(4, minute=15)
    await bank.post()
    assert await bank.kinds() == ["purchase", "usage", "usage"]


# ------------------------------------------------------------------ expiring


async def test_at_its_expiry_a_grant_is_dead(bank: Bank) -> None:
    await bank.grant(100, expires_in=10)
    await bank.use(30, minute=9)
    await bank.use(5, minute=10)
    assert await bank.expire(10) == 1
    assert await bank.accounts() == {
        Account.CASH_CLEARING: -100,
        Account.USAGE_REVENUE: 35,
        Account.BREAKAGE: 70,
        Account.CUSTOMER_CREDIT: -5,
    }
    assert await bank.expire(10) == 0


async def test_a_minute_before_its_expiry_it_is_not(bank: Bank) -> None:
    await bank.grant(100, expires_in=10)
    assert await bank.expire(9) == 0
    assert await bank.left() == [100]


async def test_late_usage_takes_back_what_had_expired(bank: Bank) -> None:
    await bank.grant(100, expires_in=10)
    await bank.grant(100)
    await bank.expire(20)
    await bank.use(30, minute=5)
    await bank.post()
    assert await bank.left() == [0, 100]
    accounts = await bank.accounts()
    assert (accounts[Account.BREAKAGE], accounts[Account.USAGE_REVENUE]) == (70, 30)
    assert await bank.kinds() == ["purchase", "purchase", "expiry", "expiry_reversal", "usage"]
    await bank.relay.deliver()
    balance = await bank.balance()
    assert balance.granted - 30 == 100


async def test_a_refund_into_a_grant_that_expired_in_an_earlier_month_leaves_its_statement_alone(
    bank: Bank,
) -> None:
    march, april, may = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 5))
    reading = LedgerReading(bank.postgres)
    await bank.grant(100, expires_in=60)
    await bank.grant(1000)
    await bank.use(100)
    await bank.post()
    paid = await bank.postgres.fetch_value("SELECT id FROM ledger_transactions WHERE kind = 'usage'")
    bank.now = april
    await bank.poster.run_expiry(bank.now)
    mailed = await reading.statement("acme", march, april)
    bank.now = april + timedelta(days=9)
    await bank.ledger.refund("acme", paid, None, reason="r", actor="cli:test", idempotency_key="r")
    assert await bank.poster.run_expiry(bank.now) == 1
    assert await reading.statement("acme", march, april) == mailed
    assert (await reading.statement("acme", april, may)).opening == mailed.closing == 1000


async def test_what_expires_soon_is_told_with_the_nearest_day(bank: Bank) -> None:
    day = 24 * 60
    for days in (31, 30, 8, 7, 1):
        await bank.grant(days, expires_in=days * day)
    found = await bank.poster.expiring(bank.now)
    assert [(one.left_microcredits, one.days) for one in found] == [(1, 1), (7, 7), (8, 30), (30, 30)]


# ------------------------------------------------------------------ adjusting and refunding


async def test_adjustments_give_and_take_with_a_reason(bank: Bank) -> None:
    await bank.grant(100)
    adjust = {"reason": "mistake", "actor": "admin"}
    await bank.ledger.adjust("acme", 20, idempotency_key="a", **adjust)
    await bank.ledger.adjust("acme", -50, idempotency_key="b", **adjust)
    await bank.ledger.adjust("acme", -50, idempotency_key="b", **adjust)
    assert (await bank.accounts())[Account.ADJUSTMENTS] == 30
    assert await bank.left() == [50, 20]
    with pytest.raises(BadRequest, match="reason"):
        await bank.ledger.adjust("acme", 1, idempotency_key="c", reason=" ", actor="admin")


async def usage_id(bank: Bank) -> int:
    found = await bank.postgres.fetch_value("SELECT max(id) FROM ledger_transactions WHERE kind = 'usage'")
    assert isinstance(found, int)
    return found


async def test_a_refund_goes_back_to_the_grants_that_paid_not_to_those_of_today(bank: Bank) -> None:
    await bank.grant(100)
    await bank.grant(100)
    await bank.use(150)
    await bank.post()
    await bank.grant(100, priority=1)
    refund = {"reason": "outage", "actor": "admin"}
    original = await usage_id(bank)
    await bank.ledger.refund("acme", original, 60, idempotency_key="a", **refund)
    assert await bank.left() == [10, 100, 100]
    await bank.ledger.refund("acme", original, None, idempotency_key="b", **refund)
    assert await bank.left() == [100, 100, 100]
    with pytest.raises(Conflict, match="0 credits are left"):
        await bank.ledger.refund("acme", original, 1, idempotency_key="c", **refund)
    assert (await bank.accounts())[Account.REFUNDS] == -150


async def test_a_refund_of_what_was_owed_lowers_the_debt_or_becomes_a_grant(bank: Bank) -> None:
    await bank.grant(100)
    await bank.use(130)
    await bank.post()
    original = await usage_id(bank)
    refund = {"reason": "outage", "actor": "admin"}
    await bank.ledger.refund("acme", original, 10, idempotency_key="a", **refund)
    assert (await bank.accounts())[Account.CUSTOMER_CREDIT] == -20
    await bank.grant(50)
    await bank.ledger.refund("acme", original, 20, idempotency_key="b", **refund)
    assert await bank.left() == [0, 30, 20]
    await bank.ledger.refund("acme", original, None, idempotency_key="c", **refund)
    assert await bank.left() == [100, 30, 20]


async def test_a_purchase_is_refunded_as_far_as_it_is_not_used(bank: Bank) -> None:
    bought = await bank.grant(100)
    await bank.use(30)
    await bank.post()
    refund = {"reason": "wants out", "actor": "admin"}
    with pytest.raises(Conflict):
        await bank.ledger.refund("acme", bought.transaction_id, 71, idempotency_key="a", **refund)
    await bank.ledger.refund("acme", bought.transaction_id, None, idempotency_key="b", **refund)
    assert await bank.accounts() == {Account.CASH_CLEARING: -30, Account.USAGE_REVENUE: 30}


async def test_what_calls_in_flight_may_need_of_a_purchase_is_not_paid_back(bank: Bank) -> None:
    bought = await bank.grant(1000)
    holds = RedisHolds(
        bank.redis, directory_of(balance_required=True), PostgresLedger(bank.postgres), partitions=2
    )
    await holds.start()

    async def refund(amount: int | None) -> Written:
        return await bank.ledger.refund(
            "acme", bought.transaction_id, amount, reason="r", actor="cli:test", idempotency_key=f"r{amount}"
        )

    ask = ask_for(900)
    grant = await holds.hold(ask)
    for amount in (None, 101):
        with pytest.raises(Conflict, match=r"0\.0001 can be given back now"):
            await refund(amount)
    await refund(60)
    with pytest.raises(Conflict, match=r"0\.00004 can be given back now"):
        await refund(41)  # Redis is not told of the first one yet
    await holds.settle(grant, ask, 900, b"{}")
    with pytest.raises(Conflict, match=r"0\.00004 can"):
        await refund(42)  # what was used is still in the stream
    await refund(40)
    await bank.relay.deliver()
    assert (await bank.balance()).left == 0
    await holds.close()


async def test_a_purchase_that_has_expired_is_not_paid_back(bank: Bank) -> None:
    bought = await bank.grant(100, expires_in=5)
    bank.now = bank.in_minutes(5)  # dead, and not broken off yet
    with pytest.raises(Conflict, match="0 credits are left"):
        await bank.ledger.refund(
            "acme", bought.transaction_id, None, reason="r", actor="admin", idempotency_key="k"
        )


async def test_what_is_not_there_or_not_charged_cannot_be_refunded(bank: Bank) -> None:
    given = await bank.grant(100, kind=GrantKind.PROMOTION)
    refund = {"reason": "why not", "actor": "admin", "idempotency_key": "a"}
    with pytest.raises(NotFound):
        await bank.ledger.refund("globex", given.transaction_id, None, **refund)
    with pytest.raises(Conflict, match="Only usage and purchases"):
        await bank.ledger.refund("acme", given.transaction_id, None, **refund)


async def test_a_clock_that_is_behind_takes_nothing_of_what_has_expired(bank: Bank) -> None:
    await bank.grant(100, expires_in=5)
    await bank.use(30)
    await bank.post()
    usage = await bank.postgres.fetch_value("SELECT id FROM ledger_transactions WHERE kind = 'usage'")
    await bank.expire(5)
    await bank.ledger.refund("acme", usage, 10, reason="r", actor="admin", idempotency_key="a")
    bank.now = bank.in_minutes(4)  # of a gateway that has not come to the expiry yet
    await bank.ledger.adjust("acme", -50, reason="r", actor="admin", idempotency_key="b")
    assert await bank.left() == [0]
    accounts = await bank.accounts()
    assert (accounts[Account.BREAKAGE], accounts[Account.CUSTOMER_CREDIT]) == (70, -40)


# ------------------------------------------------------------------ what Postgres itself refuses


async def test_a_transaction_that_does_not_sum_to_zero_cannot_be_committed(bank: Bank) -> None:
    with pytest.raises(DataRefused, match="not to 0"):
        async with bank.postgres.transaction() as session:
            await session.execute(
                "WITH t AS (INSERT INTO ledger_transactions (org_id, kind, idempotency_key, occurred_at, actor, "
                "reason, balance_after_microcredits) VALUES ('acme', 'purchase', 'x', now(), 'a', 'r', 0) "
                "RETURNING id) INSERT INTO ledger_lines SELECT id, n, 'cash_clearing', NULL, 5 "
                "FROM t, generate_series(0, 1) n"
            )


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger_lines SET amount_microcredits = 1",
        "DELETE FROM ledger_transactions",
        "TRUNCATE ledger_grants CASCADE",
        "INSERT INTO ledger_lines SELECT max(id), n + 5, 'cash_clearing', NULL, 1 - 2 * n "
        "FROM ledger_transactions, generate_series(0, 1) n GROUP BY n",
    ],
)
async def test_what_was_written_stays(bank: Bank, change: str) -> None:
    await bank.grant(100)
    with pytest.raises(DataRefused):
        await bank.postgres.execute(change)
    assert await bank.left() == [100]
