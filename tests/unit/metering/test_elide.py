"""What is cut out of large JSON leaves valid JSON behind, wherever its pieces were cut."""

from __future__ import annotations

import json
import random

import pytest

from gateway.metering.elide import ELIDE_ABOVE_BYTES, Bulk, elide


def numbers(count: int) -> str:
    chance = random.Random(count)
    return ", ".join(f"{chance.uniform(-1, 1):.9g}" for _ in range(count))


LARGE = [
    '{"v": [' + ",\n".join(f"[{numbers(1536)}]" for _ in range(150)) + '], "usage": {"total_tokens": 5}}',
    '{"b64": "' + "iVBORw0KGgo/+" * 200_000 + '", "usage": {"total_tokens": 5}}',
    '{"t": "'
    + ("\\n" + "A" * 600 + "\\u0041" + "B" * 600 + "\\u00e9") * 2000
    + '", "usage": {"total_tokens": 5}}',
    '{"t": "' + "plain words, 1, 2, 3 and so on. " * 90_000 + '", "usage": {"total_tokens": 5}}',
]


@pytest.mark.parametrize("text", LARGE, ids=["vectors", "media", "escapes", "prose"])
@pytest.mark.parametrize("piece_bytes", [997, 16_384, 100_003])
def test_a_large_document_stays_json_with_its_small_members(text: str, piece_bytes: int) -> None:
    data = text.encode()
    assert len(data) > 2 * ELIDE_ABOVE_BYTES
    bulk = Bulk(64 << 20)
    for at in range(0, len(data), piece_bytes):
        bulk.append(data[at : at + piece_bytes])
    kept = bulk.joined()
    assert json.loads(kept)["usage"] == {"total_tokens": 5}
    assert (kept == data) is ("plain words" in text)


def test_nothing_is_cut_from_a_value_up_to_a_megabyte() -> None:
    bulk = Bulk(64 << 20)
    data = b"A" * ELIDE_ABOVE_BYTES
    bulk.append(data)
    assert bulk.joined() == data


def test_a_value_beyond_the_bound_is_dropped_and_the_next_one_starts_empty() -> None:
    bulk = Bulk(1 << 20)
    for _ in range(20):
        bulk.append(b"not media, ! " * 8000)
    assert bulk.dropped
    assert bulk.joined() == b""
    bulk.clear()
    assert not bulk


def test_short_runs_and_few_numbers_stay() -> None:
    kept = b'{"id": "' + b"a" * 511 + b'", "v": [' + b"1, " * 15 + b"2]}"
    assert elide(kept) == kept
