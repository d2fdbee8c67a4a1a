"""Which handler answers which of the gateway's own paths, and who is asking."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from gateway.errors import NotAllowed, NotFound, TollgateError, Unauthenticated
from gateway.providers.base import Dialect
from gateway.proxy.refusal import REQUEST_ID, refusal
from gateway.request_id import new_request_id

log = logging.getLogger("tollgate.api")

Handler = Callable[[web.BaseRequest, Mapping[str, str]], Awaitable[web.StreamResponse]]

OWN_SEGMENTS = frozenset({"api", "health", "metrics"})


def is_own(path: str) -> bool:
    """Whether ``path`` belongs to the gateway itself rather than to a provider."""
    return path[1:].partition("/")[0] in OWN_SEGMENTS


class Router:
    """The gateway's own routes. Errors are answered in the shape that OpenAI's clients print."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._routes = web.UrlDispatcher()

    def add(self, method: str, path: str, handler: Handler) -> None:
        self._routes.add_route(method, path, handler)  # type: ignore[arg-type]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = new_request_id()
        reply = await self._reply(request, request_id)
        reply.headers[REQUEST_ID] = request_id
        return reply

    async def _reply(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        match = await self._routes.resolve(request)  # type: ignore[arg-type]
        try:
            if match.http_exception is not None:
                raise NotFound(f"There is nothing at {request.method} {request.path}.")
            return await match.handler(request, dict(match))  # type: ignore[call-arg,arg-type]
        except TollgateError as error:
            return refusal(error, self._dialect, request_id)


def bearer(request: web.BaseRequest) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def require_admin(request: web.BaseRequest, admin_token: str) -> None:
    """Raises `Unauthenticated` or `NotAllowed` unless the admin token was sent as a bearer token."""
    token = bearer(request)
    if token is None:
        raise Unauthenticated("Send the admin token as `Authorization: Bearer ...`.")
    if not hmac.compare_digest(token.encode(), admin_token.encode()):
        raise NotAllowed("This needs the admin token.")
