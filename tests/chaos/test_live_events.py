"""Whatever dies while somebody listens, every settlement is told exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiohttp
import pytest

from tests.support.fleet import KEYS, Fleet, running_fleet, until
from tests.support.gateway import ADMIN_TOKEN, MAIN_KEY
from tests.support.live import LiveClient, listening
from tests.support.servers import TestPostgres
from tests.support.simulator import SimulatorProcess


@pytest.fixture
def fleet(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: TestPostgres, simulator: SimulatorProcess
) -> Iterator[Fleet]:
    """Two gateways whose holds outlive them by two seconds."""
    directory = tmp_path_factory.mktemp("live-chaos")
    settings = {"budgets": {"hold_ttl_s": 2}}
    with running_fleet(
        directory, postgres_server, simulator, size=2, name="live_chaos", settings=settings
    ) as running:
        yield running


async def try_call(base: str) -> bool:
    """One small metered call; whether it came to its end."""
    document = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 40}
    headers = {"authorization": f"Bearer {MAIN_KEY}"}
    async with aiohttp.ClientSession() as session:
        try:
            url = f"{base}/v1/chat/completions"
            async with session.post(url, json=document, headers=headers) as reply:
                await reply.read()
                return reply.status == 200
        except aiohttp.ClientError:
            return False


async def calls(base: str, count: int) -> int:
    """One after the other; how many came to their end."""
    return sum([await try_call(base) for _ in range(count)])


def settled(fleet: Fleet) -> dict[str, int]:
    """Microcredits by request id: rows, and what is on the stream (a dead gateway's share stays there a minute)."""
    with fleet.redis() as redis:
        entries = [fields for _, fields in redis.xrange(KEYS.stream)]
    found = fleet.fetch("SELECT request_id, credits_microcredits FROM usage_events")
    of_rows = {row["request_id"]: row["credits_microcredits"] for row in found}
    return of_rows | {fields[b"id"].decode(): int(fields[b"c"]) for fields in entries}


async def read_all(client: LiveClient, fleet: Fleet, known: dict[str, int]) -> dict[str, int]:
    """Wait until nothing is held, then read until every settlement was told to this client or is ``known``."""
    await until(lambda: not fleet.held_requests(), "holds are left")
    await client.gather(len(settled(fleet).keys() - known.keys()))
    return client.charged


async def test_a_listener_of_a_killed_gateway_goes_on_at_another_one(fleet: Fleet) -> None:
    dying, living = fleet.gateways
    async with listening(dying.base, ADMIN_TOKEN, org="acme") as first:
        load = [
            *(asyncio.create_task(calls(dying.base, 40)) for _ in range(4)),
            *(asyncio.create_task(calls(living.base, 40)) for _ in range(4)),
        ]
        await first.gather(20)
        await asyncio.to_thread(dying.kill)
        with pytest.raises((aiohttp.ClientError, EOFError)):
            await first.gather(1_000_000)
    async with listening(living.base, ADMIN_TOKEN, org="acme", after=first.last_event_id) as second:
        await asyncio.gather(*load)
        later = await read_all(second, fleet, first.charged)
        assert not second.named("reset")
    assert not first.charged.keys() & later.keys()
    assert first.charged | later == settled(fleet)


async def test_a_listener_hears_all_over_a_restart_of_redis(fleet: Fleet) -> None:
    async with listening(fleet.bases[0], ADMIN_TOKEN, org="acme") as client:
        await calls(fleet.bases[0], 5)
        await asyncio.to_thread(fleet.redis_server.kill)
        assert not await try_call(fleet.bases[1])
        await asyncio.to_thread(fleet.redis_server.start)
        while not await try_call(fleet.bases[1]):
            pass
        await calls(fleet.bases[1], 5)
        assert await read_all(client, fleet, {}) == settled(fleet)
        assert not client.named("reset")


async def test_a_subscription_that_is_cut_again_and_again_leaves_no_gap(fleet: Fleet) -> None:
    async with listening(fleet.bases[0], ADMIN_TOKEN, org="acme") as client:
        load = [asyncio.create_task(calls(base, 40)) for base in fleet.bases for _ in range(3)]
        with fleet.redis() as redis:
            for told in (20, 60, 120, 180):
                await client.gather(told)
                redis.client_kill_filter(_type="pubsub")
        assert sum(await asyncio.gather(*load)) == 240
        charged = await read_all(client, fleet, {})
        assert charged == settled(fleet)
        assert not client.named("reset")
        total = sum(charged.values())
        await client.until(
            lambda event: event.name == "totals" and event.data["session"]["microcredits"] == total
        )


async def test_a_gateway_that_stops_says_so(fleet: Fleet) -> None:
    async with listening(fleet.bases[0], ADMIN_TOKEN, org="acme") as client:
        stopping = asyncio.create_task(asyncio.to_thread(fleet.gateways[0].stop))
        ended = await client.until(lambda event: event.name == "end", timeout_s=5)
        assert ended.data == {"reason": "shutting_down"}
        assert await stopping == 0
