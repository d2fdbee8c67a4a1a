"""Real Redis and Postgres processes for tests, driven from plain (not async) code.

They are started from the main thread and end with it, so an interrupted run leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import redis

from gateway.embedded.account import Account, account_for
from gateway.embedded.postgres_server import PostgresServer
from gateway.embedded.process import Placement
from gateway.embedded.redis_server import RedisServer
from tests.support.ports import free_port

# A crash of the machine is nothing that a test run must survive. What a server answered has to survive its own: Redis
# writes before it answers, but not with `everysec` while the disk is busy; from Postgres, gateways must ask for it.
REDIS_SETTINGS = {"appendfsync": "no"}
POSTGRES_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
}


PROJECT = Path(__file__).parents[2]


class TestRedis:
    """A Redis on a loopback port. ``kill`` and ``start`` again: it comes back with its append-only file."""

    __test__ = False

    def __init__(self, directory: Path) -> None:
        place, account = _place(directory, "redis")
        self._server = RedisServer(place, directory / "redis.sock", port=free_port(), settings=REDIS_SETTINGS)
        account.make_directory(directory)

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:PORT/0``."""
        return self._server.url

    @property
    def port(self) -> int:
        """The loopback port, the same after a restart."""
        return self._server.port

    @property
    def pid(self) -> int:
        """Of the running server."""
        return _running(self._server.process.pid)

    def start(self) -> None:
        """Start and wait until it answers."""
        run(self._server.start())

    def stop(self) -> None:
        """Stop as an operator would."""
        run(self._server.stop())

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self._server.process.kill()

    def clear(self) -> None:
        """Empty it, scripts and server-wide settings apart."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()


class TestPostgres:
    """A Postgres with one database for each test that asks for one."""

    __test__ = False

    def __init__(self, directory: Path) -> None:
        place, account = _place(directory, "postgres")
        self._server = PostgresServer(place, directory, settings=POSTGRES_SETTINGS)
        account.make_directory(directory)

    @property
    def pid(self) -> int:
        """Of the running postmaster."""
        return _running(self._server.process.pid)

    def dsn(self, database: str) -> str:
        """How to connect to ``database``."""
        return self._server.dsn(database)

    def start(self) -> None:
        """Start and wait until it takes connections."""
        run(self._server.start())

    def stop(self) -> None:
        """Disconnect everybody and stop."""
        run(self._server.stop())

    def kill(self) -> None:
        """kill -9 of the postmaster; its children follow by themselves."""
        self._server.process.kill()

    def restart_after_kill(self) -> None:
        """Wait until nothing of the killed server is left, then start it on the same data."""
        run(self._server.process.clear_orphan())
        run(self._server.start())

    def create_database(self, name: str, template: str = "template0") -> str:
        """Create a database, empty or a copy of ``template`` (with nobody connected to it); its DSN."""
        run(self._execute(f'CREATE DATABASE "{_plain(name)}" TEMPLATE "{_plain(template)}"'))
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and whoever is connected to it."""
        run(self._execute(f'DROP DATABASE IF EXISTS "{_plain(name)}" WITH (FORCE)'))

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.dsn("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def run(work: Coroutine[Any, Any, Any]) -> None:
    """Run to its end on a loop of its own, leaving the test's loop as it is."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


def pids_below(directory: Path) -> list[int]:
    """The processes that have an open file below ``directory``, this one apart: servers that run on it."""
    found = []
    for process in psutil.process_iter():
        try:
            open_paths = [process.cwd(), *(file.path for file in process.open_files())]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid != os.getpid() and any(Path(path).is_relative_to(directory) for path in open_paths):
            found.append(process.pid)
    return found


def _place(directory: Path, name: str) -> tuple[Placement, Account]:
    account = account_for(directory)
    return Placement(
        directory / name, directory / f"{name}.lock", directory / f"{name}.log", account
    ), account


def _running(pid: int | None) -> int:
    assert pid is not None, "the server does not run"
    return pid


def _plain(name: str) -> str:
    assert re.fullmatch(r"[a-z0-9_]{1,63}", name), name
    return name
