"""A monthly statement says what the ledger says: opening, what changed the balance by kind, closing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from gateway.alerts.org_settings import OrgAlertChoices
from gateway.budgets.directory import Directory
from gateway.identity.roles import Reach
from gateway.jobs.runner import JobRunner
from gateway.ledger.burning import GrantKind
from tests.support.alerting import Town, town
from tests.support.bank import Bank, open_bank


@pytest.fixture
async def bank(redis_url: str, postgres_dsn: str) -> AsyncIterator[Bank]:
    async with open_bank(redis_url, postgres_dsn) as opened:
        yield opened


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str, bank: Bank) -> AsyncIterator[Town]:
    async with town(redis_url, postgres_dsn) as found:
        yield found


async def test_monthly_billing_statements_tie_to_the_ledger(bank: Bank, place: Town) -> None:
    month = datetime(2026, 3, 10, 12, tzinfo=UTC)
    bank.now = datetime(2026, 2, 10, 12, tzinfo=UTC)
    await bank.grant(5_000_000)
    bank.now = month
    await bank.grant(2_000_000, kind=GrantKind.PROMOTION, expires_in=60)
    await bank.use(500_000, minute=1)
    await bank.use(70_000, minute=2, prepaid=False)
    await bank.expire(61)
    await bank.ledger.adjust("acme", -1, reason="x", actor="admin", idempotency_key="a")
    gateway = await place.gateway(Directory({}))
    await gateway.alerts.choices.set("acme", OrgAlertChoices(daily_summary=False), actor="test")
    place.clock.time = datetime(2026, 4, 1, 12, tzinfo=UTC)
    await JobRunner(gateway.postgres, gateway.alerts.trades(), place.clock).turn()
    (alert,) = await gateway.alerts.book.page("acme", Reach("acme"), "olga")
    assert (alert.kind, alert.data["month"]) == ("monthly_statement", "2026-03")
    said = {line["name"]: line["amount"]["microcredits"] for line in alert.data["lines"]}
    assert said == {
        "opening balance": 5_000_000,
        "credits given": 2_000_000,
        "adjustments": -1,
        "usage": -500_000,
        "expired": -1_500_000,
        "closing balance": 4_999_999,
        "used without the balance": 70_000,
    }
    # Nothing happened in April.
    place.clock.time = datetime(2026, 5, 1, 12, tzinfo=UTC)
    await JobRunner(gateway.postgres, gateway.alerts.trades(), place.clock).turn()
    assert len(await gateway.alerts.book.page("acme", Reach("acme"), "olga")) == 1
