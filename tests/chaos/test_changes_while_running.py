"""Keys revoked and limits edited under three running gateways: in force everywhere at once, or not at all."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.budgets.keyspace import CounterName
from gateway.budgets.model import Scope, Window
from tests.support.fleet import KEYS, ORG, Fleet, limits, until
from tests.support.gateway import MAIN_KEY, GatewayProcess, digest
from tests.support.load import Outcome, Request, new_session, send, send_all
from tests.support.simulator import new_label

REVOKED_S_MAX = 1.0
RELOADED_S_MAX = 2.0


@pytest.fixture
async def session(fleet: Fleet) -> AsyncIterator[aiohttp.ClientSession]:
    """A client; the limits are as they were when the test is over."""
    before = fleet.limits_file.read_text()
    async with new_session() as session:
        yield session
    fleet.write_limits(before)
    await everywhere(fleet, Request(cap=10), 200)


async def everywhere(fleet: Fleet, request: Request, status: int) -> float:
    """Call every gateway until all answer with ``status``; how many seconds the last other answer came after
    the start.
    """
    began_s = time.monotonic()
    latest_other_s = began_s
    async with new_session() as session, asyncio.timeout(20):
        while True:
            asked_s = time.monotonic()
            answers = await asyncio.gather(*(send(session, base, request) for base in fleet.bases))
            if all(answer.status == status for answer in answers):
                return latest_other_s - began_s
            latest_other_s = asked_s


def created_key(gateway: GatewayProcess) -> tuple[str, str]:
    """A new key and its id, as the commands show them."""
    name = new_label("to-be-revoked")
    key = gateway.command("keys", "create", "--org", ORG, "--team", "research", "--name", name).strip()
    (line,) = [line for line in gateway.command("keys", "list").splitlines() if line.endswith(name)]
    return key, line.split()[0]


async def test_a_revoked_key_stops_on_all_gateways_within_a_second(
    fleet: Fleet, session: aiohttp.ClientSession
) -> None:
    key, key_id = await asyncio.to_thread(created_key, fleet.gateways[0])
    await everywhere(fleet, Request(key=key, cap=10), 200)
    await asyncio.to_thread(fleet.gateways[1].command, "keys", "revoke", key_id)
    assert await everywhere(fleet, Request(key=key, cap=10), 401) < REVOKED_S_MAX
    refused = await send(session, fleet.bases[2], Request(key=key))
    assert refused.reason == "revoked_api_key"


async def test_an_open_stream_of_a_revoked_key_ends_on_whichever_gateway_it_is_and_others_go_on(
    fleet: Fleet, session: aiohttp.ClientSession, conversation: str
) -> None:
    key, key_id = await asyncio.to_thread(created_key, fleet.gateways[0])
    await everywhere(fleet, Request(key=key, cap=10), 200)
    slow = {"output_tokens": 300, "chunk_ms": 20}

    def stream(of: str) -> Request:
        return Request(streamed=True, key=of, cap=400, knobs=slow, conversation=conversation)

    async with asyncio.TaskGroup() as group:
        leaked, own = (group.create_task(send(session, fleet.bases[2], stream(of))) for of in (key, MAIN_KEY))
        await until(lambda: len(fleet.held_requests()) == 2, "the streams do not run")
        await asyncio.to_thread(fleet.gateways[1].command, "keys", "revoke", key_id)
        revoked_s = asyncio.get_running_loop().time()
    assert leaked.result().broken
    assert leaked.result().finished_s - revoked_s < REVOKED_S_MAX
    own.result().assert_whole()
    await fleet.quiet()
    rows = await asyncio.to_thread(fleet.rows, conversation)
    assert rows[leaked.result().request_id]["status"] == "cut"
    assert rows[own.result().request_id]["status"] == "ok"


async def test_a_stream_whose_key_is_revoked_before_its_first_byte_is_told_so(
    fleet: Fleet, session: aiohttp.ClientSession, conversation: str
) -> None:
    key, key_id = await asyncio.to_thread(created_key, fleet.gateways[0])
    waiting = Request(streamed=True, key=key, knobs={"first_byte_ms": 60_000}, conversation=conversation)
    async with asyncio.TaskGroup() as group:
        leaked = group.create_task(send(session, fleet.bases[2], waiting))
        await until(
            lambda: any(entry["body_bytes"] for entry in fleet.simulator.so_far()), "the stream does not wait"
        )
        await asyncio.to_thread(fleet.gateways[1].command, "keys", "revoke", key_id)
    assert leaked.result().status == 401
    assert leaked.result().reason == "revoked_api_key"


async def test_a_lowered_limit_and_a_raised_one_are_in_force_everywhere_within_two_seconds(
    fleet: Fleet, session: aiohttp.ClientSession
) -> None:
    await everywhere(fleet, Request(cap=10), 200)
    spent, _ = fleet.counter()
    fleet.declare(limits(spent))
    assert await everywhere(fleet, Request(cap=10), 402) < RELOADED_S_MAX
    fleet.declare(limits())
    assert await everywhere(fleet, Request(cap=10), 200) < RELOADED_S_MAX


async def test_a_key_taken_out_of_the_file_is_revoked_everywhere_within_two_seconds(
    fleet: Fleet, session: aiohttp.ClientSession
) -> None:
    key = "tg-test-a-key-that-comes-and-goes"
    with_key, without = limits(), limits()
    user = with_key["orgs"][0]["teams"][0]["users"][0]
    user["keys"].append({"id": "guest", "sha256": digest(key)})
    fleet.declare(with_key)
    assert await everywhere(fleet, Request(key=key, cap=10), 200) < RELOADED_S_MAX
    fleet.declare(without)
    assert await everywhere(fleet, Request(key=key, cap=10), 401) < RELOADED_S_MAX
    fleet.declare(with_key)
    assert await everywhere(fleet, Request(key=key, cap=10), 200) < RELOADED_S_MAX


def config_check(gateway: GatewayProcess) -> str:
    """What `/health/ready` says of the configuration; it has to stay 200."""
    with urllib.request.urlopen(f"{gateway.base}/health/ready", timeout=5) as answer:
        assert answer.status == 200
        return str(json.load(answer)["checks"]["config"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("orgs: [", "is not valid YAML"),
        ("credit_usd: 0.01\norgs: [{id: acme, limitz: []}]\n", "unknown key"),
        (
            "credit_usd: 0.01\norgs: [{id: acme, limits: [{window: month, credits: 99999999999}]}]\n",
            "credits",
        ),
    ],
)
async def test_a_bad_edit_changes_nothing_and_readiness_says_so(
    fleet: Fleet, session: aiohttp.ClientSession, text: str, reason: str
) -> None:
    good = fleet.limits_file.read_text()
    fleet.write_limits(text)
    for gateway in fleet.gateways:
        await until(lambda gateway=gateway: config_check(gateway) != "ok", "a bad file goes unnoticed")  # type: ignore[misc]
        said = config_check(gateway)
        assert "limits.yaml" in said
        assert reason in said
    for outcome in await send_all(session, fleet.bases, [Request(cap=10) for _ in fleet.bases]):
        outcome.assert_whole()
    fleet.write_limits(good)
    for gateway in fleet.gateways:
        await until(lambda gateway=gateway: config_check(gateway) == "ok", "the mended file is not taken")  # type: ignore[misc]


async def test_a_limit_added_in_mid_window_knows_what_was_spent_before(
    fleet: Fleet, session: aiohttp.ClientSession, conversation: str
) -> None:
    requests = [Request(cap=100, knobs={"output_tokens": 90}, conversation=conversation) for _ in range(12)]
    for outcome in await send_all(session, fleet.bases, requests):
        outcome.assert_whole()
    # Some of it is rows by now, the latest may still be on the stream: the seed has to count both.
    query = "SELECT sum(credits_microcredits)::bigint AS spent FROM usage WHERE team_id = 'research'"
    rules = limits()
    rules["orgs"][0]["teams"][0]["limits"] = [{"window": "total", "credits": 0.01}]
    await fleet.enforce(rules)
    outcomes: list[Outcome] = await send_all(session, fleet.bases, [Request(cap=100) for _ in range(9)])
    for outcome in outcomes:
        outcome.assert_refusal()
        assert outcome.status == 402
    await fleet.quiet()
    (row,) = await asyncio.to_thread(fleet.fetch, query)
    counter = KEYS.counter(CounterName(ORG, Scope.TEAM, "research", None, None, Window.TOTAL, 0))
    with fleet.redis() as client:
        seeded = client.hget(counter, "s")
    assert seeded is not None
    assert int(seeded) == row["spent"]
