"""Which handler answers which of the gateway's own paths; errors are problem details (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiohttp import web

from gateway.api.dispatch import Dispatch
from gateway.api.operation import AnyOperation
from gateway.api.problem import problem
from gateway.api.protection import Protection
from gateway.errors import MethodNotAllowed, NotFound, TollgateError
from gateway.request_id import new_request_id

log = logging.getLogger("tollgate.api")

Handler = Callable[[web.BaseRequest, Mapping[str, str]], Awaitable[web.StreamResponse]]
Bound = Callable[[web.BaseRequest, Mapping[str, str], str, Mapping[str, str]], Awaitable[web.StreamResponse]]

OWN_SEGMENTS = frozenset({"api", "health", "metrics"})


def is_own(path: str) -> bool:
    """Whether ``path`` belongs to the gateway itself rather than to a provider."""
    return path[1:].partition("/")[0] in OWN_SEGMENTS


class Router:
    """The gateway's own routes."""

    def __init__(self, protection: Protection) -> None:
        self._protection = protection
        self._routes = web.UrlDispatcher()

    def add(self, method: str, path: str, handler: Handler) -> None:
        """A route that anyone may ask: ``handler`` gets the request and its path parameters."""

        async def bound(
            request: web.BaseRequest, path_params: Mapping[str, str], _: str, headers: Mapping[str, str]
        ) -> web.StreamResponse:
            reply = await handler(request, path_params)
            reply.headers.update(headers)
            return reply

        self._add(method, path, bound)

    def add_operations(self, operations: Iterable[AnyOperation], dispatch: Dispatch) -> None:
        for operation in operations:
            self._add(operation.method, operation.path, _bind(operation, dispatch))

    def _add(self, method: str, path: str, bound: Bound) -> None:
        self._routes.add_route(method, path, bound)  # type: ignore[arg-type]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = new_request_id()
        headers = self._protection.headers(request, request_id)
        preflight = self._protection.preflight(request, headers)
        if preflight is not None:
            return preflight
        try:
            return await self._reply(request, request_id, headers)
        except TollgateError as error:
            return problem(error, request_id, headers)
        except Exception:
            # The outermost edge: a mistake of ours is answered in the API's own shape, and logged whole.
            if request.writer.output_size > 0:
                raise
            log.exception("unhandled error", extra={"request_id": request_id})
            return problem(TollgateError(), request_id, headers)

    async def _reply(
        self, request: web.BaseRequest, request_id: str, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        match = await self._routes.resolve(request)  # type: ignore[arg-type]
        refused = match.http_exception
        if isinstance(refused, web.HTTPMethodNotAllowed):
            allowed = ", ".join(sorted(refused.allowed_methods))
            raise MethodNotAllowed(f"{request.path} takes {allowed}.", detail={"allow": allowed})
        if refused is not None:
            raise NotFound(f"There is nothing at {request.path}.")
        bound: Bound = match.handler  # type: ignore[assignment]
        return await bound(request, dict(match), request_id, headers)


def _bind(operation: AnyOperation, dispatch: Dispatch) -> Bound:
    async def bound(
        request: web.BaseRequest,
        path_params: Mapping[str, str],
        request_id: str,
        headers: Mapping[str, str],
    ) -> web.StreamResponse:
        return await dispatch.run(operation, request, path_params, request_id, headers)

    return bound
