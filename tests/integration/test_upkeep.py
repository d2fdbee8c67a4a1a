"""What an installation forgets by itself: answers that nobody repeats any more, deliveries that ended long
ago, secrets that sign nothing any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from gateway.alerts.postgres_deliveries import DeliveryTable
from gateway.alerts.postgres_webhooks import WebhookTable
from gateway.api.postgres_answers import Answer, Answers, Asked
from gateway.jobs.runner import JobRunner
from gateway.jobs.upkeep import upkeep_trades
from tests.support.people import Office, office, vault

NOW = datetime.now(UTC)


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str) -> AsyncIterator[Office]:
    async with office(redis_url, postgres_dsn) as made:
        yield made


def upkeep(place: Office, now: datetime) -> JobRunner:
    webhooks = WebhookTable(place.postgres, vault(), lambda: now)
    forgetting = [Answers(place.postgres).forget, DeliveryTable(place.postgres).forget, webhooks.forget]
    registry = place.registry
    trades = upkeep_trades(registry.erasures, registry.retention, lambda: now, forgetting)
    return JobRunner(place.postgres, trades, lambda: now)


async def test_first_answers_are_forgotten_after_their_time(place: Office) -> None:
    asked = Asked("admin", "grant_credits", "k", b"digest")
    await Answers(place.postgres).keep(asked, Answer(201, "{}"))
    await upkeep(place, NOW + timedelta(days=29)).turn()
    assert await Answers(place.postgres).find(asked) is not None
    await upkeep(place, NOW + timedelta(days=31)).turn()
    assert await Answers(place.postgres).find(asked) is None


async def test_deliveries_that_ended_are_forgotten_and_those_that_wait_are_not(place: Office) -> None:
    deliver = (
        "INSERT INTO deliveries (delivery_id, org_id, message_id, channel, target, subject, state, created_at, "
        "due_at, ended_at) VALUES ($1, 'acme', $1, 'webhook', 'endpoint:e', 's', $2, $3, $3, $4)"
    )
    await place.postgres.execute(deliver, "old", "delivered", NOW, NOW)
    await place.postgres.execute(deliver, "erased", "cancelled", NOW, None)
    await place.postgres.execute(deliver, "waits", "pending", NOW, None)
    await place.postgres.execute(deliver, "new", "failed", NOW, NOW + timedelta(days=30))
    await place.postgres.execute(
        "INSERT INTO delivery_attempts VALUES ('old', 1, $1, 5, 'delivered', 200, '')", NOW
    )
    await upkeep(place, NOW + timedelta(days=91)).turn()
    kept = await place.postgres.fetch("SELECT delivery_id FROM deliveries ORDER BY 1")
    assert [row["delivery_id"] for row in kept] == ["new", "waits"]
    assert await place.postgres.fetch_value("SELECT count(*) FROM delivery_attempts") == 0


async def test_a_secret_that_was_replaced_is_forgotten_when_it_signs_no_more(place: Office) -> None:
    webhooks = WebhookTable(place.postgres, vault(), lambda: NOW)
    endpoint, _ = await webhooks.add("acme", "https://example.com/hook", "", None, actor="test")
    await webhooks.rotate("acme", endpoint.endpoint_id, actor="test", overlap=timedelta(days=1))
    counts = []
    for later in (timedelta(0), timedelta(days=1), timedelta(days=400)):
        await upkeep(place, NOW + later).turn()
        counts.append(await place.postgres.fetch_value("SELECT count(*) FROM webhook_secrets"))
    assert counts == [2, 1, 1]
