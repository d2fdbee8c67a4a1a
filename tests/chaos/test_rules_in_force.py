"""Which limits are in force after restarts, with stores down, and when an older limits.yaml comes back."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import KEYS, Fleet, aside, limits, running_fleet, until
from tests.support.gateway import ADMIN_TOKEN, MAIN_KEY, GatewayProcess
from tests.support.servers import TestPostgres
from tests.support.simulator import SimulatorProcess

YEAR_S = 365 * 86_400


@pytest.fixture(scope="module")
def alone(
    server_directory: Path, chaos_postgres: TestPostgres, simulator_process: SimulatorProcess
) -> Iterator[Fleet]:
    with running_fleet(server_directory, chaos_postgres, simulator_process, size=1, name="rules") as fleet:
        yield fleet


@pytest.fixture
def fleet(alone: Fleet) -> Iterator[Fleet]:
    """One gateway, and a hard limit of next to nothing that was set by command."""
    alone.gateways[0].command(
        "limits", "set", "acme", "--team", "research", "--window", "day", "--credits", "0.000001"
    )
    yield alone
    alone.gateways[0].command("limits", "remove", "acme", "--team", "research", "--window", "day")


def status(gateway: GatewayProcess) -> int:
    body = {"model": "gpt-4o-mini", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}
    request = urllib.request.Request(
        f"{gateway.base}/v1/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {MAIN_KEY}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    aside(until(condition, otherwise))


def api(gateway: GatewayProcess, method: str, body: dict[str, Any]) -> int:
    request = urllib.request.Request(
        f"{gateway.base}/api/limits?org=acme",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {ADMIN_TOKEN}", "content-type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return int(reply.status)


def check(gateway: GatewayProcess, name: str) -> str:
    with urllib.request.urlopen(f"{gateway.base}/health/ready", timeout=30) as reply:
        found: str = json.load(reply)["checks"][name]
    return found


def restart(fleet: Fleet) -> GatewayProcess:
    (gateway,) = fleet.gateways
    gateway.stop()
    gateway.serve()
    return gateway


def test_a_limit_set_by_command_outlives_a_restart_with_a_newer_file(fleet: Fleet) -> None:
    (gateway,) = fleet.gateways
    wait_until(lambda: status(gateway) == 402, "the limit is not in force")
    os.utime(fleet.limits_file)
    assert status(restart(fleet)) == 402


def test_it_outlives_one_while_postgres_is_down(fleet: Fleet, chaos_postgres: TestPostgres) -> None:
    (gateway,) = fleet.gateways
    wait_until(lambda: status(gateway) == 402, "the limit is not in force")
    os.utime(fleet.limits_file)
    chaos_postgres.kill()
    try:
        assert status(restart(fleet)) == 402
    finally:
        chaos_postgres.restart_after_kill()
    assert status(gateway) == 402


def test_it_is_in_force_again_after_redis_has_lost_everything(fleet: Fleet) -> None:
    (gateway,) = fleet.gateways
    wait_until(lambda: status(gateway) == 402, "the limit is not in force")
    gateway.stop()
    fleet.redis_server.clear()
    gateway.serve()
    assert status(gateway) == 402


def test_a_limit_set_while_the_file_is_bad_is_in_force(alone: Fleet) -> None:
    (gateway,) = alone.gateways
    wait_until(lambda: status(gateway) == 200, "a limit is still in force")
    good = alone.limits_file.read_text()
    alone.write_limits("orgs: nonsense")
    wait_until(lambda: check(gateway, "config") != "ok", "the bad file is not noticed")
    name = {"scope": "team", "scope_id": "research", "window": "week"}
    assert api(gateway, "PUT", {**name, "credits": "0.000001"}) == 200
    assert status(gateway) == 402
    assert check(gateway, "config") != "ok"
    alone.write_limits(good)
    wait_until(lambda: check(gateway, "config") == "ok", "the good file is not noticed")
    assert status(gateway) == 402
    gateway.command("limits", "remove", "acme", "--team", "research", "--window", "week")
    wait_until(lambda: status(gateway) == 200, "the limit is still in force")


def test_an_older_file_that_is_put_back_counts(alone: Fleet) -> None:
    (gateway,) = alone.gateways
    wait_until(lambda: status(gateway) == 200, "a limit is still in force")
    good = alone.limits_file.read_text()
    before = alone.limits_file.stat().st_mtime
    alone.declare(limits(1))
    wait_until(lambda: status(gateway) == 402, "the file is not in force")
    beside = alone.limits_file.with_suffix(".old")
    beside.write_text(good)
    os.utime(beside, (before, before))
    beside.replace(alone.limits_file)
    wait_until(lambda: status(gateway) == 200, "the older file is not in force")


def test_a_gateway_that_starts_with_an_older_file_says_so_and_touching_it_puts_it_in_force(
    alone: Fleet,
) -> None:
    (gateway,) = alone.gateways
    good = alone.limits_file.read_text()
    alone.declare(limits(1))
    wait_until(lambda: status(gateway) == 402, "the file is not in force")
    assert check(gateway, "limits") == "ok"
    gateway.stop()
    alone.write_limits(good)
    old_s = time.time() - YEAR_S
    os.utime(alone.limits_file, (old_s, old_s))
    gateway.serve()
    assert status(gateway) == 402
    assert "newer limits of acme" in check(gateway, "limits")
    os.utime(alone.limits_file)
    wait_until(lambda: status(gateway) == 200, "the file is not in force")
    assert check(gateway, "limits") == "ok"


def test_a_file_from_the_future_stands_in_nobodys_way(alone: Fleet) -> None:
    (gateway,) = alone.gateways
    good = alone.limits_file.read_text()
    ahead_s = time.time() + YEAR_S
    alone.declare(limits(1))
    os.utime(alone.limits_file, (ahead_s, ahead_s))
    wait_until(lambda: status(gateway) == 402, "the file is not in force")
    with alone.redis() as client:
        assert int(client.hget(KEYS.rules("acme"), "v") or 0) < 1000 * (time.time() + 60)
    alone.write_limits(good)
    wait_until(lambda: status(gateway) == 200, "the next change is not in force")
