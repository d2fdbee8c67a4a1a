"""Top-ups: pending until somebody says that the money came, and then credits, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from gateway.errors import BadRequest, Conflict, IdempotencyConflict, NotFound, UpstreamError
from gateway.ledger.drafts import Account
from gateway.ledger.postgres_topups import Buyer, TopUps
from gateway.ledger.topups import (
    MOVES,
    PENDING_MAX,
    PENDING_OF_ONE_MAX,
    Begun,
    ManualPayments,
    TopUp,
    TopUpMoved,
    TopUpStatus,
    check_move,
    price_minor,
)
from tests.support.bank import Bank, open_bank

CREDIT_USD = Decimal("0.01")
ADA = Buyer("acme", "user:acme/ada", "ada")
CREDIT = 1_000_000


@pytest.fixture
async def bank(redis_url: str, postgres_dsn: str) -> AsyncIterator[Bank]:
    async with open_bank(redis_url, postgres_dsn) as opened:
        yield opened


async def ask(bank: Bank, amount: int = 100 * CREDIT, *, key: str = "order-1", buyer: Buyer = ADA) -> TopUp:
    return await bank.top_ups.request(buyer, amount, CREDIT_USD, idempotency_key=key)


@pytest.mark.parametrize(
    ("credits", "usd", "cents"),
    [("100", "0.01", 100), ("1", "0.01", 1), ("1.000001", "0.01", 2), ("3", "0.0125", 4)],
)
def test_a_price_is_rounded_up_to_the_cent(credits: str, usd: str, cents: int) -> None:
    assert price_minor(int(Decimal(credits) * CREDIT), Decimal(usd)) == cents


def test_only_what_is_pending_moves() -> None:
    for from_ in TopUpStatus:
        for to in TopUpStatus:
            if to in MOVES[from_]:
                check_move(from_, to)
            else:
                with pytest.raises(TopUpMoved):
                    check_move(from_, to)
    assert [status for status, moves in MOVES.items() if moves] == [TopUpStatus.PENDING]


async def test_a_request_moves_no_credits_and_says_how_to_pay(bank: Bank) -> None:
    top_up = await ask(bank)
    assert (top_up.status, top_up.price) == (TopUpStatus.PENDING, "1.00 USD")
    assert top_up.reference is not None
    assert top_up.reference in top_up.instructions
    assert await bank.accounts() == {}


async def test_the_same_key_asks_once(bank: Bank) -> None:
    assert await ask(bank) == await ask(bank)
    with pytest.raises(IdempotencyConflict):
        await ask(bank, 5 * CREDIT)


async def test_somebody_elses_key_does_not_answer_with_their_top_up(bank: Bank) -> None:
    await bank.top_ups.request(ADA, CREDIT, CREDIT_USD, idempotency_key="1")
    other = Buyer("acme", "user:acme/bob", "bob")
    with pytest.raises(IdempotencyConflict):
        await bank.top_ups.request(other, CREDIT, CREDIT_USD, idempotency_key="1")


async def test_many_confirmations_at_once_grant_once_and_redis_has_it(bank: Bank) -> None:
    top_up = await ask(bank)
    confirmed = await asyncio.gather(
        *(bank.top_ups.confirm("acme", top_up.top_up_id, actor=f"admin{n}") for n in range(8))
    )
    assert len({one.grant_id for one in confirmed}) == 1
    assert await bank.accounts() == {
        Account.CASH_CLEARING: -100 * CREDIT,
        Account.CUSTOMER_CREDIT: 100 * CREDIT,
    }
    assert (await bank.balance()).left == 100 * CREDIT


async def test_what_was_cancelled_cannot_be_confirmed(bank: Bank) -> None:
    top_up = await ask(bank)
    await bank.top_ups.cancel("acme", top_up.top_up_id, actor="admin", reason="ordered twice")
    with pytest.raises(TopUpMoved, match="is cancelled; it cannot be confirmed"):
        await bank.top_ups.confirm("acme", top_up.top_up_id, actor="admin")
    assert await bank.accounts() == {}


async def test_a_top_up_is_looked_for_in_its_organisation_only(bank: Bank) -> None:
    top_up = await ask(bank)
    with pytest.raises(NotFound):
        await bank.top_ups.confirm("globex", top_up.top_up_id, actor="admin")
    assert await bank.top_ups.org_of(top_up.top_up_id) == "acme"


async def test_pending_top_ups_and_amounts_are_bounded(bank: Bank) -> None:
    for number in range(PENDING_MAX):
        await ask(bank, key=f"k{number}", buyer=Buyer("acme", f"user:acme/u{number // PENDING_OF_ONE_MAX}"))
    with pytest.raises(Conflict, match="top-ups of yours are pending"):
        await ask(bank, key="one-too-many", buyer=Buyer("acme", "user:acme/u0"))
    with pytest.raises(Conflict, match="top-ups of this organisation are pending"):
        await ask(bank, key="one-too-many", buyer=Buyer("acme", "user:acme/fresh"))
    await ask(bank, key="elsewhere", buyer=Buyer("globex", "admin"))
    for amount in (0, CREDIT - 1, 10_000_001 * CREDIT):
        with pytest.raises(BadRequest, match="buy between 1 and 10000000"):
            await ask(bank, amount, key="x")


class Broken(ManualPayments):
    """A payment provider that is down at first."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    async def begin(self, top_up: TopUp) -> Begun:
        if self.failures:
            self.failures -= 1
            raise UpstreamError("The payment provider does not answer.")
        return await super().begin(top_up)


async def test_when_the_provider_cannot_begin_the_top_up_has_failed(bank: Bank) -> None:
    top_ups = TopUps(bank.postgres, bank.ledger, Broken(1), bank.relay.tell)
    with pytest.raises(UpstreamError):
        await top_ups.request(ADA, CREDIT, CREDIT_USD, idempotency_key="a")
    (failed,) = await top_ups.page("acme", 10)
    assert (failed.status, failed.reason) == (TopUpStatus.FAILED, "The payment provider does not answer.")
    again = await top_ups.request(ADA, CREDIT, CREDIT_USD, idempotency_key="b")
    assert again.status is TopUpStatus.PENDING


async def test_every_step_is_audited(bank: Bank) -> None:
    top_up = await ask(bank)
    await bank.top_ups.confirm("acme", top_up.top_up_id, actor="admin")
    rows = await bank.postgres.fetch("SELECT actor, action FROM audit_log ORDER BY 1, 2")
    assert [(row["actor"], row["action"]) for row in rows] == [
        ("admin", "credits.grant"),
        ("admin", "top_up.confirmed"),
        ("user:acme/ada", "top_up.request"),
    ]
