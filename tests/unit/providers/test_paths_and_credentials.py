"""Paths mean one thing, keys are found where SDKs put them, routes that are not understood do not match."""

from __future__ import annotations

import pytest
from multidict import MultiDict

from gateway.errors import UnsupportedRoute
from gateway.providers.credentials import client_key
from gateway.providers.paths import clean_path, guess_kind
from gateway.providers.registry import DIALECTS


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/models/ft:gpt-4.1:acme::abc",
        "/v1/models/anthropic/claude-3.5",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
        "/v1/models/ft%3Agpt",
    ],
)
def test_plain_paths_are_left_as_they_are(path: str) -> None:
    assert clean_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "v1/x", "//v1/x", "/v1//x", "/v1/x/", "/v1/../x", "/v1/./x", "/v1/..",
        "/v1/%2e%2e/x", "/v1/%2E/x", "/v1/x%2fy", "/v1/x%2Fy", "/v1/x%5cy", "/v1\\x", "/v1/x%00",
        "/v1/x\n", "/v1/x y", "/v1/x%20y", "/v1/x#y", "/v1/x?y", "/v1/x;y", "/v1/x%3by",
        "/v1/%252e%252e/x", "/v1/é", "/v1/x%", "/v1/x%zz", "/v1/x%C0%AF",
        "/v1/" + "x" * 3_000,
    ],
)  # fmt: skip
def test_paths_that_servers_read_differently_are_refused(path: str) -> None:
    with pytest.raises(UnsupportedRoute):
        clean_path(path)


@pytest.mark.parametrize(
    ("path", "headers", "query", "kind"),
    [
        ("/v1/chat/completions", {}, {}, "openai"),
        ("/v1/models", {}, {}, "openai"),
        ("/v1/models", {"anthropic-version": "2023-06-01"}, {}, "anthropic"),
        ("/v1/models", {"x-goog-api-key": "k"}, {}, "gemini"),
        ("/v1/models", {}, {"key": "k"}, "gemini"),
        ("/v1/messages", {}, {}, "anthropic"),
        ("/v1/messages/count_tokens", {}, {}, "anthropic"),
        ("/v1/models/gemini-2.5-flash:generateContent", {}, {}, "gemini"),
        ("/v1beta/models/m:embedContent", {"authorization": "Bearer k"}, {}, "gemini"),
        ("/v1/models/ft:gpt-4.1:acme::abc1", {}, {}, "openai"),
    ],
)
def test_a_path_at_the_root_finds_its_api(
    path: str, headers: dict[str, str], query: dict[str, str], kind: str
) -> None:
    assert guess_kind("POST", path, query, headers) == kind


@pytest.mark.parametrize(
    ("headers", "query", "key"),
    [
        ({"authorization": "Bearer tg_1"}, {}, "tg_1"),
        ({"authorization": "bearer  tg_1 "}, {}, "tg_1"),
        ({"x-api-key": "tg_2"}, {}, "tg_2"),
        ({"x-goog-api-key": "tg_3"}, {}, "tg_3"),
        ({"api-key": "tg_4"}, {}, "tg_4"),
        ({}, {"key": "tg_5"}, "tg_5"),
        ({"authorization": "Basic abc", "x-api-key": "tg_6"}, {}, "tg_6"),
        ({"authorization": "Bearer "}, {}, None),
        ({"x-api-key": "k" * 600}, {}, None),
        ({"x-api-key": "k\x00"}, {}, None),
        ({}, {}, None),
    ],
)
def test_the_key_is_found_where_the_sdk_puts_it(
    headers: dict[str, str], query: dict[str, str], key: str | None
) -> None:
    assert client_key(headers, query) == key


@pytest.mark.parametrize(
    ("kind", "method", "path", "name", "metered"),
    [
        ("openai", "POST", "/v1/chat/completions", "chat.completions", True),
        ("openai", "POST", "/v1/completions", "completions", True),
        ("openai", "POST", "/v1/responses", "responses", True),
        ("openai", "POST", "/v1/embeddings", "embeddings", True),
        ("openai", "POST", "/v1/images/generations", "images.generations", True),
        ("openai", "POST", "/v1/moderations", "moderations", False),
        ("openai", "POST", "/v1/responses/input_tokens", "responses.input_tokens", False),
        ("openai", "GET", "/v1/models", "models.list", False),
        ("openai", "GET", "/v1/models/gpt-4o", "models.get", False),
        ("groq", "POST", "/openai/v1/chat/completions", "chat.completions", True),
        ("openrouter", "POST", "/api/v1/chat/completions", "chat.completions", True),
        ("deepseek", "POST", "/chat/completions", "chat.completions", True),
        ("deepseek", "POST", "/v1/chat/completions", "chat.completions", True),
        ("anthropic", "POST", "/v1/messages", "messages", True),
        ("anthropic", "POST", "/v1/messages/count_tokens", "messages.count_tokens", False),
        ("anthropic", "GET", "/v1/models/claude-3", "models.get", False),
        ("gemini", "POST", "/v1/models/m:generateContent", "generateContent", True),
        ("gemini", "POST", "/v1beta/models/m:batchEmbedContents", "batchEmbedContents", True),
        ("gemini", "POST", "/v1alpha/models/m:countTokens", "countTokens", False),
        ("gemini", "GET", "/v1beta/models", "models.list", False),
    ],
)
def test_understood_routes(kind: str, method: str, path: str, name: str, metered: bool) -> None:
    route = DIALECTS[kind].match(method, path, {})
    assert route is not None
    assert (route.name, route.metered) == (name, metered)


@pytest.mark.parametrize(
    ("kind", "method", "path"),
    [
        ("openai", "GET", "/v1/chat/completions"),
        ("openai", "POST", "/v1/models"),
        ("openai", "DELETE", "/v1/models/ft:x"),
        ("openai", "POST", "/chat/completions"),
        ("openai", "POST", "/v1/chat/completions/"),
        ("openai", "GET", "/v1/responses/resp_1"),
        ("openai", "POST", "/v1/responses/compact"),
        ("openai", "POST", "/v1/files"),
        ("openai", "POST", "/v1/audio/speech"),
        ("groq", "POST", "/v1/chat/completions"),
        ("mistral", "POST", "/v1/moderations"),
        ("anthropic", "POST", "/v1/messages/batches"),
        ("anthropic", "POST", "/v1/complete"),
        ("gemini", "POST", "/v1/models/m:predict"),
        ("gemini", "POST", "/v2/models/m:generateContent"),
        ("gemini", "POST", "/v1/models/:generateContent"),
        ("gemini", "POST", "/v1/models/m%3AgenerateContent"),
        ("gemini", "GET", "/v1/models/m:generateContent"),
        ("gemini", "POST", "/v1beta/cachedContents"),
    ],
)
def test_every_other_route_is_not_understood(kind: str, method: str, path: str) -> None:
    assert DIALECTS[kind].match(method, path, {}) is None


def test_a_reply_mask_that_hides_usage_is_not_understood() -> None:
    path = "/v1/models/m:generateContent"
    assert DIALECTS["gemini"].match("POST", path, {"fields": "candidates"}) is None


@pytest.mark.parametrize("name", ["alt", "$alt", "$.alt"])
def test_a_form_of_reply_that_shows_no_usage_is_not_understood(name: str) -> None:
    path = "/v1/models/m:streamGenerateContent"
    match = DIALECTS["gemini"].match
    assert match("POST", path, {name: "proto"}) is None
    assert match("POST", path, MultiDict([(name, "sse"), (name, "media")])) is None
    assert match("POST", path, {name: "json"}) is not None


def test_gemini_splits_on_the_last_colon_and_knows_its_two_stream_forms() -> None:
    match = DIALECTS["gemini"].match
    sse = match("POST", "/v1/models/a:b:streamGenerateContent", {"alt": "sse"})
    array = match("POST", "/v1/models/m:streamGenerateContent", {})
    assert sse is not None
    assert array is not None
    assert (sse.model, sse.streamed, sse.array_stream) == ("a:b", True, False)
    assert (array.streamed, array.array_stream) == (True, True)
