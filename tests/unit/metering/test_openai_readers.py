"""Chat, responses and images: overlapping counts, and usage wherever it is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metering.openai_chat import OPTIONS_BY_KIND, OpenAiChatReader
from gateway.metering.openai_images import OpenAiImagesReader
from gateway.metering.openai_responses import OpenAiResponsesReader
from gateway.metering.reading import Reading
from pricing.usage import Usage
from tests.unit.metering.replies import DONE, USAGE, delta, read, sse


def chat(usage: dict[str, Any], kind: str = "openai") -> Reading:
    options = OPTIONS_BY_KIND.get(kind)
    reader = OpenAiChatReader() if options is None else OpenAiChatReader(options)
    return read(reader, json.dumps({"id": "1", "model": "m", "choices": [], "usage": usage}).encode())


CHAT_USAGE = [
    (  # all parts inside
        {
            "prompt_tokens": 2000,
            "completion_tokens": 300,
            "total_tokens": 2300,
            "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 512, "audio_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 100, "audio_tokens": 50},
        },
        "openai",
        Usage(
            input=454,
            cache_read=1024,
            cache_write=512,
            input_audio=10,
            output=150,
            reasoning=100,
            output_audio=50,
        ),
        (),
    ),
    (  # cached audio that nobody calls cached
        {
            "prompt_tokens": 100,
            "completion_tokens": 1,
            "total_tokens": 101,
            "prompt_tokens_details": {"cached_tokens": 90, "audio_tokens": 30},
        },
        "openai",
        Usage(cache_read=70, cache_read_audio=20, input_audio=10, output=1),
        (),
    ),
    (
        {
            "prompt_tokens": 347,
            "completion_tokens": 18,
            "total_tokens": 365,
            "prompt_tokens_details": {"cached_tokens": 403},
        },
        "azure",
        Usage(cache_read=347, output=18),
        ("cached_over_input",),
    ),
    (
        {
            "prompt_tokens": 12,
            "completion_tokens": 1,
            "total_tokens": 241,
            "completion_tokens_details": {"reasoning_tokens": 228},
        },
        "xai",
        Usage(input=12, output=1, reasoning=228),
        (),
    ),
    (  # xAI's model behind a compatible server: the total shows it
        {
            "prompt_tokens": 12,
            "completion_tokens": 1,
            "total_tokens": 241,
            "completion_tokens_details": {"reasoning_tokens": 228},
        },
        "openai",
        Usage(input=12, output=1, reasoning=228),
        (),
    ),
    (
        {
            "prompt_tokens": 9,
            "completion_tokens": 201,
            "total_tokens": 585,
            "prompt_tokens_details": {"audio_tokens": 375},
        },
        "mistral",
        Usage(input=9, input_audio=375, output=201),
        (),
    ),
    (
        {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109},
        "gemini",
        Usage(input=35, output=12, reasoning=62),
        (),
    ),
    (
        {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109},
        "openai",
        Usage(input=35, output=12),
        ("total_differs",),
    ),
    (
        {
            "prompt_tokens": 10,
            "completion_tokens": 2,
            "prompt_cache_hit_tokens": 7,
            "prompt_cache_miss_tokens": 3,
        },
        "deepseek",
        Usage(input=3, cache_read=7, output=2),
        (),
    ),
    (
        {"prompt_tokens": 100, "completion_tokens": 2, "num_cached_tokens": 99},
        "mistral",
        Usage(input=1, cache_read=99, output=2),
        (),
    ),
    (
        {
            "prompt_tokens": 19,
            "completion_tokens": 498,
            "total_tokens": 517,
            "citation_tokens": 100,
            "reasoning_tokens": 200,
            "num_search_queries": 4,
        },
        "perplexity",
        Usage(input=119, output=498, reasoning=200, web_searches=4),
        (),
    ),
]


@pytest.mark.parametrize(("reported", "kind", "usage", "notes"), CHAT_USAGE)
def test_overlapping_counts_become_exclusive_buckets(
    reported: dict[str, Any], kind: str, usage: Usage, notes: tuple[str, ...]
) -> None:
    reading = chat(reported, kind)
    assert reading.usage == usage
    assert reading.notes == notes


@given(
    st.dictionaries(
        st.sampled_from(
            ["cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "video_tokens"]
        ),
        st.integers(0, 2000),
    ),
    st.integers(0, 2000),
)
def test_buckets_always_add_up_to_the_reported_input(details: dict[str, int], total: int) -> None:
    usage = chat({"prompt_tokens": total, "completion_tokens": 0, "prompt_tokens_details": details}).usage
    assert usage is not None
    assert usage.input_tokens == total


@pytest.mark.parametrize("cost", [-1, True, None, "free", float("inf"), 1e300, [], {}])
@pytest.mark.parametrize("kind", ["openrouter", "perplexity", "xai"])
def test_a_charge_that_makes_no_sense_is_none(kind: str, cost: object) -> None:
    assert chat({**USAGE, "cost": cost, "cost_in_usd_ticks": cost}, kind).cost_femtousd is None


def test_with_an_upstream_key_of_ones_own_the_upstream_charge_is_added_to_the_fee() -> None:
    usage = {**USAGE, "cost": 0.0001, "is_byok": True}
    details = {"upstream_inference_cost": 0.002}
    assert chat({**usage, "cost_details": details}, "openrouter").cost_femtousd == 2_100_000_000_000
    assert chat(usage, "openrouter").cost_femtousd is None


def test_a_reported_charge_is_exact_and_only_of_kinds_that_are_charged_by_it() -> None:
    usage = {**USAGE, "cost": 0.0076509169000000005}
    assert chat(usage, "openrouter").cost_femtousd == 7650916900001
    assert chat(usage, "openai").cost_femtousd is None
    assert chat({**USAGE, "cost": {"total_cost": 0.00502}}, "perplexity").cost_femtousd == 5_020_000_000_000
    assert chat({**USAGE, "cost_in_usd_ticks": 1176500}, "xai").cost_femtousd == 117_650_000_000


@pytest.mark.parametrize(
    "last",
    [
        {"choices": [], "usage": USAGE},
        delta("", finish_reason="stop") | {"usage": USAGE},
        delta("") | {"usage": USAGE},
        delta("") | {"x_groq": {"usage": USAGE}},
    ],
)
def test_chat_usage_is_found_wherever_it_is_sent(last: dict[str, Any]) -> None:
    assert read(OpenAiChatReader(), sse(delta("Hi"), last), DONE).usage == Usage(input=10, output=4)


def test_cumulative_usage_in_every_chunk_counts_once() -> None:
    chunks = [delta("x") | {"usage": {**USAGE, "completion_tokens": n}} for n in range(1, 5)]
    assert read(OpenAiChatReader(), sse(*chunks)).usage == Usage(input=10, output=4)


def test_usage_that_the_text_has_outgrown_is_input_only() -> None:
    stream = sse(delta("") | {"usage": {**USAGE, "completion_tokens": 0}}, delta("more"), delta("text"))
    reading = read(OpenAiChatReader(), stream)
    assert reading.input_only
    assert reading.texts == ("moretext",)


def test_usage_that_the_text_has_outgrown_is_input_only_also_where_the_stream_reached_its_end() -> None:
    early = delta("Hi") | {"usage": {**USAGE, "completion_tokens": 1}}
    reading = read(OpenAiChatReader(), sse(early, delta("more", finish_reason="stop")), DONE)
    assert (reading.complete, reading.input_only) == (True, True)


def test_a_stream_is_complete_when_all_its_choices_are_finished() -> None:
    def chunk(index: int, **more: Any) -> dict[str, Any]:
        return {"choices": [{"index": index, "delta": {"content": "x"}, **more}]}

    started = [chunk(0), chunk(1), chunk(0, finish_reason="stop")]
    assert not read(OpenAiChatReader(), sse(*started)).complete
    assert read(OpenAiChatReader(), sse(*started, chunk(1, finish_reason="length"))).complete


@pytest.mark.parametrize(
    "tail",
    [
        b'data: {"error":{"message":"boom"}}\n\n',
        b'error: {"error":{"message":"x"}}\n\n',
        b"event: error\ndata: no json\n\n",
    ],
)
def test_an_error_inside_a_stream_is_a_failure_with_the_text_before_it(tail: bytes) -> None:
    reading = read(OpenAiChatReader(), sse(delta("Hi")), tail)
    assert reading.failed
    assert reading.usage is None
    assert reading.texts == ("Hi",)


def test_all_that_a_model_writes_is_kept_for_counting_by_choice() -> None:
    stream = sse(
        {
            "choices": [
                {"index": 0, "delta": {"reasoning_content": "think "}},
                {"index": 1, "delta": {"content": "B"}},
            ]
        },
        {
            "choices": [
                {"index": 0, "delta": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}
            ]
        },
        {
            "choices": [
                {
                    "index": 1,
                    "delta": {
                        "content": [
                            {"type": "text", "text": "2"},
                            {"type": "thinking", "thinking": [{"text": "3"}]},
                        ]
                    },
                }
            ]
        },
        {"choices": [{"index": 2, "text": "legacy"}]},
    )
    assert read(OpenAiChatReader(), stream).texts == ("think f{}", "B23", "legacy")


def test_text_beyond_the_bound_is_only_measured() -> None:
    reader = OpenAiChatReader()
    for _ in range(11):
        reader.feed(sse(delta("ä" * 100_000)))
    reading = reader.finish()
    assert sum(map(len, reading.texts)) == 1 << 20
    assert reading.text_bytes_dropped == 2 * (1_100_000 - (1 << 20))


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed"])
def test_every_terminal_event_of_a_response_carries_usage(kind: str) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    reading = read(
        OpenAiResponsesReader(), sse({"type": kind, "response": {"id": "r", "usage": usage}}, named=True)
    )
    assert reading.usage == Usage(input=1, output=2)
    assert reading.complete
    assert reading.failed is (kind == "response.failed")


def test_hosted_tools_of_a_response_are_beside_its_usage() -> None:
    response = {
        "model": "gpt-x",
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        "tools": [{"type": "image_generation", "model": "gpt-image-2"}],
        "tool_usage": {
            "image_gen": {"input_tokens": 30, "output_tokens": 40},
            "web_search": {"num_requests": 3},
        },
        "output": [{"type": "web_search_call", "action": {"type": "search"}}, {"type": "file_search_call"}],
    }
    reading = read(OpenAiResponsesReader(), json.dumps(response).encode())
    assert reading.usage == Usage(input=1, output=2, web_searches=3)
    assert reading.passes == (("gpt-image-2", Usage(input=30, output_image=40)),)
    assert reading.notes == ("unpriced_unit:file_search",)


def test_tools_of_a_response_that_are_not_reported_are_counted_in_its_output() -> None:
    response = {
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        "output": [
            {"type": "web_search_call", "action": {"type": "search"}},
            {"type": "web_search_call", "action": {"type": "open_page"}},
            {"type": "image_generation_call", "result": "AAAA", "quality": "high", "size": "1024x1024"},
        ],
    }
    reading = read(OpenAiResponsesReader(), json.dumps(response).encode())
    assert reading.usage == Usage(input=1, output=2, web_searches=1)
    assert reading.passes == (("gpt-image-1", Usage(images=(("high 1024x1024", 1),))),)


def test_images_are_tokens_where_reported_and_else_counted_under_the_label_of_the_request() -> None:
    data = [{"url": "a"}, {"url": "b"}]
    counted = read(OpenAiImagesReader("hd 1024x1024"), json.dumps({"data": data}).encode())
    assert counted.usage == Usage(images=(("hd 1024x1024", 2),))
    usage = {"input_tokens": 10, "input_tokens_details": {"image_tokens": 4}, "output_tokens": 4160}
    tokens = read(OpenAiImagesReader(), json.dumps({"data": data, "usage": usage}).encode())
    assert tokens.usage == Usage(input=6, input_image=4, output_image=4160)
    done = {"type": "image_generation.completed", "usage": usage}
    partial = {"type": "image_generation.partial_image", "b64_json": "AAAA"}
    assert read(OpenAiImagesReader(), sse(partial, done, named=True)).usage == tokens.usage
