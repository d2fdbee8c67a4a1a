"""Readers on replies as providers send them, and on ones that contradict themselves or break off."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.metering.anthropic import AnthropicReader
from gateway.metering.gemini import GeminiReader
from gateway.metering.openai_chat import OPTIONS_BY_KIND, OpenAiChatReader
from gateway.metering.openai_embeddings import OpenAiEmbeddingsReader
from gateway.metering.openai_images import OpenAiImagesReader
from gateway.metering.openai_responses import OpenAiResponsesReader
from gateway.metering.reading import Reading, UsageReader
from pricing.usage import Usage


def sse(*docs: dict[str, Any], named: bool = False, ending: str = "\n") -> bytes:
    out = ""
    for doc in docs:
        name = f"event: {doc['type']}{ending}" if named else ""
        out += f"{name}data: {json.dumps(doc)}{ending}{ending}"
    return out.encode()


def read(reader: UsageReader, *pieces: bytes) -> Reading:
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


def delta(content: str, **more: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": content}, **more}]}


USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
DONE = b"data: [DONE]\n\n"
CHAT = (
    sse(delta("Hel"), delta("lo ä\u2028"), delta("", finish_reason="stop"), {"choices": [], "usage": USAGE})
    + DONE
)
CHAT_CRLF = CHAT.replace(b"\n", b"\r\n")
UNARY = json.dumps(
    {"id": "c1", "model": "m", "choices": [{"message": {"content": "Hi"}}], "usage": USAGE}
).encode()
CLAUDE = sse(
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "model": "claude-x",
            "usage": {
                "input_tokens": 10,
                "cache_creation_input_tokens": 30,
                "cache_read_input_tokens": 5,
                "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
                "output_tokens": 1,
                "service_tier": "standard",
                "speed": "fast",
                "inference_geo": "us",
            },
        },
    },
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {
        "type": "message_delta",
        "delta": {},
        "usage": {"input_tokens": 12, "output_tokens": 9, "server_tool_use": {"web_search_requests": 2}},
    },
    {"type": "message_stop"},
    named=True,
)
GEMINI = sse(
    {
        "candidates": [{"content": {"parts": [{"text": "Hel"}]}}],
        "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
        "modelVersion": "gemini-3",
        "responseId": "r1",
    },
    {
        "candidates": [{"content": {"parts": [{"text": "lo"}]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": 8,
            "candidatesTokenCount": 2,
            "thoughtsTokenCount": 3,
            "totalTokenCount": 13,
        },
    },
    ending="\r\n",
)
RESPONSES = sse(
    {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-x", "service_tier": "auto"}},
    {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hello"},
    {
        "type": "response.completed",
        "response": {
            "id": "resp_1",
            "model": "gpt-x",
            "service_tier": "flex",
            "usage": {
                "input_tokens": 5,
                "input_tokens_details": {"cached_tokens": 2},
                "output_tokens": 7,
                "output_tokens_details": {"reasoning_tokens": 6},
                "total_tokens": 12,
            },
        },
    },
    named=True,
)
STREAMS: list[tuple[Callable[[], UsageReader], bytes, Usage]] = [
    (OpenAiChatReader, CHAT, Usage(input=10, output=4)),
    (OpenAiChatReader, CHAT_CRLF, Usage(input=10, output=4)),
    (OpenAiChatReader, b"\n\n " + UNARY, Usage(input=10, output=4)),
    (AnthropicReader, CLAUDE, Usage(input=12, cache_read=5, cache_write=10, cache_write_1h=20, output=9, web_searches=2)),
    (GeminiReader, GEMINI, Usage(input=8, output=2, reasoning=3)),
    (OpenAiResponsesReader, RESPONSES, Usage(input=3, cache_read=2, output=1, reasoning=6)),
]  # fmt: skip


@pytest.mark.parametrize(("make", "stream", "usage"), STREAMS)
def test_usage_is_read_and_the_reply_is_complete(
    make: Callable[[], UsageReader], stream: bytes, usage: Usage
) -> None:
    reading = read(make(), stream)
    assert reading.usage == usage
    assert reading.complete
    assert not reading.failed
    assert not reading.input_only
    assert reading.provider_request_id


@settings(max_examples=200)
@given(st.sampled_from(STREAMS), st.data())
def test_any_cut_of_any_prefix_gives_the_same_reading(
    case: tuple[Callable[[], UsageReader], bytes, Usage], data: st.DataObject
) -> None:
    make, stream, _ = case
    stream = stream[: data.draw(st.integers(0, len(stream)))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[a:b] for a, b in itertools.pairwise([0, *cuts, len(stream)])]
    assert read(make(), *pieces) == read(make(), stream)


@settings(max_examples=200)
@given(st.sampled_from([make for make, _, _ in STREAMS]), st.binary(max_size=400))
def test_a_reader_never_raises_on_bytes(make: Callable[[], UsageReader], data: bytes) -> None:
    read(make(), data)
    read(make(), b"data: " + data + b"\n\n")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["usage", "choices", "delta", "message", "content", "type", "prompt_tokens", "input_tokens",
             "completion_tokens", "prompt_tokens_details", "cached_tokens", "usageMetadata", "candidates",
             "promptTokenCount", "parts", "text", "iterations", "response", "output", "x_groq", "error"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=25,
)  # fmt: skip


@settings(max_examples=300)
@given(st.sampled_from([*(make for make, _, _ in STREAMS), OpenAiEmbeddingsReader, OpenAiImagesReader]), JSON)
def test_a_reader_never_raises_on_json_of_unexpected_types(make: Callable[[], UsageReader], doc: Any) -> None:
    text = json.dumps(doc).encode()
    read(make(), text)
    for kind in ("message_start", "message_delta", "response.completed", "content_block_delta"):
        read(make(), b"event: " + kind.encode() + b"\ndata: " + text + b"\n\n")


def chat(usage: dict[str, Any], kind: str = "openai") -> Reading:
    options = OPTIONS_BY_KIND.get(kind)
    reader = OpenAiChatReader() if options is None else OpenAiChatReader(options)
    return read(reader, json.dumps({"id": "1", "model": "m", "choices": [], "usage": usage}).encode())


CHAT_USAGE = [
    (  # all parts inside
        {"prompt_tokens": 2000, "completion_tokens": 300, "total_tokens": 2300,
         "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 512, "audio_tokens": 10},
         "completion_tokens_details": {"reasoning_tokens": 100, "audio_tokens": 50}},
        "openai",
        Usage(input=454, cache_read=1024, cache_write=512, input_audio=10, output=150, reasoning=100, output_audio=50),
        (),
    ),
    (  # cached audio that nobody calls cached
        {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101,
         "prompt_tokens_details": {"cached_tokens": 90, "audio_tokens": 30}},
        "openai",
        Usage(cache_read=70, cache_read_audio=20, input_audio=10, output=1),
        (),
    ),
    (
        {"prompt_tokens": 347, "completion_tokens": 18, "total_tokens": 365, "prompt_tokens_details": {"cached_tokens": 403}},
        "azure",
        Usage(cache_read=347, output=18),
        ("cached_over_input",),
    ),
    (
        {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 241, "completion_tokens_details": {"reasoning_tokens": 228}},
        "xai",
        Usage(input=12, output=1, reasoning=228),
        (),
    ),
    (  # xAI's model behind a compatible server: the total shows it
        {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 241, "completion_tokens_details": {"reasoning_tokens": 228}},
        "openai",
        Usage(input=12, output=1, reasoning=228),
        (),
    ),
    (
        {"prompt_tokens": 9, "completion_tokens": 201, "total_tokens": 585, "prompt_tokens_details": {"audio_tokens": 375}},
        "mistral",
        Usage(input=9, input_audio=375, output=201),
        (),
    ),
    ({"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}, "gemini", Usage(input=35, output=12, reasoning=62), ()),
    ({"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}, "openai", Usage(input=35, output=12), ("total_differs",)),
    ({"prompt_tokens": 10, "completion_tokens": 2, "prompt_cache_hit_tokens": 7, "prompt_cache_miss_tokens": 3}, "deepseek", Usage(input=3, cache_read=7, output=2), ()),
    ({"prompt_tokens": 100, "completion_tokens": 2, "num_cached_tokens": 99}, "mistral", Usage(input=1, cache_read=99, output=2), ()),
    (
        {"prompt_tokens": 19, "completion_tokens": 498, "total_tokens": 517, "citation_tokens": 100, "reasoning_tokens": 200, "num_search_queries": 4},
        "perplexity",
        Usage(input=119, output=498, reasoning=200, web_searches=4),
        (),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("reported", "kind", "usage", "notes"), CHAT_USAGE)
def test_overlapping_counts_become_exclusive_buckets(
    reported: dict[str, Any], kind: str, usage: Usage, notes: tuple[str, ...]
) -> None:
    reading = chat(reported, kind)
    assert reading.usage == usage
    assert reading.notes == notes


@given(st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "video_tokens"]), st.integers(0, 2000)
), st.integers(0, 2000))  # fmt: skip
def test_buckets_always_add_up_to_the_reported_input(details: dict[str, int], total: int) -> None:
    usage = chat({"prompt_tokens": total, "completion_tokens": 0, "prompt_tokens_details": details}).usage
    assert usage is not None
    assert usage.input_tokens == total


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


@pytest.mark.parametrize(
    "tail",
    [b'data: {"error":{"message":"boom"}}\n\n', b'error: {"error":{"message":"x"}}\n\n', b"event: error\ndata: no json\n\n"],
)  # fmt: skip
def test_an_error_inside_a_stream_is_a_failure_with_the_text_before_it(tail: bytes) -> None:
    reading = read(OpenAiChatReader(), sse(delta("Hi")), tail)
    assert reading.failed
    assert reading.usage is None
    assert reading.texts == ("Hi",)


def test_a_stream_answered_by_a_json_error_is_a_complete_failure() -> None:
    reading = read(OpenAiChatReader(), b'{"error": {"message": "no"}}')
    assert (reading.failed, reading.complete, reading.produced) == (True, True, False)


def test_all_that_a_model_writes_is_kept_for_counting_by_choice() -> None:
    stream = sse(
        {"choices": [{"index": 0, "delta": {"reasoning_content": "think "}}, {"index": 1, "delta": {"content": "B"}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}]},
        {"choices": [{"index": 1, "delta": {"content": [{"type": "text", "text": "2"}, {"type": "thinking", "thinking": [{"text": "3"}]}]}}]},
        {"choices": [{"index": 2, "text": "legacy"}]},
    )  # fmt: skip
    assert read(OpenAiChatReader(), stream).texts == ("think f{}", "B23", "legacy")


def test_text_beyond_the_bound_is_only_measured() -> None:
    reader = OpenAiChatReader()
    for _ in range(11):
        reader.feed(sse(delta("ä" * 100_000)))
    reading = reader.finish()
    assert sum(map(len, reading.texts)) == 1 << 20
    assert reading.text_bytes_dropped == 2 * (1_100_000 - (1 << 20))


def test_a_claude_stream_cut_after_its_start_knows_its_input() -> None:
    start = CLAUDE[: CLAUDE.index(b"event: message_delta")]
    reading = read(AnthropicReader(), start)
    assert reading.input_only
    assert reading.usage == Usage(input=10, cache_read=5, cache_write=10, cache_write_1h=20)
    assert reading.texts == ("Hello",)
    assert reading.tier == "fast+geo:us"


def test_claude_writes_without_a_split_are_taken_for_the_dearer_when_they_may_be() -> None:
    body = json.dumps(
        {"usage": {"input_tokens": 1, "cache_creation_input_tokens": 7, "output_tokens": 2}}
    ).encode()
    assert read(AnthropicReader(), body).usage == Usage(input=1, cache_write=7, output=2)
    assert read(AnthropicReader(cache_ttl_1h=True), body).usage == Usage(input=1, cache_write_1h=7, output=2)


@pytest.mark.parametrize(
    ("top_input", "passes"),
    [(100, (("claude-b", Usage(input=40, output=4)), ("claude-a", Usage(input=7, output=1)))), (147, ())],
)
def test_passes_beside_the_top_level_are_kept_with_their_model(
    top_input: int, passes: tuple[tuple[str, Usage], ...]
) -> None:
    iterations = [
        {"type": "message", "input_tokens": 100, "output_tokens": 10},
        {"type": "advisor_message", "model": "claude-b", "input_tokens": 40, "output_tokens": 4},
        {"type": "compaction", "input_tokens": 7, "output_tokens": 1},
    ]
    output = 10 if top_input == 100 else 15
    usage = {"input_tokens": top_input, "output_tokens": output, "iterations": iterations}
    reading = read(AnthropicReader(), json.dumps({"model": "claude-a", "usage": usage}).encode())
    assert reading.passes == passes


def test_a_claude_error_event_is_a_failure() -> None:
    stream = CLAUDE[: CLAUDE.index(b"event: message_delta")] + sse(
        {"type": "error", "error": {"type": "overloaded_error"}}, named=True
    )
    reading = read(AnthropicReader(), stream)
    assert reading.failed
    assert reading.input_only


def test_gemini_media_and_cached_media_have_their_own_buckets() -> None:
    usage = {
        "promptTokenCount": 900, "cachedContentTokenCount": 300, "toolUsePromptTokenCount": 40,
        "candidatesTokenCount": 120, "thoughtsTokenCount": 30, "totalTokenCount": 1090, "serviceTier": "flex",
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 400}, {"modality": 2, "tokenCount": 260},
                                {"modality": "AUDIO", "tokenCount": 200}, {"modality": "VIDEO", "tokenCount": 40}],
        "cacheTokensDetails": [{"modality": "IMAGE", "tokenCount": 60}, {"modality": "TEXT", "tokenCount": 240}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 100}],
    }  # fmt: skip
    reading = read(GeminiReader(), json.dumps({"usageMetadata": usage}).encode())
    assert reading.usage == Usage(
        input=200, cache_read=240, cache_read_image=60, input_image=200, input_audio=200, input_video=40,
        output=20, output_image=100, reasoning=30,
    )  # fmt: skip
    assert reading.tier == "flex"


@pytest.mark.parametrize(("model", "searches"), [("gemini-2.5-pro", 1), ("gemini-3-pro", 2)])
def test_gemini_grounding_is_per_request_before_gemini_3_and_per_query_after(
    model: str, searches: int
) -> None:
    chunk = {
        "candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b"]}}],
        "usageMetadata": {"promptTokenCount": 1},
        "modelVersion": model,
    }
    usage = read(GeminiReader(), sse(chunk, chunk)).usage
    assert usage == Usage(input=1, web_searches=searches)


def test_a_gemini_array_and_its_error_are_read() -> None:
    chunk = {
        "candidates": [{"content": {"parts": [{"text": "x"}]}}],
        "usageMetadata": {"promptTokenCount": 1},
    }
    reading = read(GeminiReader(), json.dumps([chunk, {"error": {"code": 500}}], indent=1).encode())
    assert (reading.usage, reading.failed, reading.complete) == (Usage(input=1), True, True)


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
        "model": "gpt-x", "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        "tools": [{"type": "image_generation", "model": "gpt-image-2"}],
        "tool_usage": {"image_gen": {"input_tokens": 30, "output_tokens": 40}, "web_search": {"num_requests": 3}},
        "output": [{"type": "web_search_call", "action": {"type": "search"}}, {"type": "file_search_call"}],
    }  # fmt: skip
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


def test_usage_behind_megabytes_of_vectors_or_media_is_found_in_bounded_memory() -> None:
    vectors = b'{"data":[' + b",".join([b'{"embedding":[' + b"-0.0123456, " * 2000 + b"1]}"] * 400)
    reader = OpenAiEmbeddingsReader()
    body = vectors + b'],"model":"e","usage":{"prompt_tokens":5,"total_tokens":5}}'
    for at in range(0, len(body), 60_000):
        reader.feed(body[at : at + 60_000])
    reading = reader.finish()
    assert len(body) > 9 << 20
    assert (reading.usage, reading.model, reading.notes) == (Usage(input=5), "e", ())


def test_of_a_document_beyond_all_bounds_usage_is_still_found() -> None:
    reader = OpenAiEmbeddingsReader()
    reader.feed(b'{"data":"')
    for _ in range(12):
        reader.feed(b"not media, ! " * 80_000)
    reader.feed(b'","usage":{"prompt_tokens":5,"total_tokens":5}}')
    reading = reader.finish()
    assert reading.usage == Usage(input=5)
    assert reading.notes == ("oversized_event",)


def test_what_is_fed_after_the_end_is_ignored() -> None:
    reader = OpenAiChatReader()
    first = read(reader, sse(delta("Hi")))
    assert read(reader, CHAT) == first
