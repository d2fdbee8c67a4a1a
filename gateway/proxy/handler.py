"""The spine: authenticate, estimate, hold, forward, observe, settle."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from functools import partial

from aiohttp import web

from gateway.budgets.holding import Holding
from gateway.errors import BadRequest, TollgateError, Unauthenticated, UnpricedModel, UnsupportedRoute
from gateway.identity.keys import KeyRecord
from gateway.metering.reading import NoReader
from gateway.metering.tokens import TokenCounter
from gateway.metrics import Metrics
from gateway.providers.base import Call, Dialect, Route
from gateway.providers.credentials import client_key
from gateway.providers.paths import clean_path, guess_kind
from gateway.proxy.admission import Admissions, Prepared
from gateway.proxy.afterlife import Afterlife
from gateway.proxy.body_room import BodyRoom, Share
from gateway.proxy.downstream import ClientGone
from gateway.proxy.exchange import Exchange
from gateway.proxy.flight import Charge, Flight
from gateway.proxy.forward import request_head
from gateway.proxy.intake import OFF_LOOP_BYTES, check_head, read_body, require_json
from gateway.proxy.open_streams import KeyLookup, OpenStreams
from gateway.proxy.progress import progress
from gateway.proxy.provider import Provider, Providers
from gateway.proxy.refusal import refusal
from gateway.proxy.reply import Replies
from gateway.request_id import new_request_id
from gateway.settings.config import ServerSettings
from pricing.record import record

log = logging.getLogger("tollgate.proxy")
NO_QUERY: Mapping[str, str] = {}


@record(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    provider: Provider
    route: Route
    path: str
    """What follows the provider's base_url, as the client spelled it."""


class Proxy:
    """Handles every request that is not for the gateway itself."""

    def __init__(
        self,
        settings: ServerSettings,
        providers: Providers,
        keys: KeyLookup,
        admissions: Admissions,
        tokens: TokenCounter,
        metrics: Metrics,
        fallback: Dialect,
    ) -> None:
        self._header_bytes_max = settings.header_bytes_max
        self._body_bounds = settings.body_bytes_max, settings.body_timeout_s, settings.body_total_timeout_s
        self._providers = providers
        self._keys = keys
        self._admissions = admissions
        self._tokens = tokens
        self._metrics = metrics
        self._fallback = fallback
        self.afterlife = Afterlife(self._count)
        self._replies = Replies(settings, self.afterlife, self._count)
        self.open_streams = OpenStreams(keys)
        self._room = BodyRoom(settings.bodies_room_bytes, settings.body_bytes_max)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        arrived_s = time.monotonic()
        request_id = new_request_id()
        dialect, provider_name, route_name = self._fallback, "none", "none"
        response: web.StreamResponse
        try:
            raw_path, asked, _ = request.raw_path.partition("?")
            query = request.query if asked else NO_QUERY
            provider, path = self._located(request.method, raw_path, query, request.headers)
            dialect, provider_name = provider.dialect, provider.name
            check_head(request, self._header_bytes_max)
            key_changes = self.open_streams.changes
            key = await self._keys.lookup(_given(client_key(request.headers, query)))
            route = dialect.match(request.method, path, query)
            if route is None:
                raise _not_understood(dialect, request.method, path, query)
            route_name = route.name
            with self._room.share(key.org_id) as share:
                response = await self._run(
                    request, Target(provider, route, path), key, key_changes, request_id, arrived_s, share
                )
        except TollgateError as error:
            self._metrics.refusals.of(error.code).inc()
            log.info(
                "refused", extra={"request_id": request_id, "code": error.code, "provider": provider_name}
            )
            response = refusal(error, dialect, request_id)
        self._metrics.requests.of(provider_name, route_name, str(response.status)).inc()
        return response

    async def _run(
        self,
        request: web.BaseRequest,
        target: Target,
        key: KeyRecord,
        key_changes: int,
        request_id: str,
        arrived_s: float,
        share: Share,
    ) -> web.StreamResponse:
        """One understood request, from its body to its settlement. ``key_changes``: as they were when ``key`` was
        looked up."""
        if target.route.metered:
            require_json(request.headers.get("content-type"))
        body = await read_body(request, *self._body_bounds, share)
        if body and request.method != "POST":
            # Servers that take no body here would read it as the next request.
            raise BadRequest(f"A {request.method} request has no body here; send it without one.")
        if len(body) <= OFF_LOOP_BYTES:
            call = _understood(target, body, request.headers)
        else:
            call = await asyncio.to_thread(_understood, target, body, request.headers)
        prepared = self._prepared(target.provider, call, key, request_id, request.headers)
        prepared, hold = await self._admissions.hold(prepared)
        async with hold:
            self._metrics.holds.inc()
            if hold.grant.shadow:
                self._metrics.shadow_refusals.inc()
            flight = await self._forwarded(request, target, prepared, hold, arrived_s)
            flight.body_share = share
            credential = None if flight.worth_draining else client_key(request.headers, request.query)
            try:
                await flight.exchange.start(*flight.request)
                with self.open_streams.opened(credential, flight.exchange, key_changes):
                    return await self._replies.send(request, flight)
            except (asyncio.CancelledError, ClientGone):
                hold.hand_over()
                self.afterlife.client_left(flight)
                raise
            except BaseException:
                flight.exchange.stop()  # nobody reads it any more; the hold ends at what it holds
                raise
            finally:
                if flight.exchange.status == 429:
                    target.provider.keys.rest(flight.api_key, flight.exchange.header(b"retry-after"))

    async def _forwarded(
        self, request: web.BaseRequest, target: Target, prepared: Prepared, hold: Holding, arrived_s: float
    ) -> Flight:
        """Everything up to the first byte written: from then on the request counts as forwarded."""
        provider, call = target.provider, prepared.call
        cap = prepared.estimate.cap_for(hold.grant.amount)
        body = provider.dialect.forward(call, cap) if call.route.metered else list(call.body)
        api_key = provider.keys.choose(prepared.ask.subject.org)
        length = sum(len(part) for part in body) if request.method == "POST" else None
        head = request_head(request, provider, target.path, api_key, length)
        reader = provider.dialect.reader(call, "") if call.route.metered else NoReader()
        exchange = Exchange(provider.pool.acquired_at_once() or await provider.pool.acquire(), reader)
        hold.forwarded()
        hold.on_lost = exchange.stop
        self._metrics.overhead.observe(time.monotonic() - arrived_s)
        flight = Flight(  # by place, see `Admissions.prepare`
            prepared.ask.request_id, provider, call, prepared.estimate, prepared.price_of, hold, self._tokens, cap,
            exchange, (head, body), api_key, exchange.now_s,
        )  # fmt: skip
        hold.progress = partial(progress, flight)
        return flight

    # ---------------------------------------------------------------- around it

    async def quote(self, path: str, body: bytes, key: str | None, headers: Mapping[str, str]) -> Prepared:
        """What the same request would be bounded by. Nothing is held, nothing is forwarded."""
        provider, rest = self._located("POST", path, NO_QUERY, headers)
        record = await self._keys.lookup(_given(key))
        route = provider.dialect.match("POST", rest, NO_QUERY)
        if route is None:
            raise _not_understood(provider.dialect, "POST", rest, NO_QUERY, param="path")
        call = await asyncio.to_thread(_understood, Target(provider, route, rest), body, headers)
        return self._prepared(provider, call, record, new_request_id(), headers)

    def _prepared(
        self, provider: Provider, call: Call, key: KeyRecord, request_id: str, headers: Mapping[str, str]
    ) -> Prepared:
        try:
            return self._admissions.prepare(provider, call, key, request_id, headers)
        except UnpricedModel as error:
            # The usual mistake: another provider's model asked for through this one's SDK.
            known = self._admissions.priced_by(self._providers, call.model)
            if provider in known or not known:
                raise
            others = ", ".join(f"{other.name} (/{other.name}/…)" for other in known)
            raise UnpricedModel(
                f"{error.message} It is known at another base URL: {others}; see docs/api.md."
            ) from error

    def _located(
        self, method: str, raw_path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[Provider, str]:
        path = clean_path(raw_path)
        named = self._providers.named(path)
        if named is not None:
            return named
        return self._providers.default(guess_kind(method, path, query, headers)), path

    def _count(self, flight: Flight, charge: Charge) -> None:
        metrics = self._metrics
        name = flight.provider.name
        if charge.stands:
            metrics.settles.of(charge.source, charge.status).inc()
            metrics.credits.of(name).inc(charge.microcredits)
            for flag in charge.flags:
                metrics.flagged.of(flag).inc()
        else:
            metrics.late_settles.inc()
        exchange = flight.exchange
        if exchange.head_seen:
            metrics.first_byte.of(name).observe(max(0.0, exchange.first_byte_at - flight.sent_at_s))
        if exchange.ended_at:
            metrics.upstream_latency.of(name).observe(max(0.0, exchange.ended_at - flight.sent_at_s))


def _not_understood(
    dialect: Dialect, method: str, path: str, query: Mapping[str, str], *, param: str | None = None
) -> UnsupportedRoute:
    hint = ""
    if dialect.match(method, f"/v1{path}", query) is not None:
        hint = f" Did you mean /v1{path}? Then the base URL has to end in /v1."
    where = "" if param is None else f"{param}: "
    said = f"{where}{method} {path}: not a route whose cost is understood here.{hint}"
    return UnsupportedRoute(said, param=param)


def _given(key: str | None) -> str:
    if key is None:
        raise Unauthenticated
    return key


def _understood(target: Target, body: bytes, headers: Mapping[str, str]) -> Call:
    """What the body asks for. Raises `BadRequest`."""
    route = target.route
    if not route.metered:
        return Call(
            route=route, model=route.model or "", streamed=False, body=[body] if body else [], input_tokens_max=0,
            output_cap=0, elastic=False,
        )  # fmt: skip
    return target.provider.dialect.read(route, body, headers)
