"""How OpenAI says no."""

from __future__ import annotations

from typing import Any

import orjson

TYPES = {401: "authentication_error", 403: "permission_error", 429: "requests", 500: "server_error"}
CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def error_body(status: int, message: str, param: str | None) -> dict[str, Any]:
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": CODES.get(status)}}


FAILURE = {
    "message": "The simulated server had an error while processing your request.",
    "type": "server_error",
    "param": None,
    "code": "server_error",
}
FAILURE_EVENT = b"data: %b\n\n" % orjson.dumps({"error": FAILURE})
