"""Providers that fail in every way: the client sees it as it is, and the row says how its numbers came to be."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.chaos.conftest import IMPATIENCE_S
from tests.support.fleet import OUTPUT_MICROCREDITS, Fleet, cost_of, until
from tests.support.load import DIALECTS, Outcome, Request, new_session, send

CAP = 200
BOUND_OUTPUT_MICROCREDITS = CAP * OUTPUT_MICROCREDITS


async def called(fleet: Fleet, request: Request) -> tuple[Outcome, dict[str, Any], dict[str, Any]]:
    """One call through a gateway; what its client saw, its row, and the simulator's entry for it."""
    async with new_session() as session:
        outcome = await send(session, fleet.bases[0], request)
    await fleet.quiet()
    rows = fleet.rows(request.conversation)
    assert len(rows) == 1
    (row,) = rows.values()
    (entry,) = fleet.simulator.requests(request.label)
    assert row["end_user"] == request.label
    return outcome, row, entry


def faulty(conversation: str, dialect: str = "openai", *, streamed: bool = False, **knobs: object) -> Request:
    return Request(dialect, streamed, CAP, {"output_tokens": 60, **knobs}, conversation=conversation)


def assert_bound(row: dict[str, Any]) -> None:
    """The whole hold was charged: the cap, and the bound of the input on top."""
    assert (row["usage_source"], row["status"]) == ("bound", "upstream_error")
    assert row["credits_microcredits"] >= BOUND_OUTPUT_MICROCREDITS
    assert row["output_tokens"] == CAP


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", [400, 404, 429, 500, 503, 529])
async def test_a_providers_error_reaches_the_client_as_it_came_and_costs_nothing(
    fleet: Fleet, conversation: str, dialect: str, status: int
) -> None:
    request = faulty(conversation, dialect, error=status, retry_after_s=7)
    async with new_session() as session:
        direct = await send(session, fleet.simulator.url, faulty(conversation, dialect, error=status))
    outcome, row, _ = await called(fleet, request)
    assert (outcome.status, outcome.body) == (status, direct.body)
    assert outcome.headers["retry-after"] == "7"
    assert "x-tollgate-error" not in outcome.headers
    assert (row["credits_microcredits"], row["usage_source"]) == (0, "none")
    assert row["status"] == "upstream_error"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_provider_lost_before_any_status_is_charged_at_the_bound(
    fleet: Fleet, conversation: str, streamed: bool
) -> None:
    outcome, row, _ = await called(fleet, faulty(conversation, streamed=streamed, close=1))
    assert outcome.status == 502
    assert outcome.reason == outcome.headers["x-tollgate-error"]
    assert_bound(row)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("mid_event", [0, 1])
async def test_a_stream_that_breaks_breaks_the_clients_connection_and_is_charged_for_what_came(
    fleet: Fleet, conversation: str, dialect: str, mid_event: int
) -> None:
    request = faulty(
        conversation, dialect, streamed=True, cut_after_events=20, cut_mid_event=mid_event, chunk_ms=2
    )
    outcome, row, entry = await called(fleet, request)
    assert outcome.status == 200
    assert outcome.broken, "a reply that is not whole looks as if it were"
    assert row["status"] == "upstream_error"
    assert row["usage_source"] in ("counted", "provider")
    delivered = entry["delivered_output_tokens"]
    assert delivered <= row["output_tokens"] <= delivered * 1.6 + 1
    assert 0 < row["credits_microcredits"] < BOUND_OUTPUT_MICROCREDITS


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_error_event_inside_a_stream_reaches_the_client(
    fleet: Fleet, conversation: str, dialect: str
) -> None:
    request = faulty(conversation, dialect, streamed=True, error_after_events=10)
    outcome, row, entry = await called(fleet, request)
    assert not outcome.broken
    assert b"told to fail" in outcome.body or b"error" in outcome.body
    assert row["status"] == "upstream_error"
    assert row["output_tokens"] >= entry["delivered_output_tokens"]


async def test_a_unary_reply_that_breaks_is_charged_at_the_bound(fleet: Fleet, conversation: str) -> None:
    outcome, row, _ = await called(fleet, faulty(conversation, cut_after_bytes=100))
    assert outcome.status == 502
    assert_bound(row)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_reply_without_usage_is_counted(
    fleet: Fleet, conversation: str, dialect: str, streamed: bool
) -> None:
    outcome, row, entry = await called(fleet, faulty(conversation, dialect, streamed=streamed, no_usage=1))
    outcome.assert_whole()
    assert (row["usage_source"], row["status"]) == ("counted", "ok")
    count = entry["count"]
    assert count["output_tokens"] <= row["output_tokens"] <= count["output_tokens"] * 1.6 + 1
    assert count["input_tokens"] <= row["input_tokens"]
    if not streamed:
        assert outcome.headers["x-tollgate-usage-source"] == "counted"


async def test_a_stream_without_its_terminator_keeps_its_usage(fleet: Fleet, conversation: str) -> None:
    outcome, row, entry = await called(fleet, faulty(conversation, streamed=True, no_terminator=1))
    assert not outcome.broken
    assert row["usage_source"] == "provider"
    assert row["credits_microcredits"] == cost_of(entry)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_provider_that_never_answers_times_out_and_is_charged_at_the_bound(
    fleet: Fleet, conversation: str, streamed: bool
) -> None:
    request = Request("openai", streamed, CAP, {"hang": 1}, provider="impatient", conversation=conversation)
    async with new_session() as session:
        outcome = await send(session, fleet.bases[0], request)
    await fleet.quiet()
    (row,) = fleet.rows(conversation).values()
    assert outcome.status == 504
    assert orjson.loads(outcome.body)["error"]["code"] == outcome.headers["x-tollgate-error"]
    assert_bound(row)


async def test_a_stream_that_falls_silent_is_ended_and_charged_for_what_came(
    fleet: Fleet, conversation: str
) -> None:
    knobs = {"output_tokens": 60, "hang_after_events": 15}
    request = Request("openai", True, CAP, knobs, provider="impatient", conversation=conversation)
    outcome, row, entry = await called(fleet, request)
    assert outcome.status == 200
    assert outcome.broken
    assert (row["usage_source"], row["status"]) == ("counted", "upstream_error")
    assert row["output_tokens"] == entry["delivered_output_tokens"]


async def test_a_pause_shorter_than_the_time_out_is_no_fault(fleet: Fleet, conversation: str) -> None:
    pause_ms = int(IMPATIENCE_S * 1000 / 5)
    knobs = {"output_tokens": 10, "first_byte_ms": pause_ms, "chunk_ms": pause_ms}
    request = Request("openai", True, CAP, knobs, provider="impatient", conversation=conversation)
    outcome, row, entry = await called(fleet, request)
    outcome.assert_whole()
    assert row["credits_microcredits"] == cost_of(entry)


async def test_a_provider_that_cannot_be_reached_costs_nothing_and_has_no_row(
    fleet: Fleet, conversation: str
) -> None:
    request = Request("openai", False, CAP, provider="nowhere", conversation=conversation)
    async with new_session() as session:
        outcome = await send(session, fleet.bases[0], request)
    assert outcome.status == 502
    await until(lambda: not fleet.held_requests(), "a hold is left")
    await fleet.quiet()
    assert not fleet.rows(conversation)
