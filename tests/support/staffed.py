"""A gateway with two organisations, each with somebody of every role."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.gateway import GatewayPlan, GatewayProcess, digest
from tests.support.servers import TestPostgres, TestRedis
from tests.support.simulator import SimulatorProcess

ORGS = ("acme", "globex")
ROLES = ("owner", "billing", "lead", "member", "auditor", "caller")
TIMEOUT_S = 30.0


def key_of(role: str, org: str = "acme") -> str:
    """The key of ``org``'s person of ``role``; its user is called ``{role}``. ``caller``: an owner's, for calls."""
    return f"tg-test-{org}-{role}"


def limits_with_roles() -> dict[str, Any]:
    """Each org: a prepaid balance is not required; the lead leads ``research``, where the member works too."""
    orgs = []
    for org in ORGS:

        def user(role: str, org: str = org) -> dict[str, Any]:
            held, access = ("owner", "calls") if role == "caller" else (role, "role")
            key = {"id": f"{org}-{role}", "sha256": digest(key_of(role, org)), "access": access}
            return {"id": role, "role": held, "keys": [key]}

        team = {"id": "research", "users": [user("lead"), user("member")]}
        orgs.append(
            {
                "id": org,
                "limits": [{"window": "month", "credits": 10_000}],
                "users": [user("owner"), user("billing"), user("auditor"), user("caller")],
                "teams": [team, {"id": "sales", "users": [{"id": "sam"}]}],
            }
        )
    return {"credit_usd": 0.01, "orgs": orgs}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    gateway: GatewayProcess,
    method: str,
    path: str,
    *,
    key: str | None,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One call of the API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{gateway.base}{path}", data=data, method=method)
    if key is not None:
        request.add_header("authorization", f"Bearer {key}")
    if data is not None:
        request.add_header("content-type", "application/json")
    for name, value in (headers or {}).items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
            received = {name.lower(): value for name, value in reply.headers.items()}
            return Answer(reply.status, received, reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(
                error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()
            )


@pytest.fixture(scope="module")
def staffed(
    simulator_process: SimulatorProcess,
    postgres_server: TestPostgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GatewayProcess]:
    """With nothing in the way of many calls from one place."""
    directory = tmp_path_factory.mktemp("staffed")
    redis = TestRedis(directory / "redis")
    redis.start()
    name = f"staffed_{abs(hash(directory))}"
    plan = GatewayPlan(
        directory / "gateway",
        simulator_process.url,
        redis.url,
        postgres_server.create_database(name),
        limits=limits_with_roles(),
        settings={
            "api": {"calls_per_minute": 1_000_000, "sign_in_failures_per_minute": 1_000_000},
            "encryption": {"active": "k1", "keys": {"k1": bytes(range(32)).hex()}},
        },
    )
    gateway = GatewayProcess(plan)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()
        postgres_server.drop_database(name)
        redis.stop()
