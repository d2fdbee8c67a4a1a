"""A prepaid organisation's calls, from the balance to the ledger: all books agree while and after they run."""

from __future__ import annotations

import concurrent.futures
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.gateway import GatewayPlan, GatewayProcess, digest
from tests.support.servers import TestRedis
from tests.support.simulator import SimulatorProcess

KEY = "tg-test-prepaid"
LIMITS = {
    "credit_usd": 0.01,
    "orgs": [{"id": "prepaid", "balance": {"required": True}, "keys": [{"id": "k", "sha256": digest(KEY)}]}],
}


@pytest.fixture
def prepaid(
    simulator_process: SimulatorProcess, private_redis: TestRedis, postgres_dsn: str, tmp_path: Path
) -> Iterator[GatewayProcess]:
    plan = GatewayPlan(
        tmp_path / "gateway", simulator_process.url, private_redis.url, postgres_dsn, limits=LIMITS
    )
    gateway = GatewayProcess(plan)
    gateway.start()
    yield gateway
    gateway.stop()


def call(gateway: GatewayProcess) -> int:
    body = {"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
    request = urllib.request.Request(f"{gateway.base}/v1/chat/completions", json.dumps(body).encode())
    request.add_header("authorization", f"Bearer {KEY}")
    request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            reply.read()
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_calls_end_in_the_ledger_to_the_microcredit(prepaid: GatewayProcess) -> None:
    assert call(prepaid) == 402
    granted = prepaid.command(
        "credits", "grant", "prepaid", "0.2", "--expires", "2099-01-01", "--reason", "welcome"
    )
    assert "0.2 credits expire on 2099-01-01 00:00 UTC" in granted
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: call(prepaid), range(8)))
    while len(statuses) < 300 and statuses[-1] != 402:
        statuses.append(call(prepaid))
    assert set(statuses) <= {200, 402, 429}
    assert statuses[-1] == 402
    prepaid.stop()
    told = prepaid.command("reconcile")
    assert told.splitlines()[-1] == "drift 0"
    assert "1 balances compared" in told
    left = re.match(r"prepaid: (0\.\d+) credits left of 0\.2", prepaid.command("credits", "show", "prepaid"))
    assert left is not None
    over = prepaid.command("credits", "adjust", "prepaid", "-1", "--reason", "correction")
    assert f"prepaid: -{1 - Decimal(left[1])} credits left" in over
    statement = dict(
        line.rsplit(maxsplit=1)
        for line in prepaid.command("credits", "statement", "prepaid").splitlines()[2:]
    )
    assert Decimal(statement["credits given"]) == Decimal("0.2")
    assert Decimal(statement["closing balance"]) == Decimal("0.2") + Decimal(statement["usage"]) - 1
    ledger = prepaid.command("credits", "ledger", "prepaid").splitlines()
    assert [line.split()[4] for line in ledger[1:3]] == ["adjustment", "usage"]
    assert ledger[1].split()[5:7] == ["1", "-1"], "the amount and by how much it changed the balance"
    assert prepaid.command("reconcile").splitlines()[-1] == "drift 0"
