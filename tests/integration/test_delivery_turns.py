"""Whose message is next: no organisation, and none of its endpoints, waits for others that do not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from gateway.alerts.courier import Courier, Pace
from gateway.alerts.delivery import Attempt, Delivery, Outcome
from gateway.alerts.postgres_deliveries import DeliveryTable
from gateway.alerts.postgres_webhooks import ENDPOINTS_MAX
from gateway.ledger.migrate import migrate
from gateway.stores.postgres import Postgres

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PACE = Pace()


@pytest.fixture
async def postgres(postgres_dsn: str) -> AsyncIterator[Postgres]:
    await migrate(postgres_dsn)
    pool = Postgres(postgres_dsn)
    await pool.start()
    yield pool
    await pool.stop()


async def queue(
    postgres: Postgres, org: str, targets: list[str], subjects: int = 1, *, channel: str = "webhook"
) -> None:
    await postgres.execute(
        """INSERT INTO deliveries (delivery_id, org_id, message_id, channel, target, subject, created_at, due_at)
           SELECT gen_random_uuid(), $1, 'm', $2, target, 'limit|' || s, $4, $4
           FROM unnest($3::text[]) target, generate_series(1, $5) s""",
        org, channel, targets, NOW, subjects,
    )  # fmt: skip


async def lease(
    postgres: Postgres, at: datetime = NOW, limit: int = PACE.at_once, channel: str = "webhook"
) -> list[Delivery]:
    return await DeliveryTable(postgres).lease(
        channel, at, PACE.lease, per_target=PACE.per_target, per_org=PACE.per_org, limit=limit
    )


async def unanswered(postgres: Postgres, leased: list[Delivery], at: datetime) -> None:
    for delivery in leased:
        await DeliveryTable(postgres).attempted(
            delivery, Attempt(Outcome.FAILED), started=at, duration_ms=15_000, now=at,
            retry_at=at + timedelta(minutes=5),
        )  # fmt: skip


def silent(org: str, number: int = ENDPOINTS_MAX) -> list[str]:
    return [f"endpoint:{org}{one}" for one in range(number)]


async def test_an_organisation_whose_receivers_are_silent_leaves_room_for_others(postgres: Postgres) -> None:
    await queue(postgres, "evil", silent("evil"), subjects=200)
    taken = [one for _ in range(5) for one in await lease(postgres)]
    assert len(taken) <= PACE.per_org < PACE.at_once
    await queue(postgres, "good", ["endpoint:good"])
    left = PACE.at_once - len(taken)
    assert "good" in {one.org_id for one in await lease(postgres, limit=left)}


async def test_who_has_fewest_under_way_is_next_however_long_others_have_waited(postgres: Postgres) -> None:
    orgs = ("bad", "worse", "evil", "worst")
    for org in orgs:
        await queue(postgres, org, silent(org), subjects=200)
    under_way = await lease(postgres)
    assert len(under_way) == PACE.at_once
    await queue(postgres, "good", ["endpoint:good"])
    answered = under_way[:1]
    await unanswered(postgres, answered, NOW)
    assert [one.org_id for one in await lease(postgres, limit=1)] == ["good"]


async def test_no_endpoint_waits_for_others_of_its_organisation(postgres: Postgres) -> None:
    await queue(postgres, "acme", silent("acme", ENDPOINTS_MAX - 1), subjects=200)
    at, under_way = NOW, await lease(postgres)
    for _ in range(20):
        assert len(await lease(postgres, at)) == 0
        await unanswered(postgres, under_way[:5], at)
        at += timedelta(seconds=1)
        under_way = under_way[5:] + await lease(postgres, at)
    await queue(postgres, "acme", ["endpoint:alive"])
    assert "endpoint:alive" in {one.target for one in await lease(postgres, at)}


async def test_people_of_two_organisations_who_have_the_same_id_do_not_wait_for_each_other(
    postgres: Postgres,
) -> None:
    await queue(postgres, "evil", ["user:ada"], channel="email")
    await unanswered(postgres, await lease(postgres, channel="email"), NOW)
    await queue(postgres, "acme", ["user:ada"], channel="email")
    assert [one.org_id for one in await lease(postgres, channel="email")] == ["acme"]


async def test_an_attempt_ends_before_its_lease_so_that_nobody_sends_beside_it(postgres: Postgres) -> None:
    class Slow:
        name = "webhook"
        ended = False

        async def send(self, delivery: Delivery) -> Attempt:
            try:
                await asyncio.Event().wait()
            finally:
                self.ended = True
            raise AssertionError

    await queue(postgres, "acme", ["endpoint:slow"])
    channel, pace = Slow(), Pace(attempt_s=0.01)
    assert PACE.attempt_s < PACE.lease.total_seconds()
    async with asyncio.timeout(20):
        assert await Courier(DeliveryTable(postgres), channel, lambda: NOW, pace=pace).turn() == 1
    assert channel.ended
    assert await postgres.fetch_value("SELECT reason FROM delivery_attempts") == "it took too long"
    assert await lease(postgres) == []
