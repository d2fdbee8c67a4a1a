"""Several workers on one port: both serve, and one that dies is replaced."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.chaos.conftest import HOLD_TTL_S
from tests.support.fleet import Fleet, running_fleet, until
from tests.support.load import Request, new_session, send, send_all
from tests.support.servers import TestPostgres
from tests.support.simulator import SimulatorProcess, new_label

SETTINGS = {"server": {"workers": 2}, "budgets": {"hold_ttl_s": HOLD_TTL_S}}


@pytest.fixture
def workers(
    server_directory: Path, postgres_server: TestPostgres, simulator: SimulatorProcess
) -> Iterator[Fleet]:
    with running_fleet(
        server_directory, postgres_server, simulator, size=1, name="workers", settings=SETTINGS
    ) as fleet:
        yield fleet


def pids(fleet: Fleet) -> set[int]:
    """The processes below the supervisor."""
    return {child.pid for child in psutil.Process(fleet.gateways[0].pid).children()}


async def serving(fleet: Fleet) -> set[int]:
    """Which processes answer calls on new connections, by the gateway ids in their rows."""
    conversation = new_label("workers")
    requests = [Request(cap=20, conversation=conversation) for _ in range(24)]
    async with new_session() as session:
        outcomes = await send_all(session, fleet.bases, requests)
    answered = [outcome.request_id for outcome in outcomes if outcome.ok]
    await fleet.quiet()
    query = "SELECT DISTINCT gateway_id FROM usage_events WHERE request_id = ANY($1)"
    rows = await asyncio.to_thread(fleet.fetch, query, answered)
    return {int(row["gateway_id"].rpartition("-")[2]) for row in rows}


async def all_serving(fleet: Fleet, wanted: set[int]) -> None:
    """Until each of these processes has answered a call: they do not begin to listen at the same moment."""
    seen: set[int] = set()
    async with asyncio.timeout(30):
        while not seen >= wanted:
            seen |= await serving(fleet)


@pytest.mark.slow
async def test_both_workers_serve_and_a_killed_one_is_replaced(workers: Fleet) -> None:
    first = pids(workers)
    assert len(first) == 2
    await all_serving(workers, first)

    victim = min(first)
    os.kill(victim, signal.SIGKILL)
    await until(
        lambda: len(pids(workers)) == 2 and victim not in pids(workers), "no worker was started again"
    )
    second = pids(workers)
    await all_serving(workers, second)
    assert "a worker ended" in workers.gateways[0].log

    async with new_session() as session:
        last = asyncio.create_task(
            send(session, workers.bases[0], Request(cap=20, knobs={"first_byte_ms": 1000}))
        )
        await until(lambda: bool(workers.held_requests()), "nothing is held")
        assert await asyncio.to_thread(workers.gateways[0].stop) == 0
        (await last).assert_whole()
    assert not any(map(psutil.pid_exists, second))
    workers.reconcile()
