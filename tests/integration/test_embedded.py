"""The private Redis and Postgres start anywhere, keep their data whatever dies, and leave nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis.asyncio

from gateway.embedded import BinaryNotFound, DataInUse, Embedded, EmbeddedError, Endpoints, ServerFailed
from gateway.embedded.account import account_for
from gateway.embedded.process import Placement
from gateway.embedded.redis_server import RedisServer
from tests.support.servers import PROJECT, pids_below

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def embedded(data: Path) -> AsyncIterator[Embedded]:
    servers = Embedded(data)
    yield servers
    await servers.stop()
    assert pids_below(data) == []


@pytest.fixture
def other_gateway(data: Path) -> Iterator[tuple[subprocess.Popen[str], Endpoints]]:
    """Another process that runs the private servers on ``data``."""
    command = [sys.executable, "-m", "tests.support.hold_embedded", str(data)]
    environment = os.environ | {"OPENAI_API_KEY": "sk-secret"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT, env=environment) as child:
        assert child.stdout
        try:
            yield child, Endpoints(**json.loads(child.stdout.readline()))
        finally:
            end(child)


def end(gateway: subprocess.Popen[str]) -> None:
    """Kill it, and wait until its servers have ended too."""
    if gateway.poll() is None:
        servers = psutil.Process(gateway.pid).children(recursive=True)
        gateway.kill()
        gateway.wait()
        psutil.wait_procs(servers, timeout=30)


async def leave_a_mark(endpoints: Endpoints) -> None:
    async with redis.asyncio.Redis.from_url(endpoints.redis_url) as client:
        await client.set("mark", "kept")
    connection = await asyncpg.connect(endpoints.postgres_dsn)
    try:
        await connection.execute("CREATE TABLE mark AS SELECT 'kept' AS mark")
    finally:
        await connection.close()


async def read_marks(endpoints: Endpoints) -> tuple[str, str]:
    async with redis.asyncio.Redis.from_url(endpoints.redis_url, decode_responses=True) as client:
        in_redis = str(await client.get("mark"))
    connection = await asyncpg.connect(endpoints.postgres_dsn)
    try:
        return in_redis, await connection.fetchval("SELECT mark FROM mark")
    finally:
        await connection.close()


async def test_data_outlives_a_stop_and_a_second_start_changes_nothing(embedded: Embedded) -> None:
    endpoints = await embedded.start()
    await leave_a_mark(endpoints)
    assert await embedded.start() == endpoints

    await embedded.stop()
    await embedded.stop()

    assert await embedded.start() == endpoints
    assert await read_marks(endpoints) == ("kept", "kept")


async def test_stopping_what_never_started_is_no_error(embedded: Embedded) -> None:
    await embedded.stop()


async def test_a_start_cancelled_half_way_leaves_nothing_running(embedded: Embedded, data: Path) -> None:
    starting = asyncio.ensure_future(embedded.start())
    while not pids_below(data):  # noqa: ASYNC110 - a process of somebody else can only be looked for
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert pids_below(data) == []
    await embedded.start()


async def test_a_killed_gateway_takes_its_servers_along_and_the_next_start_finds_the_data(
    other_gateway: tuple[subprocess.Popen[str], Endpoints], embedded: Embedded
) -> None:
    gateway, endpoints = other_gateway
    await leave_a_mark(endpoints)
    gateway.kill()
    gateway.wait()

    assert await embedded.start() == endpoints
    assert await read_marks(endpoints) == ("kept", "kept")


async def test_servers_killed_outright_come_back_with_what_they_had(embedded: Embedded, data: Path) -> None:
    endpoints = await embedded.start()
    await leave_a_mark(endpoints)
    async with redis.asyncio.Redis.from_url(endpoints.redis_url) as client:
        await client.config_set("appendfsync", "always")
        await client.set("written", "to disk")
    for pid in pids_below(data):
        psutil.Process(pid).kill()
    assert "ended with status -9" in await embedded.failed()

    await embedded.stop()

    assert await embedded.start() == endpoints
    assert await read_marks(endpoints) == ("kept", "kept")


async def test_a_pid_file_that_names_a_stranger_does_not_keep_postgres_from_starting(
    embedded: Embedded, data: Path
) -> None:
    await embedded.start()
    pid_file = data / "postgres" / "postmaster.pid"
    left_by_crash = pid_file.read_text().splitlines()
    await embedded.stop()
    pid_file.write_text("\n".join([str(os.getpid()), *left_by_crash[1:], ""]))

    await embedded.start()


async def test_a_server_that_outlived_its_gateway_is_stopped_first(tmp_path: Path) -> None:
    account = account_for(tmp_path)
    place = Placement(tmp_path / "redis", tmp_path / "redis.lock", tmp_path / "redis.log", account)
    account.make_directory(tmp_path / "run")
    left_behind = RedisServer(place, tmp_path / "run" / "redis.sock")
    await left_behind.start()

    newcomer = RedisServer(place, tmp_path / "run" / "redis.sock")
    assert await newcomer.process.clear_orphan() is True
    assert not left_behind.process.is_running
    assert await newcomer.process.clear_orphan() is False
    await left_behind.stop()


async def test_two_gateways_on_one_directory_are_refused_by_name(
    other_gateway: tuple[subprocess.Popen[str], Endpoints], embedded: Embedded
) -> None:
    gateway, _ = other_gateway
    with pytest.raises(DataInUse, match=rf"pid {gateway.pid}\b.*--data"):
        await embedded.start()
    assert gateway.poll() is None
    end(gateway)


async def test_ctrl_c_and_the_providers_keys_do_not_reach_the_servers(
    other_gateway: tuple[subprocess.Popen[str], Endpoints], data: Path
) -> None:
    gateway, _ = other_gateway
    servers = psutil.Process(gateway.pid).children()
    assert {server.name() for server in servers} == {"redis-server", "postgres"}
    for server in servers:
        assert os.getsid(server.pid) != os.getsid(gateway.pid)
        assert "OPENAI_API_KEY" not in server.environ()
    end(gateway)
    assert pids_below(data) == []


@pytest.mark.parametrize(
    "name", ["with space, comma and é", "a" * 120, "'quoted\"%41"], ids=["odd", "long", "quoted"]
)
async def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    embedded = Embedded(tmp_path / name)
    try:
        endpoints = await embedded.start()
        await leave_a_mark(endpoints)
        assert await read_marks(endpoints) == ("kept", "kept")
    finally:
        await embedded.stop()


async def test_the_programs_of_the_wheels_serve_where_nothing_is_installed(
    data: Path, embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("gateway.embedded.binaries.DEBIAN_POSTGRES", Path("/nonexistent"))
    endpoints = await embedded.start()
    await leave_a_mark(endpoints)
    connection = await asyncpg.connect(endpoints.postgres_dsn)
    try:
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        assert await connection.fetchval("SHOW fsync") == "on"
    finally:
        await connection.close()


async def test_data_of_a_postgres_that_is_not_here_says_which_to_install(
    embedded: Embedded, data: Path
) -> None:
    (data / "postgres").mkdir(parents=True)
    (data / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(BinaryNotFound, match=r"written by Postgres 9, .*Install Postgres 9"):
        await embedded.start()


async def test_data_that_an_older_redis_would_ignore_is_refused(
    embedded: Embedded, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "redis" / "appendonlydir").mkdir(parents=True)
    older = tmp_path / "bin" / "redis-server"
    older.parent.mkdir()
    older.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=0:0'\n")
    older.chmod(0o755)
    monkeypatch.setenv("PATH", f"{older.parent}:{os.environ['PATH']}")
    with pytest.raises(EmbeddedError, match="written by Redis 7 or newer"):
        await embedded.start()


async def test_a_server_that_cannot_start_says_what_its_log_says(embedded: Embedded, data: Path) -> None:
    await embedded.start()
    await embedded.stop()
    with (data / "postgres" / "postgresql.conf").open("a") as settings:
        settings.write("nonsense here\n")
    with pytest.raises(ServerFailed, match=r"(?s)private Postgres .*while starting.*contains errors"):
        await embedded.start()
