"""A gateway with tight bounds for clients that mean no good, and its books to see that they got nowhere."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis

from tests.support.gateway import POLL_S, ROWS_TIMEOUT_S, GatewayPlan, GatewayProcess, digest, limits_of_acme
from tests.support.raw_http import RawReply, exchange, request
from tests.support.scripted_provider import ScriptedProvider, scripted_provider
from tests.support.servers import TestPostgres, TestRedis
from tests.support.simulator import SimulatorProcess

EXPIRED_KEY = "tg-test-expired-key"
BODY_BYTES_MAX = 2 * 1024 * 1024
HEADER_BYTES_MAX = 64 * 1024
BODY_TIMEOUT_S = 1.0
CLIENT_STALL_TIMEOUT_S = 2.0
SCRIPTED_KEYS = {
    "said": "upstream-key-of-said",
    "saida": "upstream-key-of-saida",
    "saidg": "upstream-key-of-saidg",
}
SAID_KINDS = {"said": "openai", "saida": "anthropic", "saidg": "gemini"}
"""Providers whose replies a test writes byte by byte, by their names in the configuration."""


@dataclass(frozen=True)
class Wording:
    """One API: a good request, and where its refusals say what happened."""

    name: str
    path: str
    body: Mapping[str, Any]
    key_header: str
    key_prefix: str = ""

    def call(self, key: str | None, **changes: Any) -> bytes:
        return self.request(json.dumps({**self.body, **changes}).encode(), key)

    def request(self, body: bytes, key: str | None, headers: Mapping[str, str] | None = None) -> bytes:
        credentials = {} if key is None else {self.key_header: self.key_prefix + key}
        always = {"content-type": "application/json"}
        if self.name == "anthropic":
            always["anthropic-version"] = "2023-06-01"
        return request(self.path, body, {**always, **credentials, **(headers or {})})

    def assert_refused(self, reply: RawReply, status: int, code: str) -> dict[str, Any]:
        """The shape that this API's SDKs read; returns the error object."""
        assert reply.status == status, reply
        assert reply.header("x-tollgate-error") == code
        assert reply.header("content-type") == "application/json"
        assert (reply.header("x-tollgate-request-id") or "") != ""
        document = reply.json()
        error: dict[str, Any] = document["error"]
        assert error["message"]
        if self.name == "openai":
            assert set(document) == {"error"}
            assert set(error) == {"message", "type", "param", "code"}
            assert error["code"] == code
        elif self.name == "anthropic":
            assert document["type"] == "error"
            assert error["details"]["error_code"] == code
            assert document["request_id"] == reply.header("request-id")
        else:
            assert error["code"] == status
            assert error["status"] == error["status"].upper()
            assert [detail["reason"] for detail in error["details"] if "reason" in detail] == [code]
        return error


_TEXT = "a prompt that must not be seen in any log: zanzibar"
OPENAI = Wording(
    "openai", "/v1/chat/completions",
    {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": _TEXT}], "max_tokens": 20},
    "authorization", "Bearer ",
)  # fmt: skip
ANTHROPIC = Wording(
    "anthropic", "/v1/messages",
    {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": _TEXT}], "max_tokens": 20},
    "x-api-key",
)  # fmt: skip
GEMINI = Wording(
    "gemini", "/v1beta/models/gemini-2.5-flash:generateContent",
    {"contents": [{"parts": [{"text": _TEXT}]}], "generationConfig": {"maxOutputTokens": 20}},
    "x-goog-api-key",
)  # fmt: skip
WORDINGS = (OPENAI, ANTHROPIC, GEMINI)
PROMPT_MARK = "zanzibar"


@dataclass(frozen=True)
class Standing:
    """What the gateway's stores say of a moment when nothing is in flight."""

    counters: Mapping[str, Mapping[str, str]]
    holds: int
    settlements: str | None
    """The number of the latest one."""


class HostileGateway(GatewayProcess):
    """The gateway under attack."""

    expired_key = EXPIRED_KEY

    def __init__(self, plan: GatewayPlan, said: ScriptedProvider) -> None:
        super().__init__(plan)
        self.plan = plan
        self.said = said

    def exchange(self, data: bytes, *, bodyless: bool = False) -> RawReply:
        return exchange(self.port, data, bodyless=bodyless)

    def standing(self) -> Standing:
        """Counters, open holds, and how many settlements there were."""
        with redis.Redis.from_url(self.plan.redis_url, decode_responses=True) as client:
            names = sorted(client.scan_iter("tg:{p0}:c:*"))
            counters = {name: dict(client.hgetall(name)) for name in names}
            return Standing(counters, client.hlen("tg:{p0}:h"), client.get("tg:{p0}:n"))

    def settled_rows(self) -> int:
        """How many rows there are once everything that was settled is written."""
        with ThreadPoolExecutor(1) as aside:
            return aside.submit(asyncio.run, self._settled_rows()).result()

    async def _settled_rows(self) -> int:
        connection = await asyncpg.connect(self.plan.postgres_dsn)
        deadline = time.monotonic() + ROWS_TIMEOUT_S
        try:
            with redis.Redis.from_url(self.plan.redis_url) as client:
                while client.xlen("tg:{p0}:u"):
                    assert time.monotonic() < deadline, "settlements stay in the stream"
                    await asyncio.sleep(POLL_S)
            return int(await connection.fetchval("SELECT count(*) FROM usage"))
        finally:
            await connection.close()


def hostile_limits() -> dict[str, Any]:
    limits = limits_of_acme()
    keys = limits["orgs"][0]["teams"][0]["users"][0]["keys"]
    keys.append({"id": "expired", "sha256": digest(EXPIRED_KEY), "expires": "2020-01-01T00:00:00Z"})
    return limits


@pytest.fixture(scope="session")
def hostile_process(
    simulator_process: SimulatorProcess, postgres_server: TestPostgres, server_directory: Path
) -> Iterator[HostileGateway]:
    """One gateway with small bounds and short time-outs, shared by the tests of bad input."""
    redis_server = TestRedis(server_directory / "hostile-redis")
    redis_server.start()
    dsn = postgres_server.create_database("hostile_gateway")
    with scripted_provider() as said:
        settings = {
            "server": {
                "body_bytes_max": BODY_BYTES_MAX,
                "body_timeout_s": BODY_TIMEOUT_S,
                "client_stall_timeout_s": CLIENT_STALL_TIMEOUT_S,
            },
            "providers": {
                name: {"kind": kind, "base_url": said.url, "api_key": SCRIPTED_KEYS[name]}
                for name, kind in SAID_KINDS.items()
            },
        }
        directory = server_directory / "hostile"
        plan = GatewayPlan(
            directory, simulator_process.url, redis_server.url, dsn, hostile_limits(), settings=settings
        )
        gateway = HostileGateway(plan, said)
        try:
            gateway.start()
            yield gateway
        finally:
            gateway.stop()
            postgres_server.drop_database("hostile_gateway")
            redis_server.stop()


@pytest.fixture
def hostile(hostile_process: HostileGateway, simulator: SimulatorProcess) -> Iterator[HostileGateway]:
    """The gateway under attack, in front of a simulator with empty books."""
    logged_before = len(hostile_process.log)
    yield hostile_process
    sys.stdout.write(f"gateway log:\n{hostile_process.log[logged_before:][-8000:]}")
