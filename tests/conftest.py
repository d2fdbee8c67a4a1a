"""Fixtures that every kind of test may ask for: a real Redis and a real Postgres, clean for each test."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.gateway import gateway as gateway
from tests.support.gateway import shared_gateway as shared_gateway
from tests.support.servers import TestPostgres, TestRedis
from tests.support.simulator import simulator as simulator
from tests.support.simulator import simulator_process as simulator_process

_database_numbers = itertools.count(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tests run in several processes, and what they logged travels as UTF-8, which has no half of a surrogate pair."""
    report = yield
    report.sections = [(name, said.encode("utf-8", "replace").decode()) for name, said in report.sections]
    return report


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """A short path (socket files have at most 108 bytes), gone when the run ends."""
    with tempfile.TemporaryDirectory(prefix="tg-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def redis_server(server_directory: Path) -> Iterator[TestRedis]:
    """A Redis shared by the run. Tests that kill or reconfigure one ask for ``private_redis``."""
    server = TestRedis(server_directory / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: TestRedis) -> str:
    """The shared Redis, emptied."""
    redis_server.clear()
    return redis_server.url


@pytest.fixture
def private_redis() -> Iterator[TestRedis]:
    """A running Redis of the test's own, to kill, stop and start as it likes."""
    with tempfile.TemporaryDirectory(prefix="tg-") as directory:
        server = TestRedis(Path(directory) / "redis")
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def postgres_server(server_directory: Path) -> Iterator[TestPostgres]:
    """A Postgres shared by the run; tests have their own databases in it."""
    server = TestPostgres(server_directory / "postgres")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def postgres_dsn(postgres_server: TestPostgres) -> Iterator[str]:
    """An empty database of the test's own, dropped afterwards."""
    name = f"test_{next(_database_numbers)}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)
