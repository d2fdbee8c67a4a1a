"""A gateway that dies in the middle of calls: what it held is charged once, by another one."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.chaos.conftest import DRAIN_S, HOLD_TTL_S
from tests.support.fleet import Fleet, cost_of, until
from tests.support.load import DIALECTS, Request, new_session, send, send_all

IN_FLIGHT = 30
REAP_S_MAX = HOLD_TTL_S * 2 + 2
"""The deadline, a round of the reaper (a quarter of it), and a slow machine."""


STOP_S_MAX = 4
"""What a stop may take beyond the drain: settling, flushing, a slow machine."""


def lasting(
    conversation: str, count: int, *, first_byte_ms: int = 20_000, chunk_ms: int = 500
) -> list[Request]:
    """Unary and streaming calls in all dialects that would go on for longer than any test waits for them."""
    kinds = itertools.cycle(itertools.product(DIALECTS, (False, True)))
    requests = []
    for dialect, streamed in itertools.islice(kinds, count):
        pace = {"chunk_ms": chunk_ms} if streamed else {"first_byte_ms": first_byte_ms}
        knobs = {"output_tokens": 200, **pace}
        requests.append(Request(dialect, streamed, 300, knobs, conversation=conversation))
    return requests


async def all_forwarded(fleet: Fleet, requests: list[Request]) -> None:
    """Wait until the provider works on every one of them."""

    def seen() -> bool:
        labels = {entry["label"] for entry in fleet.simulator.so_far() if entry["body_bytes"]}
        return labels >= {request.label for request in requests}

    await until(seen, "not all calls reached the provider")


@pytest.mark.slow
async def test_what_a_killed_gateway_held_is_charged_in_full_once_its_deadline_has_passed(
    fleet: Fleet, conversation: str
) -> None:
    victim, survivor = fleet.gateways[0], fleet.gateways[1]
    requests = lasting(conversation, IN_FLIGHT)
    settled_before, _ = fleet.counter()
    async with new_session() as session, asyncio.TaskGroup() as group:
        calls = [group.create_task(send(session, victim.base, request)) for request in requests]
        await all_forwarded(fleet, requests)
        held = fleet.held_requests()
        assert len(held) == IN_FLIGHT
        victim.kill()
        through_another = await send(session, survivor.base, Request(conversation=conversation))
    through_another.assert_whole()
    assert all(call.result().broken for call in calls)
    took_s = await until(lambda: not fleet.held_requests(), "holds of a dead gateway are left")
    assert took_s < REAP_S_MAX
    await fleet.quiet()
    rows = fleet.rows(conversation)
    assert rows.keys() == {*held, through_another.request_id}
    for request_id, amount in held.items():
        row = rows[request_id]
        assert (row["status"], row["usage_source"]) == ("reaped", "bound")
        assert row["credits_microcredits"] == amount
    own = rows[through_another.request_id]["credits_microcredits"]
    assert fleet.counter() == (settled_before + sum(held.values()) + own, 0)
    victim.start()


@pytest.mark.slow
async def test_calls_that_outlast_the_hold_deadline_are_not_reaped_while_their_gateway_lives(
    fleet: Fleet, conversation: str
) -> None:
    requests = lasting(conversation, 6, first_byte_ms=HOLD_TTL_S * 2000, chunk_ms=HOLD_TTL_S * 10)
    async with new_session() as session:
        outcomes = await send_all(session, fleet.bases, requests)
    for outcome in outcomes:
        outcome.assert_whole()
    await fleet.quiet()
    rows = fleet.rows(conversation)
    entries = {entry["label"]: entry for entry in fleet.simulator.requests()}
    for outcome in outcomes:
        row = rows[outcome.request_id]
        assert (row["status"], row["usage_source"]) == ("ok", "provider")
        assert row["credits_microcredits"] == cost_of(entries[outcome.request.label])


@pytest.mark.slow
async def test_sigterm_lets_streams_end_and_loses_no_row(fleet: Fleet, conversation: str) -> None:
    gateway = fleet.gateways[2]
    logged_before = len(gateway.log)
    requests = lasting(conversation, IN_FLIGHT, first_byte_ms=2000, chunk_ms=10)
    async with new_session() as session, asyncio.TaskGroup() as group:
        calls = [group.create_task(send(session, gateway.base, request)) for request in requests]
        await all_forwarded(fleet, requests)
        exit_code = await asyncio.to_thread(gateway.stop)
    log = gateway.log[logged_before:]
    gateway.start()
    outcomes = [call.result() for call in calls]
    for outcome in outcomes:
        outcome.assert_whole()
    await fleet.quiet()
    rows = fleet.rows(conversation)
    assert rows.keys() == {outcome.request_id for outcome in outcomes}
    entries = {entry["label"]: entry for entry in fleet.simulator.requests()}
    for outcome in outcomes:
        assert rows[outcome.request_id]["credits_microcredits"] == cost_of(entries[outcome.request.label])
    assert exit_code == 0
    assert '"level":"error"' not in log
    assert "Traceback" not in log


@pytest.mark.slow
async def test_sigterm_waits_for_calls_that_are_drained_for_clients_that_left(
    fleet: Fleet, conversation: str
) -> None:
    gateway = fleet.gateways[2]
    knobs = {"first_byte_ms": 2000, "output_tokens": 70}
    requests = [Request(dialect, False, 300, knobs, conversation=conversation) for dialect in DIALECTS]
    async with new_session() as session, asyncio.TaskGroup() as group:
        for request in requests:
            group.create_task(send(session, gateway.base, request, leave_after_s=0.5))
        await all_forwarded(fleet, requests)
    assert await asyncio.to_thread(gateway.stop) == 0
    gateway.start()
    await fleet.quiet()
    entries = {entry["label"]: entry for entry in fleet.simulator.requests()}
    rows = fleet.rows(conversation).values()
    assert {row["end_user"] for row in rows} == entries.keys()
    for row in rows:
        assert (row["status"], row["usage_source"]) == ("client_gone", "provider")
        assert row["credits_microcredits"] == cost_of(entries[row["end_user"]])


@pytest.mark.slow
async def test_sigterm_ends_what_outlasts_the_drain_and_charges_it(fleet: Fleet, conversation: str) -> None:
    gateway = fleet.gateways[2]
    requests = lasting(conversation, 12, first_byte_ms=60_000, chunk_ms=300)
    loop = asyncio.get_running_loop()
    async with new_session() as session, asyncio.TaskGroup() as group:
        calls = [group.create_task(send(session, gateway.base, request)) for request in requests]
        await all_forwarded(fleet, requests)
        held = fleet.held_requests()
        began_s = loop.time()
        assert await asyncio.to_thread(gateway.stop) == 0
        took_s = loop.time() - began_s
    gateway.start()
    assert took_s < DRAIN_S + STOP_S_MAX
    assert not any(call.result().ok for call in calls)
    await fleet.quiet()
    rows = fleet.rows(conversation)
    assert rows.keys() == held.keys()
    for request_id, row in rows.items():
        assert row["status"] in ("client_gone", "cut", "upstream_error"), "left to the reaper"
        assert 0 < row["credits_microcredits"] <= held[request_id]
        assert row["streamed"] == (row["usage_source"] != "bound")
