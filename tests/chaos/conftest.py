"""Three gateways with stores of their own, to be killed and disturbed; every test leaves them running and quiet."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, running_fleet
from tests.support.gateway import UPSTREAM_KEYS
from tests.support.ports import free_port
from tests.support.servers import TestPostgres
from tests.support.simulator import SimulatorProcess, new_label

HOLD_TTL_S = 2
DRAIN_S = 5
STALL_S = 1.5
IMPATIENCE_S = 0.5


@pytest.fixture(scope="package")
def chaos_postgres() -> Iterator[TestPostgres]:
    """A Postgres that may be killed."""
    with tempfile.TemporaryDirectory(prefix="tg-", ignore_cleanup_errors=True) as directory:
        server = TestPostgres(Path(directory) / "postgres")
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="package")
def running(chaos_postgres: TestPostgres, simulator_process: SimulatorProcess) -> Iterator[Fleet]:
    key = UPSTREAM_KEYS["openai"]
    impatient = {"first_byte_s": IMPATIENCE_S, "idle_s": IMPATIENCE_S, "connect_s": IMPATIENCE_S}
    settings = {
        "budgets": {"hold_ttl_s": HOLD_TTL_S},
        "server": {"drain_timeout_s": DRAIN_S, "client_stall_timeout_s": STALL_S},
        "providers": {
            "impatient": {
                "kind": "openai",
                "base_url": simulator_process.url,
                "api_key": key,
                "timeouts": impatient,
            },
            "nowhere": {"kind": "openai", "base_url": f"http://127.0.0.1:{free_port()}", "api_key": key},
            "openai": {
                "kind": "openai",
                "base_url": simulator_process.url,
                "api_key": key,
                "default": True,
            },
        },
    }
    # A place of its own each time: where files of other packages run in between, a second fleet comes after the first,
    # with a Postgres that knows nothing of what the first one's Redis has kept.
    with (
        tempfile.TemporaryDirectory(prefix="tg-", ignore_cleanup_errors=True) as directory,
        running_fleet(
            Path(directory), chaos_postgres, simulator_process, size=3, name="chaos", settings=settings
        ) as fleet,
    ):
        yield fleet


@pytest.fixture(scope="module")
def reconciled(running: Fleet) -> Iterator[None]:
    """Once all tests of a file are through, the books agree."""
    yield
    running.reconcile()


@pytest.fixture
async def fleet(running: Fleet, reconciled: None, simulator: SimulatorProcess) -> AsyncIterator[Fleet]:
    """The fleet in front of a simulator with empty books; afterwards nothing is held, all rows are written and no
    gateway met an error that it did not expect.
    """
    logged_before = [len(gateway.log) for gateway in running.gateways]
    yield running
    await running.quiet()
    for gateway, before in zip(running.gateways, logged_before, strict=True):
        log = gateway.log[before:]
        assert "unhandled error" not in log, log
        assert "Traceback" not in log, log


@pytest.fixture
def conversation() -> str:
    """Marks the rows of one test."""
    return new_label("chaos")
