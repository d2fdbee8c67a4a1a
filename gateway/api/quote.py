"""POST /api/credits/quote: what a request would hold and cost at most, holding nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import orjson
from aiohttp import web

from gateway.api.router import Router, bearer
from gateway.errors import BadRequest, BodyTooLarge, RequestTimeout
from gateway.proxy.handler import Proxy
from pricing.money import format_credits, format_usd

QUOTE_BYTES_MAX = 16 * 1024 * 1024
QUOTE_TIMEOUT_S = 60.0
"""For the whole body: it is a request written by hand or by a form, not an upload."""


def add_quote(router: Router, proxy: Proxy) -> None:
    async def quote(request: web.BaseRequest, _: Mapping[str, str]) -> web.Response:
        document = _document(await _body(request))
        path, body = document.get("path"), document.get("body")
        if not isinstance(path, str) or not path.startswith("/"):
            raise BadRequest("path: give the path that the request would be sent to.", param="path")
        if not isinstance(body, dict):
            raise BadRequest("body: give the JSON object that the request would send.", param="body")
        headers = request.headers
        quoted = await proxy.quote(path, orjson.dumps(body), bearer(request), headers)
        bounds = quoted.estimate
        price = bounds.price
        reply = {
            "model": quoted.call.model,
            "operation": quoted.call.route.operation,
            "provider": quoted.provider,
            "credits_max": format_credits(bounds.bound),
            "credits_min": format_credits(bounds.fixed + bounds.least),
            "usd_max": format_usd(bounds.exchange.femtousd(bounds.bound)),
            "input_tokens_max": bounds.input_tokens_max,
            "output_tokens_max": bounds.cap * bounds.choices,
            "output_tokens_min": bounds.cap_least * bounds.choices,
            "price": price.ref if price is not None else None,
        }
        return web.Response(body=orjson.dumps(reply), content_type="application/json")

    router.add("POST", "/api/credits/quote", quote)


async def _body(request: web.BaseRequest) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(QUOTE_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > QUOTE_BYTES_MAX:
                    raise BodyTooLarge(f"A quote's body may have at most {QUOTE_BYTES_MAX:,} bytes.")
    except TimeoutError as error:
        raise RequestTimeout from error
    return bytes(body)


def _document(body: bytes) -> dict[str, object]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise BadRequest('Send a JSON object: {"path": "/v1/chat/completions", "body": {...}}.')
    return document
