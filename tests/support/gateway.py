"""Gateways as processes of their own, `tollgate serve`, in front of the simulated provider."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from tests.support.ports import free_port
from tests.support.servers import TestPostgres, TestRedis
from tests.support.simulator import SimulatorProcess

TOLLGATE = Path(sys.executable).parent / "tollgate"
ADMIN_TOKEN = "an-admin-token-for-tests-only-9f3c"
MAIN_KEY = "tg-test-main-key"
TINY_KEY = "tg-test-key-with-next-to-nothing"
UPSTREAM_KEYS = {kind: f"upstream-{kind}-key" for kind in ("openai", "anthropic", "gemini")}
TINY_CREDITS = "0.000001"
"""One microcredit: less than any request can cost."""
READY_TIMEOUT_S = 60.0
ROWS_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 45.0
POLL_S = 0.02


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def limits_of_acme() -> dict[str, Any]:
    """One org with plenty, and two keys: one that may spend it, one that may spend nothing to speak of."""
    keys = [
        {"id": "main", "sha256": digest(MAIN_KEY)},
        {"id": "tiny", "sha256": digest(TINY_KEY), "limits": [{"window": "total", "credits": TINY_CREDITS}]},
    ]
    users = [{"id": "ada", "keys": keys}]
    teams = [{"id": "research", "users": users}]
    org = {"id": "acme", "limits": [{"window": "month", "credits": 10_000_000}], "teams": teams}
    return {"credit_usd": 0.01, "orgs": [org]}


def pricing_of_images() -> dict[str, Any]:
    """What the bundled catalogue has no price for."""
    dall_e = {"provider": "openai", "model": "dall-e-3", "usd_per": {"image standard 1024x1024": 0.04}}
    return {"markup": 1.0, "unpriced": "refuse", "models": [dall_e]}


@dataclass
class GatewayPlan:
    """What a gateway is started with; ``settings`` go over the generated tollgate.yaml by section."""

    directory: Path
    upstream: str
    redis_url: str
    postgres_dsn: str
    limits: Mapping[str, Any] = field(default_factory=limits_of_acme)
    pricing: Mapping[str, Any] = field(default_factory=pricing_of_images)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def write(self, port: int) -> Path:
        """Write the three files; returns the path of tollgate.yaml."""
        self.directory.mkdir(parents=True, exist_ok=True)
        document: dict[str, Any] = {
            "server": {"host": "127.0.0.1", "port": port},
            "redis": {"url": self.redis_url},
            "postgres": {"dsn": self.postgres_dsn},
            "admin_token": ADMIN_TOKEN,
            "providers": {
                kind: {"kind": kind, "base_url": self.upstream, "api_key": key}
                for kind, key in UPSTREAM_KEYS.items()
            },
            "pricing": "pricing.yaml",
            "limits": "limits.yaml",
        }
        for name, section in self.settings.items():
            merged = isinstance(section, Mapping) and isinstance(document.get(name), dict)
            document[name] = {**document[name], **section} if merged else section
        (self.directory / "limits.yaml").write_text(yaml.safe_dump(dict(self.limits)))
        (self.directory / "pricing.yaml").write_text(yaml.safe_dump(dict(self.pricing)))
        config = self.directory / "tollgate.yaml"
        config.write_text(yaml.safe_dump(document))
        return config


class GatewayProcess:
    """One `tollgate serve`. Start, stop, kill and start again: it keeps its port and configuration."""

    key = MAIN_KEY
    tiny_key = TINY_KEY
    admin_token = ADMIN_TOKEN

    def __init__(self, plan: GatewayPlan) -> None:
        self._plan = plan
        self.port = free_port()
        self.config = plan.write(self.port)
        self._log = plan.directory / "gateway.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_base(self) -> str:
        return f"{self.base}/v1"

    @property
    def postgres_dsn(self) -> str:
        return self._plan.postgres_dsn

    @property
    def redis_url(self) -> str:
        return self._plan.redis_url

    @property
    def pid(self) -> int:
        assert self._process is not None, "the gateway does not run"
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Migrate, serve, and wait until `/health/ready` says yes."""
        self.command("migrate")
        self.serve()

    def serve(self) -> None:
        """As `start`, of a database that is migrated, or down."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(TOLLGATE), "serve", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._ready():
            assert self._process.poll() is None, f"the gateway ended at start:\n{self.log[-4000:]}"
            assert time.monotonic() < deadline, f"the gateway is not ready:\n{self.log[-4000:]}"
            time.sleep(POLL_S)

    def command(self, *words: str) -> str:
        """Run `tollgate WORDS --config FILE` to its end; its output. Fails the test where it fails."""
        done = subprocess.run(
            [str(TOLLGATE), *words, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"tollgate {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def stop(self) -> int | None:
        """SIGTERM, as an operator would; kills it if it does not end. The exit code, None if it did not run."""
        if self._process is None:
            return None
        process = self._process
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None
        return process.returncode

    def kill(self) -> None:
        """kill -9 of the gateway and its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    # -------------------------------------------------------------- what it recorded

    def rows(
        self, *, request_id: str | None = None, conversation: str | None = None, at_least: int = 1
    ) -> list[dict[str, Any]]:
        """Rows of the view `usage` of one request or conversation, once there are ``at_least`` so many.

        Raises: AssertionError when they have not come within ROWS_TIMEOUT_S.
        """
        column, wanted = ("request_id", request_id) if request_id else ("conversation_id", conversation)
        query = f"SELECT * FROM usage WHERE {column} = $1 ORDER BY started_at"
        with ThreadPoolExecutor(1) as aside:  # tests of async clients have a running loop here
            return aside.submit(asyncio.run, self._rows(query, wanted, at_least)).result()

    def table(self, name: str) -> list[dict[str, Any]]:
        """Everything that a table holds."""
        query = f"SELECT * FROM {name} WHERE $1::text IS NULL"
        with ThreadPoolExecutor(1) as aside:
            return aside.submit(asyncio.run, self._rows(query, None, 0)).result()

    async def _rows(self, query: str, wanted: str | None, at_least: int) -> list[dict[str, Any]]:
        connection = await asyncpg.connect(self._plan.postgres_dsn)
        deadline = time.monotonic() + ROWS_TIMEOUT_S
        try:
            while True:
                found = [dict(row) for row in await connection.fetch(query, wanted)]
                if len(found) >= at_least:
                    return found
                assert time.monotonic() < deadline, f"{len(found)} of {at_least} rows came for {wanted}"
                await asyncio.sleep(POLL_S)
        finally:
            await connection.close()

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.base}/health/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


@pytest.fixture(scope="session")
def shared_gateway(
    simulator_process: SimulatorProcess, postgres_server: TestPostgres, server_directory: Path
) -> Iterator[GatewayProcess]:
    """One gateway for all tests that only make calls, with a Redis and a database of its own."""
    redis = TestRedis(server_directory / "shared-gateway-redis")
    redis.start()
    dsn = postgres_server.create_database("shared_gateway")
    plan = GatewayPlan(server_directory / "shared-gateway", simulator_process.url, redis.url, dsn)
    gateway = GatewayProcess(plan)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()
        postgres_server.drop_database("shared_gateway")
        redis.stop()


@pytest.fixture
def gateway(shared_gateway: GatewayProcess, simulator: SimulatorProcess) -> Iterator[GatewayProcess]:
    """The shared gateway, in front of a simulator with empty books. Its log is shown where a test fails."""
    logged_before = len(shared_gateway.log)
    yield shared_gateway
    sys.stdout.write(f"gateway log:\n{shared_gateway.log[logged_before:][-8000:]}")
