"""The simulated provider misbehaves exactly as it is told to, and its books say what really happened."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import http.client
import json
import socket
import urllib.parse
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google.genai import errors as genai_errors
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.delivery import plan
from gateway.simulator.knobs import BadKnob, Knobs, turn
from gateway.simulator.reply import Count, Reply
from tests.support.simulator import SimulatorProcess, new_label
from tests.support.simulator_calls import Call, Target, call_sync
from tests.support.simulator_calls_anthropic import ANTHROPIC_CALLS
from tests.support.simulator_calls_gemini import GEMINI_CALLS
from tests.support.simulator_calls_openai import OPENAI_CALLS

STREAMS = {
    call.provider: call
    for call in (*OPENAI_CALLS, *ANTHROPIC_CALLS, *GEMINI_CALLS)
    if call.name in {"chat-stream", "message-stream", "generate-stream"}
}
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
SDK_ERRORS = (openai.APIError, anthropic.APIError, genai_errors.APIError)
STREAMED_CHAT = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}


def _post(
    simulator: SimulatorProcess, body: dict[str, Any], label: str, **knobs: object
) -> tuple[int, dict[str, str], bytes]:
    """A plain request; raises what http.client raises where the reply is broken."""
    address = urllib.parse.urlsplit(simulator.url)
    headers = {f"x-sim-{name.replace('_', '-')}": str(value) for name, value in knobs.items()}
    headers |= {"authorization": "Bearer any-key", "x-sim-label": label}
    connection = http.client.HTTPConnection(address.netloc, timeout=30)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def _with(call: Call, **knobs: object) -> Call:
    return Call(call.name, call.provider, call.method, call.arguments, call.model, streamed=True, knobs=knobs)


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503, 529])
@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_an_error_has_the_body_that_its_sdk_reads(
    provider: str, status: int, simulator: SimulatorProcess
) -> None:
    call = _with(STREAMS[provider], error=status)
    label = new_label("refused")
    with pytest.raises(SDK_ERRORS) as caught:
        call_sync(call, Target(simulator.url, "k", retries=0), label)
    error = caught.value
    assert "told to fail" in str(error)
    assert (error.code if isinstance(error, genai_errors.APIError) else error.status_code) == status
    assert simulator.totals()["outcomes"] == {"refused": 1}


def test_an_error_can_be_limited_to_the_first_requests_of_a_label(simulator: SimulatorProcess) -> None:
    label = new_label("twice")
    call = _with(STREAMS["openai"], error=503, error_times=1)
    result, _ = call_sync(call, Target(simulator.url, "k"), label)
    assert result
    assert [entry["status"] for entry in simulator.requests(label, at_least=2)] == [503, 200]


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_an_error_inside_a_stream_makes_the_sdk_raise(provider: str, simulator: SimulatorProcess) -> None:
    call = _with(STREAMS[provider], error_after_events=5)
    label = new_label("failing")
    with pytest.raises(SDK_ERRORS):
        call_sync(call, Target(simulator.url, "k"), label)
    [entry] = simulator.requests(label)
    assert entry["outcome"] == "completed"
    assert not entry["usage_reported"]
    assert 0 < entry["delivered_output_tokens"] < entry["count"]["output_tokens"]


def test_requests_that_the_provider_would_refuse_are_refused(simulator: SimulatorProcess) -> None:
    label = new_label("bad")
    wrong: list[dict[str, Any]] = [
        {"messages": CHAT["messages"]},
        {"model": "gpt-4o-mini"},
        {**CHAT, "max_tokens": 0},
        {**CHAT, "max_tokens": 1.5},
        {**CHAT, "n": 0},
    ]
    for body in wrong:
        status, _, answer = _post(simulator, body, label)
        assert status == 400
        assert json.loads(answer)["error"]["param"]
    assert {entry["outcome"] for entry in simulator.requests(label, at_least=len(wrong))} == {"refused"}


def test_an_unknown_knob_is_named(simulator: SimulatorProcess) -> None:
    status, _, answer = _post(simulator, CHAT, new_label("typo"), dellay_ms=3)
    assert status == 400
    assert "dellay-ms" in json.loads(answer)["error"]["message"]
    with pytest.raises(BadKnob, match="chunk-ms"):
        turn(Knobs(), {"chunk_ms": "-1"})


# ------------------------------------------------------------------ broken replies


def test_a_cut_stream_has_no_end(simulator: SimulatorProcess) -> None:
    label = new_label("cut")
    with pytest.raises(http.client.IncompleteRead) as caught:
        _post(simulator, STREAMED_CHAT, label, cut_after_events=4, cut_mid_event=1)
    events = caught.value.partial.split(b"\n\n")
    assert len(events) == 5
    assert not events[-1].endswith(b"}")
    [entry] = simulator.requests(label)
    assert (entry["outcome"], entry["delivered_output_tokens"]) == ("cut", 3)
    assert not entry["usage_reported"]


def test_a_cut_unary_reply_is_shorter_than_announced(simulator: SimulatorProcess) -> None:
    label = new_label("short")
    with pytest.raises(http.client.IncompleteRead) as caught:
        _post(simulator, CHAT, label, cut_after_bytes=100)
    assert len(caught.value.partial) == 100
    assert simulator.requests(label)[0]["outcome"] == "cut"


def test_a_stream_can_end_properly_without_its_terminator(simulator: SimulatorProcess) -> None:
    label = new_label("unterminated")
    _, _, answer = _post(simulator, STREAMED_CHAT, label, no_terminator=1)
    assert b"[DONE]" not in answer
    assert b'"choices":[]' in answer
    assert simulator.requests(label)[0]["outcome"] == "ended_early"


def test_a_connection_can_be_closed_without_a_status(simulator: SimulatorProcess) -> None:
    label = new_label("closed")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        _post(simulator, CHAT, label, close=1)
    [entry] = simulator.requests(label)
    assert (entry["outcome"], entry["count"]) == ("closed", None)


def test_usage_can_be_left_out(simulator: SimulatorProcess) -> None:
    label = new_label("silent")
    _, _, unary = _post(simulator, CHAT, label, no_usage=1)
    _, _, stream = _post(simulator, STREAMED_CHAT, label, no_usage=1)
    assert b"usage" not in unary + stream
    entries = simulator.requests(label, at_least=2)
    assert [entry["usage_reported"] for entry in entries] == [False, False]
    assert all(entry["count"]["output_tokens"] > 0 for entry in entries)


def test_a_reply_can_be_huge_and_compressed(simulator: SimulatorProcess) -> None:
    _, headers, answer = _post(simulator, CHAT, new_label("huge"), pad_bytes=3_000_000, gzip=1)
    assert headers["content-encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(answer))["x_padding"]) == 3_000_000


def test_a_cap_can_be_ignored(simulator: SimulatorProcess) -> None:
    label = new_label("overrun")
    _, _, answer = _post(simulator, {**CHAT, "max_tokens": 5}, label, ignore_cap=1, output_tokens=50)
    assert json.loads(answer)["usage"]["completion_tokens"] == 50
    assert simulator.requests(label)[0]["caps"] == {"max_tokens": 5}


# ------------------------------------------------------------------ clients that go away


def _hanging_up_after(simulator: SimulatorProcess, label: str, marker: bytes, **knobs: object) -> bytes:
    """A raw client that closes its connection once it has seen ``marker``."""
    address = urllib.parse.urlsplit(simulator.url)
    body = json.dumps(STREAMED_CHAT).encode()
    lines = [f"x-sim-{name.replace('_', '-')}: {value}" for name, value in knobs.items()]
    head = "\r\n".join(
        [
            "POST /v1/chat/completions HTTP/1.1",
            f"Host: {address.netloc}",
            "Authorization: Bearer any-key",
            f"Content-Length: {len(body)}",
            f"x-sim-label: {label}",
            *lines,
        ]
    )
    seen = b""
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as client:
        client.sendall(head.encode() + b"\r\n\r\n" + body)
        while marker and seen.count(marker) < 4:
            received = client.recv(4096)
            assert received, seen
            seen += received
    return seen


def test_the_books_say_how_far_a_client_let_it_come(simulator: SimulatorProcess) -> None:
    label = new_label("gone")
    _hanging_up_after(simulator, label, b"data: ", chunk_ms=50, output_tokens=2000)
    [entry] = simulator.requests(label)
    assert entry["outcome"] == "client_closed"
    assert 2 <= entry["delivered_output_tokens"] < 2000
    assert not entry["usage_reported"]


def test_a_client_that_leaves_before_any_answer_is_noticed(simulator: SimulatorProcess) -> None:
    label = new_label("hung")
    _hanging_up_after(simulator, label, b"", hang=1)
    [entry] = simulator.requests(label)
    assert (entry["outcome"], entry["status"]) == ("client_closed", None)


def test_a_stream_can_hang_midway(simulator: SimulatorProcess) -> None:
    label = new_label("stuck")
    seen = _hanging_up_after(simulator, label, b"data: ", hang_after_events=4)
    assert seen.count(b"data: ") == 4
    [entry] = simulator.requests(label)
    assert (entry["outcome"], entry["delivered_output_tokens"]) == ("client_closed", 3)


# ------------------------------------------------------------------ books and identity


def test_the_same_prompt_gets_the_same_answer_whatever_its_cap_and_flags(simulator: SimulatorProcess) -> None:
    def text(**members: object) -> str:
        _, _, answer = _post(simulator, {**CHAT, **members}, new_label("same"))
        found: str = json.loads(answer)["choices"][0]["message"]["content"]
        return found

    assert text() == text(max_tokens=1000, temperature=0.5, user="u")
    assert text() != text(messages=[{"role": "user", "content": "something else"}])


def test_ids_differ_unless_a_label_fixes_them(simulator: SimulatorProcess) -> None:
    def reply_id(label: str) -> str:
        _, _, answer = _post(simulator, CHAT, label)
        found: str = json.loads(answer)["id"]
        return found

    assert len({reply_id("") for _ in range(3)}) == 3
    label = new_label("fixed")
    assert {reply_id(label) for _ in range(2)} == {f"chatcmpl-{label}"}


def test_a_slow_reader_reads_everything(simulator: SimulatorProcess) -> None:
    label = new_label("slow")
    body = {**CHAT, "messages": [{"role": "user", "content": "word " * 4000}]}
    status, _, _ = _post(simulator, body, label, read_bytes_per_s=200_000)
    [entry] = simulator.requests(label)
    assert (status, entry["body_sha256"]) == (200, hashlib.sha256(json.dumps(body).encode()).hexdigest())


def test_books_keep_no_secrets_and_no_prompts(simulator: SimulatorProcess) -> None:
    label = new_label("private")
    _post(simulator, {**CHAT, "messages": [{"role": "user", "content": "tell nobody"}]}, label)
    [entry] = simulator.requests(label)
    shown = json.dumps(entry)
    assert "tell nobody" not in shown
    assert "any-key" not in shown
    assert "authorization" in entry["header_names"]


async def test_totals_are_the_sum_of_the_entries(simulator: SimulatorProcess) -> None:
    headers = {"authorization": "Bearer k"}
    async with httpx2.AsyncClient(base_url=simulator.url, headers=headers, timeout=60) as http:
        await asyncio.gather(
            *(http.post("/v1/chat/completions", json={**STREAMED_CHAT, "n": 1 + i % 3}) for i in range(60))
        )
    entries = simulator.requests(at_least=60)
    totals = simulator.totals()
    assert (totals["requests"], totals["open"], totals["outcomes"]) == (60, 0, {"completed": 60})
    for name in ("input_tokens", "output_tokens"):
        assert totals[name] == sum(entry["count"][name] for entry in entries)


@given(events=st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=20), size=st.integers(1, 50))
def test_writes_of_any_size_concatenate_to_the_reply(events: list[bytes], size: int) -> None:
    reply = Reply("id", Count(), events, list(range(len(events))), streamed=True)
    cut = plan(reply, Knobs(write_bytes=size))
    assert b"".join(cut.writes) == b"".join(events)
    assert all(len(write) == size for write in cut.writes[:-1])
    assert cut.whole
