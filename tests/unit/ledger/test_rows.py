"""A stream entry becomes exactly one row, or says why it cannot."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from gateway.ledger.event import Admission, Result
from gateway.ledger.row import Unreadable, instant, merge, microseconds
from tests.support.usage_events import ADMISSION, JANUARY_US, RESULT, entry


def test_both_halves_and_the_settlement_meet_in_one_row() -> None:
    row = merge(entry("r7", partition=3, sequence=42, charged_microcredits=12_346))
    assert (row.request_id, row.partition, row.sequence, row.credits_microcredits) == ("r7", 3, 42, 12_346)
    assert row.started_at == datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
    assert row.finished_at == datetime(2026, 1, 15, 12, 0, 1, 500_000, tzinfo=UTC)
    assert (row.org_id, row.team_id, row.user_id, row.key_id) == ("acme", "research", "ada", "ada-laptop")
    assert (row.input_tokens, row.cached_input_tokens, row.output_tokens, row.reasoning_tokens) == (
        100,
        40,
        20,
        5,
    )
    assert row.cost_femtousd == "123456789012345"
    assert (row.usage_source, row.status, row.flags) == ("provider", "ok", ["clamped"])
    assert row.tags == '{"feature":"search"}'


def test_every_column_has_the_member_of_its_name() -> None:
    halves = {**asdict(ADMISSION), **asdict(RESULT)}
    texts = {
        name: f"some {name}" for name, value in halves.items() if value is None or isinstance(value, str)
    }
    numbers = {name: 1000 + place for place, (name, value) in enumerate(halves.items()) if type(value) is int}
    said = {**texts, **numbers, "first_byte_ms": 7, "upstream_status": 201}

    def filled(half: Admission | Result) -> dict[str, Any]:
        return {name: said[name] for name in asdict(half) if name in said}

    admission, result = replace(ADMISSION, **filled(ADMISSION)), replace(RESULT, **filled(RESULT))
    row = merge(entry("r7", admission=admission, result=result))._asdict()
    in_rows_otherwise = {
        "request_id",
        "finished_at_us",
        "cost_femtousd",
        "bound_microcredits",
        "bound_femtousd",
    }
    assert {name: row[name] for name in said if name not in in_rows_otherwise} == {
        name: value for name, value in said.items() if name not in in_rows_otherwise
    }
    assert (row["request_id"], row["cost_femtousd"]) == ("r7", str(said["cost_femtousd"]))
    assert row["buckets"] == '{"input":60,"cache_read":40,"output":15,"reasoning":5}'


def test_half_a_surrogate_pair_from_a_provider_costs_no_row() -> None:
    said = replace(RESULT, provider_request_id="x\ud800y", flags=("\udfff",), cost_femtousd=2**70)
    row = merge(entry(result=said))
    assert (row.provider_request_id, row.flags) == ("x\ufffd\ufffd\ufffdy", ["\ufffd\ufffd\ufffd"])
    assert row.cost_femtousd == str(2**70)


@pytest.mark.parametrize("missing", ["team_id", "user_id", "conversation_id", "end_user"])
def test_an_admission_that_leaves_one_out_keeps_the_others(missing: str) -> None:
    admission = {**asdict(ADMISSION), "conversation_id": "c", "end_user": "e"}
    whole = {name: admission[name] for name in ("team_id", "user_id", "conversation_id", "end_user")}
    del admission[missing]
    now = entry()
    row = merge(replace(now, fields={**now.fields, b"a": orjson.dumps(admission)}))._asdict()
    assert {name: row[name] for name in whole} == {**whole, missing: None}


def test_what_the_reaper_wrote_is_charged_at_its_bound() -> None:
    row = merge(entry(result=None, charged_microcredits=90_000))
    assert (row.status, row.usage_source) == ("reaped", "bound")
    assert row.credits_microcredits == row.held_microcredits == 90_000
    assert row.flags == ["cost_unknown"]


def test_the_time_of_finishing_is_that_of_redis_and_not_of_a_gateway() -> None:
    row = merge(entry(result=replace(RESULT, finished_at_us=0)))
    assert row.finished_at == instant(JANUARY_US + 1_500_000)


@pytest.mark.parametrize("us", [0, 1, 999_999, JANUARY_US + 1, 4_102_444_799_999_999])
def test_instants_keep_every_microsecond(us: int) -> None:
    assert microseconds(instant(us)) == us


def test_a_nul_in_text_that_clients_or_providers_chose_does_not_cost_the_row() -> None:
    admission = replace(ADMISSION, tags={"a\0": "b\0"}, end_user="\0")
    row = merge(entry(admission=admission, result=replace(RESULT, provider_request_id="x\0y")))
    assert "\0" not in f"{row.tags}{row.end_user}{row.provider_request_id}"
    assert "u0000" not in row.tags


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"a", b"{"),
        (b"a", b"[]"),
        (b"a", b"{}"),
        (b"r", b"null"),
        (b"r", b"{}"),
        (b"r", b'{"usage_source":"provider","status":"ok","input_tokens":1.5}'),
        (b"r", b'{"usage_source":"provider","status":"ok","buckets":[1]}'),
        *[
            (b"r", orjson.dumps({**asdict(RESULT), name: ["neither text nor number"]}))
            for name in asdict(RESULT)
            if name not in ("finished_at_us", "flags", "buckets")
        ],
        (b"r", orjson.dumps({**asdict(RESULT), "flags": "clamped"})),
        (b"r", orjson.dumps({**asdict(RESULT), "flags": {"clamped": 1}})),
        *[
            (b"a", orjson.dumps({**asdict(ADMISSION), name: ["no text"]}))
            for name in (
                "org_id",
                "team_id",
                "user_id",
                "key_id",
                "conversation_id",
                "end_user",
                "gateway_id",
            )
        ],
        (b"c", b"1.5"),
        (b"t", b"0"),
        (b"t", b"9" * 30),
        (b"n", b""),
        (b"id", b"\xff"),
    ],
)
def test_an_entry_that_settle_cannot_have_written_is_refused(field: bytes, value: bytes) -> None:
    broken = entry()
    with pytest.raises(Unreadable):
        merge(replace(broken, fields={**broken.fields, field: value}))


def test_a_missing_field_is_named() -> None:
    broken = entry()
    with pytest.raises(Unreadable, match="'n'"):
        merge(replace(broken, fields={name: value for name, value in broken.fields.items() if name != b"n"}))
