"""Readers against recorded provider traffic, where a checkout of it lies beside the repository.

Every exchange is read whole, byte by byte and at random cuts; the counts must equal the independently made
expectations each time. Without the recordings nothing is collected.
"""

from __future__ import annotations

import base64
import json
import math
import random
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.metering.anthropic import AnthropicReader
from gateway.metering.gemini import GeminiReader
from gateway.metering.openai_chat import OPTIONS_BY_KIND, ChatOptions, OpenAiChatReader
from gateway.metering.openai_embeddings import OpenAiEmbeddingsReader
from gateway.metering.openai_images import OpenAiImagesReader
from gateway.metering.openai_responses import OpenAiResponsesReader
from gateway.metering.reading import Reading, UsageReader
from gateway.metering.reported_cost import FEMTOUSD_PER_TICK
from pricing.usage import Usage

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"
COST_FIELDS = {kind: options.cost for kind, options in OPTIONS_BY_KIND.items()}
COUNTS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")

READERS: list[tuple[str, Callable[[str], UsageReader]]] = [
    (r"/messages(\?|$)", lambda kind: AnthropicReader()),
    (r":(stream)?generateContent|:(batch)?embedContents?", lambda kind: GeminiReader()),
    (r"/embeddings", lambda kind: OpenAiEmbeddingsReader(COST_FIELDS.get(kind))),
    (r"/images", lambda kind: OpenAiImagesReader("", COST_FIELDS.get(kind))),
    (r"/responses", lambda kind: OpenAiResponsesReader(COST_FIELDS.get(kind))),
    (r"/chat/completions|/completions|/v1/chat$", lambda kind: OpenAiChatReader(_options(kind))),
]
NATIVE = ("cohere",)
"""Providers whose own API is not OpenAI's, though a path looks like it."""
UNMETERED = re.compile(r"/count_tokens|/input_tokens|:countTokens|/messages/batches")


def _options(kind: str) -> ChatOptions:
    return OPTIONS_BY_KIND.get(kind, ChatOptions())


def _cases() -> Iterator[Any]:
    expected_path = CORPUS / "expected.json"
    if not expected_path.exists():
        return
    expected = json.loads(expected_path.read_text())
    for path in sorted((CORPUS / "exchanges").glob("*.json")):
        exchange = json.loads(path.read_text())
        make = _reader_for(exchange["provider"], exchange["endpoint"])
        if make is not None:
            yield pytest.param(exchange, expected[path.stem], make, id=path.stem)


def _reader_for(kind: str, endpoint: str) -> Callable[[], UsageReader] | None:
    path = endpoint.split(" ", 1)[1]
    if UNMETERED.search(path) or kind in NATIVE:
        return None
    for pattern, make in READERS:
        if re.search(pattern, path):
            return lambda: make(kind)
    return None


def _read(make: Callable[[], UsageReader], body: bytes, cuts: list[int]) -> Reading:
    reader = make()
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        reader.feed(body[start:end])
    return reader.finish()


def _total(reading: Reading) -> Usage:
    assert reading.usage is not None
    total = reading.usage
    for _, usage in reading.passes:
        total = total + usage
    return total


def _counts(usage: Usage) -> dict[str, int]:
    return {name: getattr(usage, name) for name in COUNTS}


CASES = list(_cases())


@pytest.mark.parametrize(("exchange", "expected", "make"), CASES)
def test_recorded_reply_reads_as_expected_however_it_is_cut(
    exchange: dict[str, Any], expected: dict[str, Any], make: Callable[[], UsageReader]
) -> None:
    body = base64.b64decode(exchange["response_body_b64"] or "")
    whole = _read(make, body, [])
    random.seed(len(body))
    cuts = sorted(random.sample(range(len(body) + 1), min(len(body), 50)))
    assert _read(make, body, cuts) == whole
    if len(body) < 300_000:
        assert _read(make, body, list(range(1, len(body)))) == whole
    if exchange["response_status"] >= 400 or expected["outcome"] == "error":
        assert whole.usage is None
        return
    if expected["outcome"] == "no_usage_reported":
        assert whole.usage is None or whole.input_only
        return
    assert expected["outcome"] == "usage"
    _compare(whole, expected)


def _compare(reading: Reading, expected: dict[str, Any]) -> None:
    extra = expected["extra"]
    counts = _counts(_total(reading))
    wanted = [expected, *extra.get("alternatives", [])]
    assert counts in [{name: want.get(name, 0) for name in COUNTS} for want in wanted]
    assert not reading.input_only
    usage = _total(reading)
    if "cache_write_1h" in extra:
        assert usage.cache_write_1h == extra["cache_write_1h"]
    if "image_output_tokens" in extra:
        assert usage.output_image == extra["image_output_tokens"]
    if "audio_input_tokens" in extra:
        assert usage.input_audio == extra["audio_input_tokens"]
    for name in ("web_search_requests", "web_search_calls_implied"):
        if name in extra:
            assert usage.web_searches == extra[name]
    _compare_cost(reading, extra)


def _compare_cost(reading: Reading, extra: dict[str, Any]) -> None:
    if reading.cost_femtousd is None:
        return
    ticks = extra.get("reported_cost_usd_ticks")
    if ticks is not None:
        assert reading.cost_femtousd == ticks * FEMTOUSD_PER_TICK
    else:
        assert reading.cost_femtousd == math.ceil(Decimal(str(extra["reported_cost_usd"])) * 10**15)


@pytest.mark.parametrize(
    ("exchange", "expected", "make"),
    [case for case in CASES if case.values[0]["provider"] in COST_FIELDS and "cost" in str(case.values[1])],
)
def test_a_charge_that_is_reported_is_read(
    exchange: dict[str, Any], expected: dict[str, Any], make: Callable[[], UsageReader]
) -> None:
    reading = _read(make, base64.b64decode(exchange["response_body_b64"]), [])
    assert reading.cost_femtousd is not None
    _compare_cost(reading, expected["extra"])


# without the recordings there is nothing to hold: no test, rather than a skipped one
for _test in (
    test_recorded_reply_reads_as_expected_however_it_is_cut,
    test_a_charge_that_is_reported_is_read,
):
    _test.__test__ = bool(CASES)  # type: ignore[attr-defined]
