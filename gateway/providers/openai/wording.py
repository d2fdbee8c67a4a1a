"""How the OpenAI APIs say no, in a body and inside a stream."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.errors import TollgateError
from gateway.providers.base import Route

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}


def error_object(error: TollgateError) -> dict[str, Any]:
    """``{message, type, param, code}``: the four keys that OpenAI's schema requires."""
    fallback = "invalid_request_error" if error.status < 500 else "server_error"
    return {
        "message": error.message,
        "type": _TYPES.get(error.status, fallback),
        "param": error.param,
        "code": error.code,
    }


def error_body(error: TollgateError) -> bytes:
    return orjson.dumps({"error": error_object(error)})


def stream_frame(route: Route, error: TollgateError) -> bytes:
    """A frame that makes the SDKs raise.

    Responses need ``event: error`` and a nested ``error`` object (the documented event without it raises
    nothing in the Python SDK); everything else raises on any ``data`` with an ``error`` member.
    """
    inner = error_object(error)
    if not route.name.startswith(("responses", "images")):
        return b"data: " + orjson.dumps({"error": inner}) + b"\n\n"
    event = {
        "type": "error",
        "sequence_number": 0,
        "code": error.code,
        "message": error.message,
        "param": error.param,
        "error": inner,
    }
    return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"
