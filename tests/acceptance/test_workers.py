"""Several workers on one port are one gateway to whoever calls it, watches it or stops it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import aside, until
from tests.support.gateway import MAIN_KEY, GatewayPlan, GatewayProcess
from tests.support.hostile import OPENAI
from tests.support.raw_http import exchange, request
from tests.support.servers import TestPostgres, TestRedis
from tests.support.simulator import SimulatorProcess

CALLS = 24
"""The kernel spreads connections by a hash: that one of two workers gets all of so many is one chance in millions."""
REQUESTS_TOTAL = re.compile(r'tollgate_requests_total\{.*route="chat.completions".*\} (\S+)')


@pytest.fixture(scope="module")
def pair(
    server_directory: Path, postgres_server: TestPostgres, simulator_process: SimulatorProcess
) -> Iterator[GatewayProcess]:
    redis = TestRedis(server_directory / "workers-redis")
    redis.start()
    plan = GatewayPlan(
        server_directory / "workers",
        simulator_process.url,
        redis.url,
        postgres_server.create_database("workers"),
        settings={"server": {"workers": 2}},
    )
    gateway = GatewayProcess(plan)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()
        redis.stop()


def counted(gateway: GatewayProcess) -> float:
    text = exchange(gateway.port, request("/metrics", None, method="GET")).body.decode()
    return sum(map(float, REQUESTS_TOTAL.findall(text)))


def test_whichever_worker_is_asked_answers_for_all(pair: GatewayProcess, simulator: SimulatorProcess) -> None:
    for _ in range(CALLS):
        assert exchange(pair.port, OPENAI.call(MAIN_KEY)).status == 200
    aside(until(lambda: counted(pair) == CALLS, f"the metrics do not tell of {CALLS} calls"))
    # Each of these is a connection of its own, so both workers are asked.
    aside(until(lambda: {counted(pair) for _ in range(CALLS)} == {CALLS}, "one worker tells something else"))
    assert "drift 0" in pair.command("reconcile")
