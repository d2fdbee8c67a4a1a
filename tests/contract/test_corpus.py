"""Readers against recorded provider traffic, where a checkout of it lies beside the repository.

Every exchange is read whole, byte by byte and at random cuts; the counts must equal the independently made
expectations each time. Without the recordings nothing is collected.
"""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable, Iterator
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
from gateway.metering.reported_cost import CostField
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
NATIVE = ("cohere", "ollama", "ollama-cloud")
"""Providers whose own chat API is not OpenAI's, though its path looks like it."""
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
    if UNMETERED.search(path) or (kind in NATIVE and "/v1/" not in path):
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


@pytest.mark.parametrize(("exchange", "expected", "make"), list(_cases()))
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
    if "web_search_requests" in extra:
        assert usage.web_searches == extra["web_search_requests"]
    if reading.cost_femtousd is not None:
        ticks = extra.get("reported_cost_usd_ticks")
        usd = extra.get("reported_cost_usd")
        assert (ticks, usd) != (None, None)
        assert reading.cost_femtousd == pytest.approx(ticks * 100_000 if ticks else usd * 1e15, abs=1)
    elif expected["outcome"] == "usage" and COST_FIELDS.get(extra.get("kind", "")):
        pytest.fail("a reported cost was not read")


def test_cost_fields_are_those_of_kinds_that_report_a_charge() -> None:
    assert COST_FIELDS["xai"] is CostField.TICKS
    assert COST_FIELDS["openrouter"] is CostField.COST
