"""A gateway that dies in the middle of calls: what it held is charged once, by another one."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.chaos.conftest import HOLD_TTL_S
from tests.support.fleet import Fleet, cost_of, until
from tests.support.load import DIALECTS, Request, new_session, send, send_all

IN_FLIGHT = 30
REAP_S_MAX = HOLD_TTL_S * 2 + 2
"""The deadline, a round of the reaper (a quarter of it), and a slow machine."""


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
