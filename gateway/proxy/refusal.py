"""How the gateway says no, in the words of the API that was called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from gateway.errors import TollgateError
from gateway.providers.base import Dialect
from pricing.money import format_credits

REQUEST_ID = "x-tollgate-request-id"


def refusal(error: TollgateError, dialect: Dialect, request_id: str) -> web.Response:
    """A reply that makes the caller's SDK raise at once, or retry when trying again can help.

    ``x-should-retry`` is what the OpenAI and Anthropic SDKs obey; a refusal that will not change by itself carries
    no ``retry-after``, since some clients would wait for it however long it is.
    """
    headers = {
        REQUEST_ID: request_id,
        "x-request-id": request_id,
        "request-id": request_id,
        "x-tollgate-error": error.code,
    }
    remaining = _remaining(error.detail)
    if remaining is not None:
        headers["x-tollgate-remaining"] = format_credits(remaining)
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    elif error.status < 500:
        headers["x-should-retry"] = "false"
    return web.Response(
        status=error.status,
        body=dialect.error(error, request_id),
        headers=headers,
        content_type="application/json",
    )


def _remaining(detail: Mapping[str, Any]) -> int | None:
    """Microcredits that the refusing limit or balance has left; None for other refusals."""
    whole = detail.get("limit_microcredits", detail.get("granted_microcredits"))
    if whole is None:
        return None
    return max(0, int(whole) - int(detail["settled_microcredits"]) - int(detail["held_microcredits"]))
