"""The table of what is charged: every way to end, with and without what the provider reported."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.metering.conclusion import (
    Charged,
    Conclusion,
    Ending,
    Source,
    Status,
    conclude,
    conclude_async,
    counted_output,
)
from gateway.metering.encodings import Encodings
from gateway.metering.reading import Reading
from gateway.metering.tokens import TokenCounter
from pricing.usage import Usage

COUNTER = TokenCounter(Encodings())
BOUND = Usage(input=500, output=1000)
REPORTED = Usage(input=20, cache_read=5, output=7, reasoning=3)
INPUT_ONLY = Usage(input=20, cache_read=5)
TEXT = "one two three"  # 3 tokens
PROMPT = ("hello world",)  # 2 tokens, + 4 + 3

FULL = Reading(usage=REPORTED, complete=True)
SILENT = Reading(texts=(TEXT,), complete=True)
BROKEN = Reading(texts=(TEXT,))
EMPTY = Reading()
ERRORED = Reading(texts=(TEXT,), failed=True, complete=True)
UNREAD = Reading(unread=True)
ONLY_ERROR = Reading(failed=True, complete=True)
STARTED = Reading(usage=INPUT_ONLY, input_only=True, texts=(TEXT,))

COUNTED = Usage(input=9, output=3)
STARTED_COUNTED = Usage(input=20, cache_read=5, output=3)


def charged(
    model: str, streamed: bool, bound: Usage, texts: tuple[str, ...] = (), *, hidden_output: bool = False
) -> Charged:
    most = bound.input_tokens, bound.output_tokens
    return Charged(model, streamed, lambda: bound, *most, texts, hidden_output)


STREAM = charged("gpt-4o", True, BOUND, PROMPT)
UNARY = charged("gpt-4o", False, BOUND, PROMPT)
HIDDEN = charged("o3", True, BOUND, PROMPT, hidden_output=True)
ELSEWHERE = charged("gpt-4o", True, BOUND)
SEARCHING = charged("gpt-4o", True, Usage(input=500, output=1000, web_searches=5), PROMPT)

E, S, T = Ending, Source, Status

TABLE = [
    # reported: charged as reported, however it ended
    (E.COMPLETE, 200, FULL, UNARY, REPORTED, S.PROVIDER, T.OK),
    (E.COMPLETE, 200, FULL, STREAM, REPORTED, S.PROVIDER, T.OK),
    (E.CLIENT_GONE, 200, FULL, STREAM, REPORTED, S.PROVIDER, T.CLIENT_GONE),
    (E.CUT, 200, FULL, STREAM, REPORTED, S.PROVIDER, T.CUT),
    (E.PROVIDER_BROKE, 200, FULL, STREAM, REPORTED, S.PROVIDER, T.UPSTREAM_ERROR),
    (E.COMPLETE, 500, FULL, UNARY, REPORTED, S.PROVIDER, T.UPSTREAM_ERROR),
    (E.COMPLETE, 200, FULL, HIDDEN, REPORTED, S.PROVIDER, T.OK),
    # no status: it may have run in full
    (E.UPSTREAM_LOST, None, EMPTY, UNARY, BOUND, S.BOUND, T.UPSTREAM_ERROR),
    (E.TIMEOUT, None, EMPTY, STREAM, BOUND, S.BOUND, T.UPSTREAM_ERROR),
    (E.CLIENT_GONE, None, EMPTY, UNARY, BOUND, S.BOUND, T.CLIENT_GONE),
    # refused by the provider
    (E.COMPLETE, 400, ONLY_ERROR, UNARY, Usage(), S.NONE, T.UPSTREAM_ERROR),
    (E.COMPLETE, 429, ONLY_ERROR, STREAM, Usage(), S.NONE, T.UPSTREAM_ERROR),
    (E.COMPLETE, 529, EMPTY, STREAM, Usage(), S.NONE, T.UPSTREAM_ERROR),
    (E.PROVIDER_BROKE, 502, EMPTY, UNARY, Usage(), S.NONE, T.UPSTREAM_ERROR),
    (E.CLIENT_GONE, 404, ONLY_ERROR, UNARY, Usage(), S.NONE, T.CLIENT_GONE),
    # 200, yet an error
    (E.COMPLETE, 200, ONLY_ERROR, STREAM, Usage(), S.NONE, T.UPSTREAM_ERROR),
    (E.COMPLETE, 200, ERRORED, STREAM, COUNTED, S.COUNTED, T.UPSTREAM_ERROR),
    # of no known form: not free
    (E.COMPLETE, 200, UNREAD, STREAM, BOUND, S.BOUND, T.OK),
    (E.CLIENT_GONE, 200, UNREAD, STREAM, BOUND, S.BOUND, T.CLIENT_GONE),
    (E.COMPLETE, 200, replace(UNREAD, complete=True), UNARY, BOUND, S.BOUND, T.OK),
    (E.COMPLETE, 400, UNREAD, STREAM, Usage(), S.NONE, T.UPSTREAM_ERROR),
    # unreported, all output visible: counted
    (E.COMPLETE, 200, SILENT, UNARY, COUNTED, S.COUNTED, T.OK),
    (E.COMPLETE, 200, SILENT, STREAM, COUNTED, S.COUNTED, T.OK),
    (E.CLIENT_GONE, 200, BROKEN, STREAM, COUNTED, S.COUNTED, T.CLIENT_GONE),
    (E.CLIENT_GONE, 200, EMPTY, STREAM, Usage(input=9), S.COUNTED, T.CLIENT_GONE),
    (E.CUT, 200, BROKEN, STREAM, COUNTED, S.COUNTED, T.CUT),
    (E.PROVIDER_BROKE, 200, BROKEN, STREAM, COUNTED, S.COUNTED, T.UPSTREAM_ERROR),
    (E.TIMEOUT, 200, BROKEN, STREAM, COUNTED, S.COUNTED, T.UPSTREAM_ERROR),
    # the input was reported before the stream ended early
    (E.CLIENT_GONE, 200, STARTED, STREAM, STARTED_COUNTED, S.COUNTED, T.CLIENT_GONE),
    (E.CUT, 200, STARTED, HIDDEN, Usage(input=20, cache_read=5, output=1000), S.BOUND, T.CUT),
    # unary, broken on the way: it had been generated whole
    (E.PROVIDER_BROKE, 200, EMPTY, UNARY, BOUND, S.BOUND, T.UPSTREAM_ERROR),
    (E.CLIENT_GONE, 200, EMPTY, UNARY, BOUND, S.BOUND, T.CLIENT_GONE),
    # output that does not show
    (E.COMPLETE, 200, SILENT, HIDDEN, BOUND, S.BOUND, T.OK),
    (E.CLIENT_GONE, 200, BROKEN, HIDDEN, BOUND, S.BOUND, T.CLIENT_GONE),
    (E.COMPLETE, 200, SILENT, SEARCHING, SEARCHING.bound(), S.BOUND, T.OK),
    # a prompt that cannot be counted: the weakest source names the row
    (E.COMPLETE, 200, SILENT, ELSEWHERE, Usage(input=500, output=3), S.BOUND, T.OK),
]


@pytest.mark.parametrize(("ending", "code", "reading", "charged", "usage", "source", "status"), TABLE)
def test_what_is_charged(
    ending: Ending,
    code: int | None,
    reading: Reading,
    charged: Charged,
    usage: Usage,
    source: Source,
    status: Status,
) -> None:
    assert conclude(ending, code, reading, charged, COUNTER) == Conclusion(usage, source, status)


@pytest.mark.parametrize("ending", list(Ending))
@pytest.mark.parametrize("code", [None, 200, 299, 301, 400, 500])
@pytest.mark.parametrize("reading", [FULL, SILENT, BROKEN, EMPTY, UNREAD, ERRORED, ONLY_ERROR, STARTED])
@pytest.mark.parametrize("charged", [STREAM, UNARY, HIDDEN, ELSEWHERE, SEARCHING])
def test_what_was_not_reported_never_costs_more_than_the_hold(
    ending: Ending, code: int | None, reading: Reading, charged: Charged
) -> None:
    result = conclude(ending, code, reading, charged, COUNTER)
    assert result.usage.input_tokens <= BOUND.input
    assert result.usage.output_tokens <= BOUND.output
    assert (result.source is Source.PROVIDER) == (reading is FULL)


def test_more_than_the_bound_is_charged_as_reported_and_flagged() -> None:
    reading = Reading(usage=Usage(input=501, output=1), complete=True, notes=("cached_over_input",))
    result = conclude(E.COMPLETE, 200, reading, UNARY, COUNTER)
    assert result.usage == Usage(input=501, output=1)
    assert result.flags == ("cached_over_input", "overrun")


def test_a_charge_by_the_provider_counts_only_with_its_usage() -> None:
    reported = Reading(usage=REPORTED, cost_femtousd=42, complete=True)
    assert conclude(E.COMPLETE, 200, reported, UNARY, COUNTER).cost_femtousd == 42
    stale = Reading(usage=INPUT_ONLY, input_only=True, cost_femtousd=42, texts=(TEXT,))
    assert conclude(E.CUT, 200, stale, STREAM, COUNTER).cost_femtousd is None


def test_text_that_was_not_kept_counts_at_the_ratio_of_the_rest() -> None:
    reading = Reading(texts=("one two three four",), text_bytes_dropped=36)
    assert counted_output(reading, "gpt-4o", COUNTER) == 12


async def test_long_texts_are_concluded_off_the_loop_alike() -> None:
    reading = Reading(texts=("word " * 20_000,), complete=True)
    wanted = conclude(E.COMPLETE, 200, reading, STREAM, COUNTER)
    assert await conclude_async(E.COMPLETE, 200, reading, STREAM, COUNTER) == wanted
