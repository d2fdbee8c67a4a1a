"""Clients that go away at any moment: they are charged for what the provider did, exactly or by count."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.fleet import INPUT_MICROCREDITS, OUTPUT_MICROCREDITS, Fleet, cost_of, until
from tests.support.load import DIALECTS, Outcome, Request, new_session, send

MOMENTS_S = 1.0
TOKEN_MARKS = {"openai": b'"content":" ', "anthropic": b'"text":" ', "gemini": b'"text":" '}
"""What an event with one more word looks like; the very first word has no space before it."""
TOKENIZER_MARGIN = {"openai": 1.0, "anthropic": 1.6, "gemini": 1.0}
"""By how much the gateway's count of other vendors' tokens leans upwards."""
REASONING_MODEL = "o4-mini"


async def leave(bases: Sequence[str], requests: list[Request], moments_s: list[float]) -> dict[str, Outcome]:
    """Send each request and close its connection after so many seconds, reply or not; by label."""
    async with new_session() as session, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(send(session, base, request, leave_after_s=after_s))
            for base, request, after_s in zip(itertools.cycle(bases), requests, moments_s, strict=False)
        ]
    return {task.result().request.label: task.result() for task in tasks}


async def rows_by_label(fleet: Fleet, conversation: str) -> dict[str, dict[str, Any]]:
    """Rows by the label of their request, which is their end user: clients that left saw no request id."""
    await fleet.quiet()
    rows = fleet.rows(conversation)
    by_label = {row["end_user"]: row for row in rows.values()}
    assert len(by_label) == len(rows), "a request has two rows"
    return by_label


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_unary_call_whose_client_left_is_drained_and_charged_exactly(
    fleet: Fleet, conversation: str, dialect: str
) -> None:
    requests = [
        Request(
            dialect, False, 300, {"output_tokens": 80 + n, "first_byte_ms": 600}, conversation=conversation
        )
        for n in range(5)
    ]
    await leave(fleet.bases, requests, [0.2] * len(requests))
    entries = {entry["label"]: entry for entry in fleet.simulator.requests(at_least=len(requests))}
    rows = await rows_by_label(fleet, conversation)
    assert rows.keys() == {request.label for request in requests}
    for request in requests:
        row, entry = rows[request.label], entries[request.label]
        assert entry["outcome"] == "completed"
        assert (row["status"], row["usage_source"]) == ("client_gone", "provider")
        assert row["credits_microcredits"] == cost_of(entry)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_visible_stream_whose_client_left_is_stopped_and_charged_at_most_what_was_delivered(
    fleet: Fleet, conversation: str, dialect: str
) -> None:
    chance = random.Random(dialect)
    requests = [
        Request(dialect, True, 1_000, {"output_tokens": 900, "chunk_ms": 5}, conversation=conversation)
        for _ in range(12)
    ]
    outcomes = await leave(fleet.bases, requests, [chance.uniform(0.1, MOMENTS_S) for _ in requests])
    entries = {entry["label"]: entry for entry in fleet.simulator.requests()}
    rows = await rows_by_label(fleet, conversation)
    assert rows.keys() == entries.keys()
    counted = 0
    for label, row in rows.items():
        entry = entries[label]
        assert row["status"] == "client_gone"
        if entry["outcome"] == "completed":
            continue
        assert entry["outcome"] == "client_closed"
        if row["usage_source"] == "counted":
            counted += 1
            received = outcomes[label].body.count(TOKEN_MARKS[dialect])
            delivered = entry["delivered_output_tokens"]
            assert received <= row["output_tokens"] <= delivered * TOKENIZER_MARGIN[dialect] + 1
            price = row["input_tokens"] * INPUT_MICROCREDITS + row["output_tokens"] * OUTPUT_MICROCREDITS
            assert row["credits_microcredits"] == price
        else:
            # It left before the status line: nobody can tell what the provider will bill.
            assert row["usage_source"] == "bound"
            assert entry["delivered_writes"] <= 1
    assert counted >= len(requests) // 2


async def test_a_reasoning_stream_whose_client_left_is_drained_because_its_tokens_do_not_show(
    fleet: Fleet, conversation: str
) -> None:
    knobs = {"output_tokens": 60, "reasoning_tokens": 500, "chunk_ms": 10}
    requests = [
        Request("openai", True, 1_000, knobs, model=REASONING_MODEL, conversation=conversation)
        for _ in range(4)
    ]
    await leave(fleet.bases, requests, [0.15, 0.2, 0.3, 0.4])
    entries = {entry["label"]: entry for entry in fleet.simulator.requests(at_least=len(requests))}
    rows = await rows_by_label(fleet, conversation)
    assert rows.keys() == entries.keys()
    for label, row in rows.items():
        assert entries[label]["outcome"] == "completed"
        assert (row["status"], row["usage_source"]) == ("client_gone", "provider")
        assert row["reasoning_tokens"] == 500
        assert row["credits_microcredits"] == cost_of(entries[label])


async def test_clients_that_leave_at_the_very_start_leave_no_hold(fleet: Fleet, conversation: str) -> None:
    """At every moment of admission: whatever was forwarded has a row, whatever was not has none."""
    requests = [
        Request(dialect, streamed, 50, {"output_tokens": 20}, conversation=conversation)
        for dialect, streamed in itertools.islice(
            itertools.cycle(itertools.product(DIALECTS, (False, True))), 60
        )
    ]
    moments_s = [0.0005 * n for n in range(1, len(requests) + 1)]
    await leave(fleet.bases, requests, moments_s)
    rows = await rows_by_label(fleet, conversation)
    entries = {entry["label"]: entry for entry in fleet.simulator.requests(at_least=0)}
    assert rows.keys() >= {label for label, entry in entries.items() if entry["count"]}
    await until(lambda: fleet.counter()[1] == 0, "something is held for a client that left")


async def test_a_client_that_stops_reading_is_given_up_and_charged(fleet: Fleet, conversation: str) -> None:
    """It neither reads nor leaves, so nothing but the time-out tells; meanwhile the provider is held back."""
    knobs = {"output_tokens": 40, "tokens_per_event": 1, "pad_bytes": 32_000_000}
    request = Request("openai", True, 100, knobs, conversation=conversation)
    lines = [
        f"POST {request.path} HTTP/1.1",
        "host: gateway",
        f"content-length: {len(request.body)}",
        *(f"{name}: {value}" for name, value in request.headers.items()),
    ]
    host, port = fleet.bases[0].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + request.body)
        await until(lambda: bool(fleet.held_requests()), "nothing is held")
        await until(lambda: not fleet.held_requests(), "the call goes on for a client that does not read")
    rows = await rows_by_label(fleet, conversation)
    assert rows[request.label]["status"] == "client_gone"
    (entry,) = fleet.simulator.requests(request.label)
    assert entry["outcome"] == "client_closed"
