"""The simulated provider's HTTP server: routes, the life of one request, and its own ``/_sim`` endpoints.

- ``GET /_sim/requests?id=&wait_s=&at_least=``: what it was asked and delivered, oldest first; ``id`` is
  the id of a reply or the ``x-sim-label`` of a request; with ``wait_s`` it waits until none of them is open.
- ``GET /_sim/totals``, ``POST /_sim/reset`` (journal and knobs), ``GET`` and ``POST /_sim/config`` (knobs).
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import secrets
import signal
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import orjson
import uvloop
from aiohttp import web

from gateway.simulator import anthropic, gemini, listing, openai_chat, openai_embeddings, openai_images
from gateway.simulator import openai_responses as responses
from gateway.simulator.delivery import deliver, hang_up
from gateway.simulator.journal import Entry, Journal
from gateway.simulator.knobs import LABEL_HEADER, BadKnob, Knobs, turn, turn_by_headers
from gateway.simulator.openai_errors import error_body as openai_error
from gateway.simulator.reply import Ask, Refusal, Reply

BODY_BYTES_MAX = 256 * 1024 * 1024
"""Four times what the gateway takes, so that the gateway's own bound is the one that shows."""
GEMINI_VERSIONS = "v1|v1beta|v1alpha"
AUTH_HEADERS = ("x-api-key", "x-goog-api-key", "authorization", "api-key")
CAP_MEMBERS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
SLOW_READ_BYTES = 1024

Answer = Callable[[Ask], Reply]
ErrorBody = Callable[[int, str, str | None], dict[str, Any]]
ERROR_BODIES: dict[str, ErrorBody] = {
    "openai": openai_error,
    "anthropic": anthropic.error_body,
    "gemini": gemini.error_body,
}
POST_ROUTES: dict[str, tuple[str, Answer]] = {
    "/v1/chat/completions": ("openai", openai_chat.chat),
    "/v1/completions": ("openai", openai_chat.completions),
    "/v1/responses": ("openai", responses.responses),
    "/v1/responses/input_tokens": ("openai", responses.count_input),
    "/v1/embeddings": ("openai", openai_embeddings.embeddings),
    "/v1/images/generations": ("openai", openai_images.generations),
    "/v1/messages": ("anthropic", anthropic.messages),
    "/v1/messages/count_tokens": ("anthropic", anthropic.count_tokens),
}


class Simulator:
    """One simulated provider: knobs, journal, handlers."""

    def __init__(self, knobs: Knobs | None = None) -> None:
        self._first_knobs = knobs or Knobs()
        self.knobs = self._first_knobs
        self.journal = Journal()
        self._boot = secrets.token_hex(4)
        """Keeps ids of one run apart from those of the next; a label in the request fixes them instead."""
        self._serial = itertools.count(1)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        for path, (dialect, answer) in POST_ROUTES.items():
            app.router.add_post(path, self._handler(dialect, answer))
        verbs = f"/{{version:{GEMINI_VERSIONS}}}/models/{{model:.+}}:{{verb:[A-Za-z]+}}"
        app.router.add_post(verbs, self._handler("gemini", gemini.answer))
        app.router.add_get(f"/{{version:{GEMINI_VERSIONS}}}/models", self._models)
        app.router.add_get(f"/{{version:{GEMINI_VERSIONS}}}/models/{{model}}", self._models)
        app.router.add_get("/_sim/requests", self._requests)
        app.router.add_get("/_sim/totals", self._totals)
        app.router.add_get("/_sim/config", self._config)
        app.router.add_post("/_sim/config", self._configure)
        app.router.add_post("/_sim/reset", self._reset)
        return app

    # -------------------------------------------------------------- one request

    def _handler(self, dialect: str, answer: Answer) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            entry = _opened(request, dialect)
            self.journal.open(entry)
            outcome = "client_closed"
            try:
                response, outcome = await self._respond(request, entry, answer)
                return response
            except ConnectionError:
                return web.Response(status=499)
            finally:
                self.journal.close(entry, outcome)

        return handle

    async def _respond(
        self, request: web.Request, entry: Entry, answer: Answer
    ) -> tuple[web.StreamResponse, str]:
        knobs = self.knobs
        try:
            knobs = turn_by_headers(knobs, request.headers.items())
            raw = await _read(request, knobs)
            entry.body_bytes, entry.body_sha256 = len(raw), hashlib.sha256(raw).hexdigest()
            if knobs.first_byte_ms:
                await asyncio.sleep(knobs.first_byte_ms / 1000)
            if knobs.hang:
                await asyncio.Event().wait()
            if knobs.close:
                hang_up(request)
                return web.Response(), "closed"
            _note(entry, body := _parsed(raw), request)
            self._refuse_if_told(knobs, entry)
            reply = answer(self._ask(request, entry, body, knobs))
        except BadKnob as error:
            return _refused(entry, Refusal(400, str(error))), "refused"
        except Refusal as refusal:
            return _refused(entry, refusal, retry_after_s=knobs.retry_after_s), "refused"
        entry.id, entry.count, entry.streamed = reply.id, reply.count, reply.streamed
        reply.headers["request-id" if entry.dialect == "anthropic" else "x-request-id"] = (
            f"req_{entry.number}"
        )
        return await deliver(request, reply, knobs, entry)

    def _refuse_if_told(self, knobs: Knobs, entry: Entry) -> None:
        if entry.auth_header is None:
            raise Refusal(401, "No API key was sent.")
        if knobs.error and (
            knobs.error_times is None or self.journal.times(entry.label) <= knobs.error_times
        ):
            raise Refusal(knobs.error, "The simulated provider was told to fail.")

    def _ask(self, request: web.Request, entry: Entry, body: Mapping[str, Any], knobs: Knobs) -> Ask:
        nonce = entry.label or f"{entry.body_sha256[:8]}{self._boot}{next(self._serial):08x}"
        model = request.match_info.get("model", "")
        verb, sse = request.match_info.get("verb", ""), request.query.get("alt") == "sse"
        return Ask(body=body, knobs=knobs, nonce=nonce, model=model, verb=verb, sse=sse)

    async def _models(self, request: web.Request) -> web.Response:
        gemini_asked = "x-goog-api-key" in request.headers or "key" in request.query
        if gemini_asked or request.match_info["version"] != "v1":
            found, members, name = listing.gemini_listing(), "models", "name"
        elif "anthropic-version" in request.headers:
            found, members, name = listing.anthropic_listing(), "data", "id"
        else:
            found, members, name = listing.openai_listing(), "data", "id"
        wanted = request.match_info.get("model")
        if wanted is None:
            return _json(found)
        one = [model for model in found[members] if str(model[name]).removeprefix("models/") == wanted]
        return _json(one[0]) if one else _json(openai_error(404, f"No model {wanted!r}.", "model"), 404)

    # -------------------------------------------------------------- /_sim

    async def _requests(self, request: web.Request) -> web.Response:
        query = request.query
        wait_s, at_least = float(query.get("wait_s", 0)), int(query.get("at_least", 1))
        found = await self.journal.settled(query.get("id"), at_least, wait_s)
        return _json([entry.to_json() for entry in found])

    async def _totals(self, _: web.Request) -> web.Response:
        return _json(self.journal.totals())

    async def _config(self, _: web.Request) -> web.Response:
        return _json(asdict(self.knobs))

    async def _configure(self, request: web.Request) -> web.Response:
        try:
            self.knobs = turn(self.knobs, orjson.loads(await request.read()))
        except (BadKnob, ValueError) as error:
            return _json({"error": str(error)}, 400)
        return _json(asdict(self.knobs))

    async def _reset(self, _: web.Request) -> web.Response:
        self.journal.reset()
        self.knobs = self._first_knobs
        return _json({"ok": True})


def _opened(request: web.Request, dialect: str) -> Entry:
    """The head of an entry. Of headers only the names are kept, of the credential only a digest."""
    headers = request.headers
    auth = next((name for name in AUTH_HEADERS if name in headers), None)
    value = "" if auth is None else headers[auth].removeprefix("Bearer ")
    if auth is None and "key" in request.query:
        auth, value = "?key", request.query["key"]
    return Entry(
        number=0,
        label=headers.get(LABEL_HEADER, ""),
        dialect=dialect,
        method=request.method,
        path=request.path,
        header_names=sorted(name.lower() for name in headers),
        auth_header=auth,
        auth_sha256=hashlib.sha256(value.encode()).hexdigest() if auth else None,
    )


async def _read(request: web.Request, knobs: Knobs) -> bytes:
    if not knobs.read_bytes_per_s:
        return await request.read()
    pieces = []
    async for piece in request.content.iter_chunked(min(SLOW_READ_BYTES, knobs.read_bytes_per_s)):
        pieces.append(piece)
        await asyncio.sleep(len(piece) / knobs.read_bytes_per_s)
    return b"".join(pieces)


def _parsed(raw: bytes) -> Mapping[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refusal(400, "The body is not a JSON object.")
    return body


def _note(entry: Entry, body: Mapping[str, Any], request: web.Request) -> None:
    """What the books keep of a request."""
    entry.model = str(body.get("model") or request.match_info.get("model", ""))
    entry.streamed = bool(body.get("stream")) or request.match_info.get("verb") == "streamGenerateContent"
    entry.caps = {name: body[name] for name in CAP_MEMBERS if name in body}
    config = gemini.member_of(body, "generationConfig")
    if isinstance(config, dict) and (cap := gemini.member_of(config, "maxOutputTokens")) is not None:
        entry.caps["maxOutputTokens"] = cap
    options = body.get("stream_options")
    entry.usage_asked = isinstance(options, dict) and bool(options.get("include_usage"))


def _refused(entry: Entry, refusal: Refusal, *, retry_after_s: int | None = None) -> web.Response:
    entry.status = refusal.status
    body = ERROR_BODIES[entry.dialect](refusal.status, refusal.message, refusal.param)
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return _json(body, refusal.status, headers)


def _json(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", headers=headers
    )


# ------------------------------------------------------------------ running it


async def start(host: str, port: int, knobs: Knobs | None = None) -> tuple[web.AppRunner, str]:
    """Serve in the running loop; port 0 takes a free one. Returns the runner (to `cleanup`) and the URL."""
    runner = web.AppRunner(
        Simulator(knobs).app(), access_log=None, handler_cancellation=True, shutdown_timeout=1.0
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=4096)
    await site.start()
    bound = runner.addresses[0]
    return runner, f"http://{bound[0]}:{bound[1]}"


async def _serve(
    host: str, port: int, knobs: Knobs, on_ready: Callable[[str], None], stop: asyncio.Event
) -> None:
    runner, url = await start(host, port, knobs)
    try:
        on_ready(url)
        await stop.wait()
    finally:
        await runner.cleanup()


def run(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    settings: Mapping[str, object] | None = None,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until SIGINT or SIGTERM. ``settings`` are knobs by name; ``on_ready`` is told the base URL.

    Raises: `BadKnob` for a knob that does not exist, OSError where the port is taken.
    """
    knobs = turn(Knobs(), settings or {})

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop.set)
        await _serve(host, port, knobs, on_ready, stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
