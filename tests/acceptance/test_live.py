"""Live events tell every settlement once, to the microcredit, whoever dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import aiohttp
import pytest

from tests.support.fleet import Fleet, limits, running_fleet, until
from tests.support.gateway import ADMIN_TOKEN, MAIN_KEY, digest
from tests.support.live import Event, listening
from tests.support.servers import TestPostgres
from tests.support.simulator import SimulatorProcess

OTHER_KEY = "tg-test-key-of-somebody-else"
PREPAID_KEY = "tg-test-key-of-who-paid-before"
GRANTED = 50_000_000
STORM_CALLS = 120


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: TestPostgres,
    simulator_process: SimulatorProcess,
) -> Iterator[Fleet]:
    """Two gateways, two people in two teams; and another organisation, which pays beforehand."""
    rules = limits()
    other = {"id": "bob", "keys": [{"id": "other", "sha256": digest(OTHER_KEY)}]}
    rules["orgs"][0]["teams"].append({"id": "sales", "users": [other]})
    keys = [{"id": "globex-key", "sha256": digest(PREPAID_KEY)}]
    rules["orgs"].append({"id": "globex", "balance": {"required": True}, "keys": keys})
    directory = tmp_path_factory.mktemp("live")
    with running_fleet(
        directory, postgres_server, simulator_process, size=2, name="live", rules=rules
    ) as running:
        yield running


async def call(base: str, key: str = MAIN_KEY, **more: object) -> None:
    """One small metered call, to its end."""
    document = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 40, **more}
    headers = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession() as session:
        url = f"{base}/v1/chat/completions"
        async with session.post(url, json=document, headers=headers) as reply:
            await reply.read()
            assert reply.status == 200


async def storm(fleet: Fleet, calls: int, key: str = MAIN_KEY) -> None:
    bases = fleet.bases
    await asyncio.gather(*(call(bases[number % len(bases)], key) for number in range(calls)))


def rows_since(fleet: Fleet, sequence: int) -> dict[str, int]:
    """Microcredits by request id of every row beyond a settlement."""
    query = "SELECT request_id, credits_microcredits FROM usage_events WHERE sequence > $1"
    return {row["request_id"]: row["credits_microcredits"] for row in fleet.fetch(query, sequence)}


def session_is(microcredits: int) -> Callable[[Event], bool]:
    def told(event: Event) -> bool:
        return event.name == "totals" and event.data["session"]["microcredits"] == microcredits

    return told


async def test_every_settlement_is_told_once_and_sums_equal_rows_and_redis(fleet: Fleet) -> None:
    settled_before, _ = fleet.counter()
    async with listening(fleet.bases[0], ADMIN_TOKEN, org="acme") as client:
        began = client.events[0]
        await storm(fleet, STORM_CALLS)
        await client.gather(STORM_CALLS)
        charged = client.charged
        last = await client.until(
            lambda event: (
                event.name == "totals" and event.data["session"]["microcredits"] == sum(charged.values())
            )
        )
    await fleet.quiet()
    assert charged == rows_since(fleet, began.id or 0)
    settled, _ = fleet.counter()
    assert sum(charged.values()) == settled - settled_before
    grown = {
        name: last.data[name]["microcredits"] - began.data[name]["microcredits"]
        for name in ("today", "this_month")
    }
    assert grown == {"today": sum(charged.values()), "this_month": sum(charged.values())}


async def test_the_balance_falls_by_what_is_told(fleet: Fleet) -> None:
    grant = {"credits": GRANTED // 1_000_000, "reason": "to begin with"}
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        url = f"{fleet.bases[0]}/api/credits/grants"
        async with session.post(url, params={"org": "globex"}, json=grant) as reply:
            assert reply.status == 201, await reply.text()
    async with listening(fleet.bases[1], PREPAID_KEY) as client:
        await client.until(_left(GRANTED))
        await storm(fleet, 40, PREPAID_KEY)
        await client.gather(40)
        charged = sum(client.charged.values())
        last = await client.until(_left(GRANTED - charged))
    assert last.data["balance"]["total"]["microcredits"] == GRANTED - charged
    await fleet.quiet()
    (row,) = fleet.fetch(
        "SELECT sum(credits_microcredits)::bigint AS spent FROM usage_events WHERE org_id = 'globex'"
    )
    assert row["spent"] == charged


def _left(microcredits: int) -> Callable[[Event], bool]:
    def told(event: Event) -> bool:
        balance = event.data.get("balance") if event.name == "totals" else None
        return balance is not None and balance["left"]["microcredits"] == microcredits

    return told


async def test_everyone_hears_what_their_role_may_see(fleet: Fleet) -> None:
    async with (
        listening(fleet.bases[0], MAIN_KEY) as ada,
        listening(fleet.bases[1], OTHER_KEY) as bob,
        listening(fleet.bases[1], ADMIN_TOKEN, org="acme") as admin,
    ):
        await call(fleet.bases[0], MAIN_KEY)
        await call(fleet.bases[0], OTHER_KEY)
        await call(fleet.bases[1], OTHER_KEY)
        await admin.gather(3)
        await bob.gather(2)
        await ada.gather(1)
        await ada.until(session_is(sum(ada.charged.values())))
    assert {event.data["user"] for event in ada.named("usage")} == {"ada"}
    assert {event.data["user"] for event in bob.named("usage")} == {"bob"}
    assert ada.charged | bob.charged == admin.charged


async def test_a_client_that_comes_back_misses_nothing_and_hears_nothing_twice(fleet: Fleet) -> None:
    """Nobody listened in between, so nothing was kept in memory: the books have it. On the other gateway, too."""
    async with listening(fleet.bases[0], ADMIN_TOKEN, org="acme") as first:
        await storm(fleet, 5)
        await first.gather(5)
        seen = first.last_event_id
    assert seen is not None
    await storm(fleet, 10)
    await fleet.quiet()  # these are rows by now; some of those that follow are still on the stream
    await storm(fleet, 10)
    async with listening(fleet.bases[1], ADMIN_TOKEN, org="acme", after=seen) as second:
        await storm(fleet, 5)
        await second.gather(25)
        assert not second.named("reset")
    assert not first.charged.keys() & second.charged.keys()
    await fleet.quiet()
    told = {**first.charged, **second.charged}
    assert told.items() <= rows_since(fleet, 0).items()
    assert second.charged == rows_since(fleet, seen)


async def test_what_lies_too_far_back_is_a_reset_with_fresh_totals(fleet: Fleet) -> None:
    async with listening(fleet.bases[0], ADMIN_TOKEN, org="acme", after=1) as client:
        assert [event.name for event in client.events] == ["reset"]
        settled, _ = fleet.counter()
        assert client.events[0].data["reason"] == "too_old"
        assert client.events[0].data["this_month"]["microcredits"] == settled


async def test_a_call_in_flight_shows_what_it_costs_so_far(fleet: Fleet, simulator: SimulatorProcess) -> None:
    simulator.configure(output_tokens=400, chunk_ms=10)

    def costs_more_than(microcredits: int) -> Callable[[Event], bool]:
        return lambda event: event.name == "in_flight" and event.data["so_far"]["microcredits"] > microcredits

    async with listening(fleet.bases[1], MAIN_KEY) as client:
        running = asyncio.create_task(call(fleet.bases[0], stream=True, max_tokens=2000))
        first = await client.until(costs_more_than(0))
        second = await client.until(costs_more_than(first.data["so_far"]["microcredits"]))
        await running
        await client.gather(1)
        await client.until(lambda event: event.name == "in_flight" and event.data["open"] == 0)
    (one,) = second.data["calls"]
    assert (one["model"], one["user"], one["estimated"]) == ("gpt-4o", "ada", True)
    assert one["output_tokens"] > 0
    assert one["so_far"]["microcredits"] <= one["held"]["microcredits"]
    assert client.named("usage")[0].data["id"] == one["id"]


async def test_listeners_of_a_gateway_share_one_subscription(fleet: Fleet) -> None:
    def subscribers() -> int:
        with fleet.redis() as client:
            return int(client.pubsub_numsub("tg:{p0}:live")[0][1])

    await until(lambda: subscribers() == 0, "a gateway listens to Redis for nobody")
    async with (
        listening(fleet.bases[0], MAIN_KEY),
        listening(fleet.bases[0], OTHER_KEY),
        listening(fleet.bases[0], ADMIN_TOKEN, org="acme"),
    ):
        assert subscribers() == 1
        async with listening(fleet.bases[1], MAIN_KEY):
            assert subscribers() == 2
    await until(lambda: subscribers() == 0, "a gateway still listens to Redis for nobody")


async def test_a_revoked_key_stops_hearing_within_two_seconds(fleet: Fleet) -> None:
    words = ("--org", "acme", "--user", "ada", "--name", "laptop")
    key = fleet.gateways[0].command("keys", "create", *words).strip()
    async with listening(fleet.bases[0], key) as client:
        listed = fleet.gateways[0].command("keys", "list", "--org", "acme")
        line = next(line for line in listed.splitlines() if "laptop" in line)
        fleet.gateways[0].command("keys", "revoke", line.split()[0])
        began_s = asyncio.get_running_loop().time()
        ended = await client.until(lambda event: event.name == "end")
        assert ended.data == {"reason": "revoked"}
        assert asyncio.get_running_loop().time() - began_s < 2.0
        with pytest.raises(EOFError):
            await client.next()
