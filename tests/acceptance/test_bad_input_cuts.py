"""Streams that a provider breaks off, seen from the far end of a running gateway; and that nothing said leaks out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.hostile import ANTHROPIC, GEMINI, OPENAI, PROMPT_MARK, WORDINGS, HostileGateway, Wording
from tests.support.raw_http import CutShort, RawConnection, exchange, request
from tests.support.simulator import SimulatorProcess, new_label

RESPONSES = Wording(
    "openai", "/v1/responses", {"model": "gpt-4o-mini", "input": "Say it", "max_output_tokens": 20},
    "authorization", "Bearer ",
)  # fmt: skip
GEMINI_STREAM = Wording(
    "gemini", "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", GEMINI.body, "x-goog-api-key"
)
STREAMS = {"chat": OPENAI, "responses": RESPONSES, "anthropic": ANTHROPIC, "gemini": GEMINI_STREAM}
COMPLETION_MARK = "kookaburra"


def streamed(name: str, **changes: Any) -> bytes:
    body = dict(STREAMS[name].body) if name == "gemini" else {**STREAMS[name].body, "stream": True}
    return json.dumps({**body, **changes}).encode()


@pytest.mark.parametrize("ending", ["cut-after-bytes", "end-after-bytes"])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_at_a_sample_of_bytes(
    hostile: HostileGateway, simulator: SimulatorProcess, name: str, ending: str
) -> None:
    api, body = STREAMS[name], streamed(name)
    label = new_label("whole")
    asking = {"x-sim-label": label, "x-sim-output-tokens": "6"}
    if name == "chat":  # as the provider is asked, so that the whole has the usage event too
        body = streamed(name, stream_options={"include_usage": True})
    whole = hostile.exchange(api.request(body, hostile.key, asking)).body
    due = b"".join(
        event for event in whole.splitlines(keepends=True) if b'"choices":[],"usage":{' not in event
    )
    due = due.replace(b"\n\n\n", b"\n\n")  # the blank line that ended the event that is taken out
    places = sorted({1, len(whole) - 1, len(whole) - 2, *range(7, len(whole), max(1, len(whole) // 6))})
    for place in places:
        conversation = new_label("cut")
        headers = {**asking, f"x-sim-{ending}": str(place), "x-tollgate-conversation": conversation}
        got, clean = b"", True
        try:
            got = hostile.exchange(api.request(streamed(name), hostile.key, headers)).body
        except CutShort as cut:
            got, clean = cut.body, False
        assert clean == (ending == "end-after-bytes"), place
        assert whole.startswith(got) or due.startswith(got), place
        [row] = hostile.rows(conversation=conversation)
        assert row["credits_microcredits"] > 0, place
        assert row["status"] == ("ok" if clean else "upstream_error")
        assert row["usage_source"] in ("counted", "bound", "provider")
    assert hostile.standing().holds == 0


def test_nothing_said_and_no_key_gets_into_logs_metrics_or_refusals(hostile: HostileGateway) -> None:
    said = json.dumps({"id": "x", "choices": [{"message": {"content": COMPLETION_MARK}}]}).encode()
    good = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(said),
        said,
    )
    broken = good[:-10]
    heard = b""
    for words in (
        good,
        broken,
        b"garbage " + COMPLETION_MARK.encode() + b"\r\n\r\n",
        good.replace(b"200 OK", b"500 No"),
    ):
        hostile.said.say(words, hang_up=True)
        for api, name in zip(WORDINGS, ("said", "saida", "saidg"), strict=True):
            data = api.call(hostile.key).replace(b"POST /", f"POST /{name}/".encode(), 1)
            hostile.exchange(data)
    for data in (
        OPENAI.call("a-wrong-key-quokka"), OPENAI.request(b'{"zanzibar', hostile.key),
        OPENAI.call(hostile.key, max_tokens=PROMPT_MARK), OPENAI.call(hostile.key, model=PROMPT_MARK * 20),
        OPENAI.call(hostile.key, n=[PROMPT_MARK]), OPENAI.call(hostile.key, messages=PROMPT_MARK),
        OPENAI.request(b"{}", hostile.key, {"content-encoding": "gzip", "x": PROMPT_MARK}),
        request(f"/v1/models?key={hostile.key}", None, {"x-goog-api-key": "AIza-quokka"}, method="GET"),
        b"BAD zanzibar " + hostile.key.encode() + b"\r\n\r\n",
        request("/v1/chat/completions", b"", {"authorization": "Bearer quokka\x00", "bad header": hostile.key}),
    ):  # fmt: skip
        heard += hostile.exchange(data).body
    metrics = exchange(hostile.port, request("/metrics", None, method="GET")).body.decode()
    assert "tollgate_refusals_total" in metrics
    secrets = [hostile.key, hostile.tiny_key, hostile.expired_key, hostile.admin_token, "quokka", "upstream-",
               PROMPT_MARK, COMPLETION_MARK, "a-wrong-key"]  # fmt: skip
    for secret in secrets:
        assert secret not in hostile.log, f"{secret} is in the log"
        assert secret not in metrics, f"{secret} is in the metrics"
    for secret in (hostile.key, "quokka", hostile.admin_token, "upstream-"):
        assert secret.encode() not in heard
    assert "Traceback" not in hostile.log
    assert '"level":"error"' not in hostile.log


def test_after_all_this_the_books_agree(hostile: HostileGateway) -> None:
    with RawConnection(hostile.port) as connection:
        assert connection.send(OPENAI.call(hostile.key)).reply().status == 200
    assert hostile.standing().holds == 0
    hostile.settled_rows()
    assert hostile.command("reconcile").splitlines()[-1] == "drift 0"
