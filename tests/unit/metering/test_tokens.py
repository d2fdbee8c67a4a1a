"""Counting is exact for OpenAI's models, offline, bounded in time, and never fails."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import time
from importlib import resources
from pathlib import Path

import pytest
import tiktoken
import tiktoken_ext.openai_public
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.metering.encodings import NAMES, Encodings
from gateway.metering.tokens import SLICE_CHARS_MAX, TokenCounter, family, slices, utf8_bytes

ENCODINGS = Encodings()
COUNTER = TokenCounter(ENCODINGS)
URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"


@pytest.mark.parametrize("name", NAMES)
def test_an_encoding_is_the_one_that_tiktoken_would_download(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = resources.files("gateway.metering").joinpath("ranks", f"{name}.tiktoken.gz").read_bytes()
    cached = tmp_path / hashlib.sha1(URL.format(name).encode()).hexdigest()
    cached.write_bytes(gzip.decompress(packed))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    theirs = tiktoken.Encoding(**getattr(tiktoken_ext.openai_public, name)())
    ours = ENCODINGS.get(name)
    assert ours._pat_str == theirs._pat_str
    assert ours._mergeable_ranks == theirs._mergeable_ranks


@pytest.mark.parametrize(
    ("model", "encoding", "exact"),
    [
        ("gpt-4", "cl100k_base", True),
        ("gpt-4o-mini", "o200k_base", True),
        ("ft:gpt-4o:acme::x", "o200k_base", True),
        ("gpt-6.1-sol", "o200k_base", True),
        ("openai/gpt-oss-120b", "o200k_base", True),
        ("text-embedding-3-small", "cl100k_base", True),
        ("anthropic/claude-opus-5-5", "o200k_base", False),
        ("gemini-4-argon", "o200k_base", False),
        ("never-heard-of", "o200k_base", False),
    ],
)
def test_models_fall_back_to_the_newest_encoding(model: str, encoding: str, exact: bool) -> None:
    kin = family(model)
    assert kin.encoding == encoding
    assert (kin.factor == 1) is exact


def test_special_tokens_in_text_are_ordinary_text() -> None:
    assert COUNTER.count("gpt-4o", ["<|endoftext|>"]) == 7


def test_other_vendors_are_estimated_upwards() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 10
    base = COUNTER.count("gpt-4o", [text])
    assert COUNTER.count("claude-opus-5-5", [text]) == -(-base * 8 // 5)
    assert COUNTER.count("mistral-large", [text]) == -(-base * 5 // 4)
    thai = "ภาษาไทย" * 100
    assert COUNTER.count("claude-opus-5-5", [thai]) == -(-len(thai) * 3 // 2)


@pytest.mark.parametrize(
    "text",
    [" " * 1_000_000, "a" * 300_000, "\n" * 300_000, "\x00" * 300_000, "\ud800" * 10_000, "中" * 200_000],
)
def test_text_that_tiktoken_chokes_on_is_counted_in_bounded_time(text: str) -> None:
    ENCODINGS.get("o200k_base")
    started = time.process_time()
    assert 0 < COUNTER.count("gpt-4o", [text]) <= utf8_bytes(text)
    assert time.process_time() - started < 5


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([" word", "\n", "  ", "x1", "don't", ", ", "中文", "\r\n", "A", ".\n\n"])).map(
        "".join
    ),
    st.integers(1, 40),
)
def test_cutting_text_into_slices_loses_nothing_and_hardly_changes_the_count(text: str, times: int) -> None:
    text = (text + " and so on") * (times * 40)
    pieces = list(slices(text))
    assert "".join(pieces) == text
    assert all(len(piece) <= SLICE_CHARS_MAX for piece in pieces)
    whole = len(ENCODINGS.get("o200k_base").encode_ordinary(text))
    assert abs(COUNTER.count("gpt-4o", [text]) - whole) <= len(pieces) - 1


def test_prose_is_cut_where_no_token_spans() -> None:
    text = "The quick brown fox, don't you know,\n jumps over 12 lazy dogs.\nAnd so on " * 2000
    whole = len(ENCODINGS.get("o200k_base").encode_ordinary(text))
    assert COUNTER.count("gpt-4o", [text]) == whole
    assert [a[-1] + b[0] for a, b in itertools.pairwise(slices(text))]


async def test_long_text_is_counted_in_a_thread_with_the_same_result() -> None:
    text = "lorem ipsum dolor " * 5000
    assert not COUNTER.inline("gpt-4o", [text])
    assert await COUNTER.count_async("gpt-4o", [text]) == COUNTER.count("gpt-4o", [text])
    assert COUNTER.inline("gpt-4o", ["short"])
    assert await COUNTER.count_async("gpt-4o", ["short"]) == 1
