"""What holds for every reader: any cut gives the same reading, nothing raises, memory is bounded."""

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
from gateway.metering.openai_chat import OpenAiChatReader
from gateway.metering.openai_embeddings import OpenAiEmbeddingsReader
from gateway.metering.openai_images import OpenAiImagesReader
from gateway.metering.openai_responses import OpenAiResponsesReader
from gateway.metering.reading import UsageReader
from pricing.usage import Usage
from tests.unit.metering.replies import (
    CHAT,
    CHAT_CRLF,
    CLAUDE,
    GEMINI,
    RESPONSES,
    UNARY,
    delta,
    read,
    sse,
)

STREAMS: list[tuple[Callable[[], UsageReader], bytes, Usage]] = [
    (OpenAiChatReader, CHAT, Usage(input=10, output=4)),
    (OpenAiChatReader, CHAT_CRLF, Usage(input=10, output=4)),
    (OpenAiChatReader, b"\n\n " + UNARY, Usage(input=10, output=4)),
    (
        AnthropicReader,
        CLAUDE,
        Usage(input=12, cache_read=5, cache_write=10, cache_write_1h=20, output=9, web_searches=2),
    ),
    (GeminiReader, GEMINI, Usage(input=8, output=2, reasoning=3)),
    (OpenAiResponsesReader, RESPONSES, Usage(input=3, cache_read=2, output=1, reasoning=6)),
]


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
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "usage",
                    "choices",
                    "delta",
                    "message",
                    "content",
                    "type",
                    "prompt_tokens",
                    "input_tokens",
                    "completion_tokens",
                    "prompt_tokens_details",
                    "cached_tokens",
                    "usageMetadata",
                    "candidates",
                    "promptTokenCount",
                    "parts",
                    "text",
                    "iterations",
                    "response",
                    "output",
                    "x_groq",
                    "error",
                    "index",
                    "output_index",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=300)
@given(st.sampled_from([*(make for make, _, _ in STREAMS), OpenAiEmbeddingsReader, OpenAiImagesReader]), JSON)
def test_a_reader_never_raises_on_json_of_unexpected_types(make: Callable[[], UsageReader], doc: Any) -> None:
    text = json.dumps(doc).encode()
    read(make(), text)
    for kind in ("message_start", "message_delta", "response.completed", "content_block_delta", "x.delta"):
        read(make(), b"event: " + kind.encode() + b"\ndata: " + text + b"\n\n")


def test_a_stream_answered_by_a_json_error_is_a_complete_failure() -> None:
    reading = read(OpenAiChatReader(), b'{"error": {"message": "no"}}')
    assert (reading.failed, reading.complete, reading.produced) == (True, True, False)


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


@pytest.mark.parametrize(
    "arguments", [b'{"a":"\\ud800"}', b'{"a":NaN,"b":1000000000000000000000}'], ids=["surrogate", "numbers"]
)
def test_arguments_that_cannot_be_written_again_are_read_all_the_same(arguments: bytes) -> None:
    for reader, event in (
        (
            OpenAiChatReader(),
            b'{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":@}}]}}]}',
        ),
        (AnthropicReader(), b'{"type":"content_block_start","content_block":{"type":"tool_use","input":@}}'),
        (GeminiReader(), b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":@}}]}}]}'),
    ):
        (text,) = read(reader, b"data: " + event.replace(b"@", arguments) + b"\n\n").texts
        assert '"a":' in text


def test_an_escaped_character_torn_between_two_events_is_put_together() -> None:
    stream = sse(delta("\ud83d"), delta("\ude00"))
    (text,) = read(OpenAiChatReader(), stream).texts
    assert text.encode("utf-16", "surrogatepass").decode("utf-16") == "\U0001f600"
