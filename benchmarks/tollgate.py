"""Tollgate as a contender, with everything on: its own Redis and Postgres, keys, eight limits on every call, rows."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg
import redis
import yaml

from benchmarks.child import BenchmarkError, Child
from benchmarks.contender import POLL_S, START_TIMEOUT_S, Contender, free_port
from gateway.budgets.keyspace import partition_keys
from gateway.embedded import Embedded, Endpoints

TOLLGATE = Path(sys.executable).parent / "tollgate"
WRITTEN_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 120.0
PLENTY_CREDITS = 1_000_000_000
"""No limit refuses anything here: a refusal is cheap, and not what is measured."""


class Tollgate:
    """A gateway, its Redis and its Postgres, all of their own in ``directory``.

    ``limits``: what limits.yaml says; default: eight limits on every call of one key.
    """

    def __init__(self, directory: Path, limits: Mapping[str, Any] | None = None) -> None:
        self._directory = directory
        self._data = directory / "data"
        self._embedded = Embedded(self._data)
        self._child: Child | None = None
        self._key = f"tg-{secrets.token_urlsafe(24)}"
        self._limits = limits or _limits(self._key)
        self._config = directory / "tollgate.yaml"
        self._endpoints: Endpoints
        self._redis: redis.Redis

    def start(self, upstream_port: int) -> Contender:
        """Everything up and ready. Raises `BenchmarkError`."""
        self.prepare(upstream_port)
        return self.serve()

    def prepare(self, upstream_port: int) -> None:
        """The stores up, the schema made, the configuration written: commands can run, nothing is served yet."""
        self._directory.mkdir()
        self._endpoints = asyncio.run(self._embedded.start())
        self._redis = redis.Redis.from_url(self._endpoints.redis_url)
        self._port = free_port()
        self._write(self._port, upstream_port)
        self.command("migrate")

    def serve(self) -> Contender:
        """The gateway itself, after `prepare`."""
        port, log = self._port, self._directory / "gateway.log"
        self._child = Child([str(TOLLGATE), "serve", "--config", str(self._config)], log)
        self._wait_until_ready(port, self._child)
        pids = {
            "tollgate": self._child.pid,
            "Redis": int((self._data / "redis.lock").read_text()),
            "Postgres": int((self._data / "postgres.lock").read_text()),
        }
        return Contender("tollgate", port, pids, self._key, self.settle)

    def settle(self) -> None:
        """Wait until every settled call has its row. Raises `BenchmarkError`."""
        deadline = time.monotonic() + WRITTEN_TIMEOUT_S
        stream = partition_keys(0).stream
        while self._redis.xlen(stream) or self._redis.hlen(partition_keys(0).holds):
            if time.monotonic() > deadline:
                raise BenchmarkError(
                    f"{self._redis.xlen(stream)} rows are not written after {WRITTEN_TIMEOUT_S:g} s"
                )
            time.sleep(POLL_S)

    def rows(self) -> dict[str, int]:
        """How many usage rows there are by source and status, e.g. ``{"provider ok": 100}``."""
        return asyncio.run(self._rows())

    @property
    def postgres_dsn(self) -> str:
        return self._endpoints.postgres_dsn

    def command(self, *words: str, timeout_s: float = COMMAND_TIMEOUT_S, shown: bool = False) -> str:
        """Run ``tollgate WORDS --config FILE``; its output. Raises `BenchmarkError` when it fails. ``shown``: what it
        says of its progress goes to standard error."""
        done = subprocess.run(
            [str(TOLLGATE), *words, "--config", str(self._config)],
            stdout=subprocess.PIPE,
            stderr=None if shown else subprocess.PIPE,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode != 0:
            raise BenchmarkError(
                f"tollgate {' '.join(words)}: {done.stdout[-2000:]}{(done.stderr or '')[-2000:]}"
            )
        return done.stdout

    def stop(self) -> None:
        """Gateway first, then its stores. Safe to call without a start."""
        if self._child is not None:
            self._child.stop()
        asyncio.run(self._embedded.stop())

    def _write(self, port: int, upstream_port: int) -> None:
        settings: dict[str, Any] = {
            "server": {"host": "127.0.0.1", "port": port},
            "redis": {"url": self._endpoints.redis_url},
            "postgres": {"dsn": self._endpoints.postgres_dsn},
            "admin_token": secrets.token_hex(32),
            "providers": {
                "openai": {
                    "kind": "openai",
                    "base_url": f"http://127.0.0.1:{upstream_port}",
                    "api_key": "sk-of-the-provider",
                    "connections_max": 4096,
                }
            },
            "limits": "limits.yaml",
        }
        self._config.write_text(yaml.safe_dump(settings))
        (self._directory / "limits.yaml").write_text(yaml.safe_dump(dict(self._limits)))

    def _wait_until_ready(self, port: int, child: Child) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5).close()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if not child.alive or time.monotonic() > deadline:
                    raise BenchmarkError(f"the gateway did not start:\n{child.log_tail()}") from None
                time.sleep(POLL_S)
            else:
                return

    async def _rows(self) -> dict[str, int]:
        connection = await asyncpg.connect(self._endpoints.postgres_dsn)
        try:
            found = await connection.fetch(
                "SELECT usage_source || ' ' || status AS kind, count(*) AS rows FROM usage GROUP BY 1"
            )
        finally:
            await connection.close()
        return {row["kind"]: row["rows"] for row in found}


def _limits(key: str) -> dict[str, Any]:
    """Two limits on each of org, team, user and key: eight counters are held and settled in every call."""

    def limits(*windows: str) -> list[dict[str, Any]]:
        return [{"window": window, "credits": PLENTY_CREDITS} for window in windows]

    digest = hashlib.sha256(key.encode()).hexdigest()
    keys = [{"id": "laptop", "sha256": digest, "limits": limits("day", "total")}]
    users = [{"id": "ada", "limits": limits("day", "week"), "keys": keys}]
    chat = {"window": "day", "credits": PLENTY_CREDITS, "operation": "chat"}
    teams = [{"id": "research", "limits": [*limits("month"), chat], "users": users}]
    return {"credit_usd": 0.01, "orgs": [{"id": "acme", "limits": limits("day", "month"), "teams": teams}]}
