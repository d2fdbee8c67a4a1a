"""People are told what becomes of top-ups: once, together with it, and never of what did not come to pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from gateway.alerts.kind import AlertKind
from gateway.alerts.postgres_book import Alert
from gateway.alerts.top_up_news import TopUpMessages
from gateway.alerts.wording import message
from gateway.budgets.directory import Directory
from gateway.budgets.windows import Calendar
from gateway.errors import UpstreamError
from gateway.identity.roles import Reach
from gateway.ledger.credits import Credits
from gateway.ledger.postgres_topups import Buyer, TopUps
from gateway.ledger.topups import ManualPayments, PaymentProvider, TopUp
from tests.integration.test_top_ups import Broken
from tests.support.alerting import AlertingGateway, Town, town

CREDIT_USD = Decimal("0.01")
CREDIT = 1_000_000
ADA = Buyer("acme", "user:acme/ada", "ada")


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str) -> AsyncIterator[Town]:
    async with town(redis_url, postgres_dsn) as found:
        await found.person("olga", "owner", email="olga@example.com")
        await found.person("ada", "member", team="research", email="ada@example.com")
        yield found


@pytest.fixture
async def gateway(place: Town) -> AlertingGateway:
    return await place.gateway(Directory({}))


def top_ups_of(place: Town, gateway: AlertingGateway, payments: PaymentProvider | None = None) -> TopUps:
    news = TopUpMessages(gateway.alerts.book)
    payments = payments or ManualPayments()
    return Credits.build(gateway.postgres, gateway.holds.balances, payments, place.clock, news).top_ups


async def ask(top_ups: TopUps) -> TopUp:
    return await top_ups.request(ADA, 100 * CREDIT, CREDIT_USD, idempotency_key="order-1")


async def told(gateway: AlertingGateway) -> list[Alert]:
    """The oldest first."""
    return (await gateway.alerts.book.page("acme", Reach("acme"), "olga", limit=100))[::-1]


async def test_a_request_says_how_to_pay_to_those_who_pay_and_to_whoever_asked(
    place: Town, gateway: AlertingGateway
) -> None:
    top_ups = top_ups_of(place, gateway)
    top_up = await ask(top_ups)
    await ask(top_ups)
    (alert,) = await told(gateway)
    assert alert.kind == AlertKind.TOP_UP_REQUESTED
    text = message(alert, Calendar("Europe/Paris")).plain
    assert "100 credits for 1.00 USD." in text
    assert top_up.instructions in text
    await gateway.courier("email").turn()
    assert sorted(place.mail.recipients) == ["ada@example.com", "olga@example.com"]


async def test_many_confirmations_are_one_message(place: Town, gateway: AlertingGateway) -> None:
    top_ups = top_ups_of(place, gateway)
    top_up = await ask(top_ups)
    place.clock.forward(minutes=1)
    await asyncio.gather(
        *(top_ups.confirm("acme", top_up.top_up_id, actor="admin", reason="transfer 7") for _ in range(5))
    )
    _, alert = await told(gateway)
    assert alert.kind == AlertKind.TOP_UP_SUCCEEDED
    assert (alert.data["amount"]["credits"], alert.data["reason"]) == ("100", "transfer 7")


async def test_a_cancellation_and_a_failure_are_told_with_their_reason(
    place: Town, gateway: AlertingGateway
) -> None:
    top_up = await ask(top_ups_of(place, gateway))
    place.clock.forward(minutes=1)
    await top_ups_of(place, gateway).cancel("acme", top_up.top_up_id, actor="admin", reason="ordered twice")
    place.clock.forward(minutes=1)
    with pytest.raises(UpstreamError):
        await top_ups_of(place, gateway, Broken(1)).request(ADA, CREDIT, CREDIT_USD, idempotency_key="b")
    found = [(alert.kind, alert.data.get("reason")) for alert in await told(gateway)]
    assert found[1:] == [
        ("top_up_cancelled", "ordered twice"),
        ("top_up_failed", "The payment provider does not answer."),
    ]


async def test_there_is_no_confirmation_without_its_message(place: Town, gateway: AlertingGateway) -> None:
    top_ups = top_ups_of(place, gateway)
    top_up = await ask(top_ups)
    place.clock.forward(minutes=1)
    await place.postgres.execute("ALTER TABLE alerts RENAME TO elsewhere")
    with pytest.raises(Exception, match="alerts"):
        await top_ups.confirm("acme", top_up.top_up_id, actor="admin")
    await place.postgres.execute("ALTER TABLE elsewhere RENAME TO alerts")
    assert (await top_ups.find("acme", top_up.top_up_id)).status == "pending"
    await top_ups.confirm("acme", top_up.top_up_id, actor="admin")
    assert [alert.kind for alert in await told(gateway)] == ["top_up_requested", "top_up_succeeded"]
