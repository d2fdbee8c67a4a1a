"""Headers that keep browsers from doing harm with a reply, and CORS for the pages that may call from elsewhere.

The values follow the OWASP REST Security Cheat Sheet.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from gateway.proxy.refusal import REQUEST_ID

SECURITY: Mapping[str, str] = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "server": "tollgate",  # not which version of what
}
_METHODS = "GET, POST, PUT, PATCH, DELETE"
_HEADERS = "authorization, content-type, idempotency-key, last-event-id, x-api-key"
_EXPOSED = "content-disposition, retry-after, x-tollgate-error, x-tollgate-request-id"
PREFLIGHT_MAX_AGE_S = 600


class Protection:
    """``origins`` may read replies from a browser; nobody else's pages can."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset(origins)

    def headers(self, request: web.BaseRequest, request_id: str) -> dict[str, str]:
        """What every reply to ``request`` carries."""
        headers = {**SECURITY, REQUEST_ID: request_id}
        if self._origins:
            headers["vary"] = "origin"
        origin = request.headers.get("origin")
        if origin in self._origins:
            headers["access-control-allow-origin"] = origin
            headers["access-control-expose-headers"] = _EXPOSED
        return headers

    def preflight(self, request: web.BaseRequest, headers: Mapping[str, str]) -> web.Response | None:
        """The answer to a browser that asks beforehand; None when ``request`` is no such question."""
        if request.method != "OPTIONS" or "access-control-request-method" not in request.headers:
            return None
        allowed = {}
        if "access-control-allow-origin" in headers:
            allowed = {
                "access-control-allow-methods": _METHODS,
                "access-control-allow-headers": _HEADERS,
                "access-control-max-age": str(PREFLIGHT_MAX_AGE_S),
            }
        return web.Response(status=204, headers={**headers, **allowed})
