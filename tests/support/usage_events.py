"""Usage events as settle puts them on the stream, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.ledger.event import Admission, Result
from gateway.ledger.row import Entry

JANUARY_US = 1_768_478_400_000_000
"""2026-01-15 12:00 UTC."""

ADMISSION = Admission(
    request_id="r1",
    org_id="acme",
    team_id="research",
    user_id="ada",
    key_id="ada-laptop",
    provider="openai",
    model="gpt-5",
    operation="chat",
    route="chat.completions",
    streamed=True,
    gateway_id="g1",
    conversation_id="c1",
    tags={"feature": "search"},
)

RESULT = Result(
    finished_at_us=JANUARY_US + 1_500_000,
    usage_source="provider",
    status="ok",
    upstream_status=200,
    model_served="gpt-5-2026-01-01",
    input_tokens=100,
    cached_input_tokens=40,
    output_tokens=20,
    reasoning_tokens=5,
    buckets={"input": 60, "cache_read": 40, "output": 15, "reasoning": 5},
    cost_femtousd=123_456_789_012_345,
    held_microcredits=90_000,
    price_ref="catalogue gpt-5 2026-01-01",
    provider_request_id="chatcmpl-1",
    first_byte_ms=250,
    flags=("clamped",),
)


def stream_fields(
    request_id: str = "r1",
    *,
    started_at_us: int = JANUARY_US,
    sequence: int = 1,
    charged_microcredits: int = 12_346,
    admission: Admission = ADMISSION,
    result: Result | None = RESULT,
) -> dict[bytes, bytes]:
    """The fields of one stream entry; ``result`` None: as the reaper writes it."""
    return {
        b"id": request_id.encode(),
        b"t": str(started_at_us).encode(),
        b"f": str(started_at_us + 1_500_000).encode(),
        b"n": str(sequence).encode(),
        b"c": str(charged_microcredits).encode(),
        b"a": replace(admission, request_id=request_id).to_json(),
        b"r": result.to_json() if result else b"",
    }


def entry(request_id: str = "r1", *, partition: int = 0, entry_id: str = "1-0", **rest: Any) -> Entry:
    return Entry("tg:{p0}:u", entry_id, partition, stream_fields(request_id, **rest))
