"""Several workers on one port are one gateway to whoever calls it, watches it or stops it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.fleet import aside, running_fleet, until
from tests.support.gateway import MAIN_KEY, GatewayProcess
from tests.support.hostile import OPENAI
from tests.support.raw_http import CutShort, exchange, request
from tests.support.servers import TestPostgres
from tests.support.simulator import SimulatorProcess

CALLS = 24
"""The kernel spreads connections by a hash: that one of two workers gets all of so many is one chance in millions."""
ROWS_WRITTEN_TOTAL = re.compile(r"^tollgate_rows_written_total (\S+)", re.MULTILINE)
REQUESTS_TOTAL = re.compile(r'tollgate_requests_total\{.*route="chat.completions".*\} (\S+)')


@pytest.fixture(scope="module")
def pair(
    server_directory: Path, postgres_server: TestPostgres, simulator_process: SimulatorProcess
) -> Iterator[GatewayProcess]:
    settings = {"server": {"workers": 2}}
    with running_fleet(
        server_directory, postgres_server, simulator_process, size=1, name="pair", settings=settings
    ) as fleet:
        yield fleet.gateways[0]


def counted(gateway: GatewayProcess, series: re.Pattern[str] = REQUESTS_TOTAL) -> float:
    """What the metrics say; -1 while nobody answers."""
    try:
        text = exchange(gateway.port, request("/metrics", None, method="GET")).body.decode()
    except (OSError, CutShort):
        return -1
    return sum(map(float, series.findall(text)))


def test_whichever_worker_is_asked_answers_for_all(pair: GatewayProcess, simulator: SimulatorProcess) -> None:
    for _ in range(CALLS):
        assert exchange(pair.port, OPENAI.call(MAIN_KEY)).status == 200
    aside(until(lambda: counted(pair) == CALLS, f"the metrics do not tell of {CALLS} calls"))
    # Each of these is a connection of its own, so both workers are asked.
    aside(until(lambda: {counted(pair) for _ in range(CALLS)} == {CALLS}, "one worker tells something else"))
    assert "drift 0" in pair.command("reconcile")


def test_what_a_worker_writes_at_its_end_is_counted(
    pair: GatewayProcess, simulator: SimulatorProcess
) -> None:
    for _ in range(CALLS):
        assert exchange(pair.port, OPENAI.call(MAIN_KEY)).status == 200
    for worker in psutil.Process(pair.pid).children():
        worker.terminate()  # others take their places
    rows = 2 * CALLS
    aside(until(lambda: counted(pair, ROWS_WRITTEN_TOTAL) == rows, f"{rows} rows are not counted"))
    assert len(pair.table("usage")) == rows
