"""Refusals have the shape that each API's SDKs read, and frames that end a stream make them raise."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.errors import (
    BadRequest,
    BodyTooLarge,
    BudgetExceeded,
    NotAllowed,
    NotFound,
    RateLimited,
    StoreUnavailable,
    TollgateError,
    UnknownKey,
    UpstreamTimeout,
)
from gateway.providers.registry import DIALECTS

ROUTES = {
    "chat": ("openai", "/v1/chat/completions", {}),
    "responses": ("openai", "/v1/responses", {}),
    "messages": ("anthropic", "/v1/messages", {}),
    "sse": ("gemini", "/v1/models/m:streamGenerateContent", {"alt": "sse"}),
    "array": ("gemini", "/v1/models/m:streamGenerateContent", {}),
}


def body(kind: str, error: TollgateError) -> Any:
    return orjson.loads(DIALECTS[kind].error(error, "req_1"))


def frame(form: str, *, first: bool = False) -> bytes:
    kind, path, query = ROUTES[form]
    route = DIALECTS[kind].match("POST", path, query)
    assert route is not None
    return DIALECTS[kind].stream_error(route, BudgetExceeded("Used up."), "req_1", first=first)


@pytest.mark.parametrize(
    ("error", "openai", "anthropic", "gemini"),
    [
        (BadRequest(), "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
        (UnknownKey(), "authentication_error", "authentication_error", "UNAUTHENTICATED"),
        (BudgetExceeded(), "insufficient_quota", "billing_error", "RESOURCE_EXHAUSTED"),
        (NotAllowed(), "permission_error", "permission_error", "PERMISSION_DENIED"),
        (NotFound(), "not_found_error", "not_found_error", "NOT_FOUND"),
        (BodyTooLarge(), "invalid_request_error", "request_too_large", "INVALID_ARGUMENT"),
        (RateLimited(), "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
        (StoreUnavailable(), "service_unavailable_error", "overloaded_error", "UNAVAILABLE"),
        (UpstreamTimeout(), "timeout_error", "timeout_error", "DEADLINE_EXCEEDED"),
        (TollgateError(), "server_error", "api_error", "INTERNAL"),
    ],
)
def test_each_status_has_its_type(error: TollgateError, openai: str, anthropic: str, gemini: str) -> None:
    assert body("openai", error)["error"]["type"] == openai
    assert body("anthropic", error)["error"]["type"] == anthropic
    assert body("gemini", error)["error"]["status"] == gemini


def test_the_reason_is_where_each_sdk_shows_it() -> None:
    error = BudgetExceeded("Used up.", param="n")
    assert body("groq", error) == {
        "error": {
            "message": "Used up.",
            "type": "insufficient_quota",
            "param": "n",
            "code": "budget_exceeded",
        }
    }
    said = body("anthropic", error)
    assert (said["type"], said["request_id"]) == ("error", "req_1")
    assert said["error"]["details"]["error_code"] == "budget_exceeded"
    said = body("gemini", error)
    assert said["error"]["code"] == 402
    assert said["error"]["details"][0]["reason"] == "budget_exceeded"


@pytest.mark.parametrize("form", ROUTES)
def test_a_frame_is_complete(form: str) -> None:
    assert frame(form).endswith((b"\n\n", b"\r\n\r\n", b"]"))


def test_frames_that_raise() -> None:
    assert frame("chat").startswith(b'data: {"error":{')
    event, data, _, _ = frame("responses").split(b"\n")
    assert event == b"event: error"
    said = orjson.loads(data.removeprefix(b"data: "))
    assert said["type"] == "error"
    assert said["code"] == said["error"]["code"] == "budget_exceeded"
    assert frame("messages").startswith(b'event: error\ndata: {"type":"error",')
    assert frame("sse").startswith(b'data: {"error":{"code":402,')


def test_a_json_array_stream_stays_one_array() -> None:
    assert orjson.loads(frame("array", first=True))[0]["error"]["code"] == 402
    whole = orjson.loads(b'[{"candidates":[]}' + frame("array"))
    assert whole[1]["error"]["code"] == 402


@pytest.mark.parametrize(
    ("kind", "headers"),
    [
        ("openai", {"authorization": "Bearer k"}),
        ("mistral", {"authorization": "Bearer k"}),
        ("anthropic", {"x-api-key": "k"}),
        ("gemini", {"x-goog-api-key": "k"}),
    ],
)
def test_the_providers_own_key_goes_where_it_wants_it(kind: str, headers: dict[str, str]) -> None:
    assert DIALECTS[kind].auth_headers("k") == headers
