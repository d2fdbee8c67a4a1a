"""Calls in flight without a network: real connections, readers, prices and holds on a transport in memory."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from gateway.budgets.directory import Directory, OrgRules
from gateway.budgets.holding import Holdings
from gateway.budgets.keeper import Keeper
from gateway.budgets.memory import MemoryHolds
from gateway.budgets.model import Ask, Subject
from gateway.metering.encodings import Encodings
from gateway.metering.tokens import TokenCounter
from gateway.providers.base import Call
from gateway.providers.registry import DIALECTS
from gateway.proxy.estimate import estimate
from gateway.proxy.exchange import Exchange
from gateway.proxy.flight import Flight
from gateway.proxy.provider import Provider
from gateway.proxy.upstream import UpstreamConnection
from gateway.proxy.upstream_keys import UpstreamKeys
from gateway.proxy.upstream_pool import UpstreamPool
from gateway.settings.providers import ProviderSettings
from gateway.simulator import anthropic, gemini, openai_chat, openai_responses
from gateway.simulator.knobs import Knobs
from gateway.simulator.reply import Ask as SimulatedAsk
from gateway.simulator.reply import Reply
from pricing.book import PriceBook
from pricing.price import Price

NOW_S = 1_790_000_000
BOOK = PriceBook.parse({"markup": 1.0}, Decimal("0.01"))
TOKENS = TokenCounter(Encodings())
SAY = [{"role": "user", "content": "Say something"}]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Api:
    """One streaming API: how it is asked, and what the simulated provider answers."""

    name: str
    kind: str
    path: str
    body: Mapping[str, Any]
    output_tokens: int = 4
    sse: bool = True

    def call(self) -> Call:
        route = DIALECTS[self.kind].match("POST", self.path, {"alt": "sse"} if self.sse else {})
        assert route is not None
        return DIALECTS[self.kind].read(route, orjson.dumps(dict(self.body)), {})

    def reply(self) -> Reply:
        """What the simulated provider says to the request as it is forwarded."""
        forwarded = orjson.loads(b"".join(DIALECTS[self.kind].forward(self.call(), None)))
        answer = {"openai-chat": openai_chat.chat, "openai-responses": openai_responses.responses,
                  "anthropic": anthropic.messages}.get(self.name, gemini.answer)  # fmt: skip
        return answer(
            SimulatedAsk(
                body=forwarded, knobs=Knobs(output_tokens=self.output_tokens), nonce="nonce", model="gemini-2.0-flash",
                verb="streamGenerateContent", sse=self.sse,
            )
        )  # fmt: skip

    def price(self, model: str) -> Price:
        return BOOK.price(self.kind, self.kind, model, NOW_S)


GEMINI_PATH = "/v1beta/models/gemini-2.0-flash:streamGenerateContent"
GEMINI_BODY = {
    "contents": [{"parts": [{"text": "Say something"}]}],
    "generationConfig": {"maxOutputTokens": 50},
}
APIS = (
    Api("openai-chat", "openai", "/v1/chat/completions",
        {"model": "gpt-4o-mini", "stream": True, "max_tokens": 50, "messages": SAY}),
    Api("openai-responses", "openai", "/v1/responses",
        {"model": "gpt-4o-mini", "stream": True, "max_output_tokens": 50, "input": "Say something"},
        output_tokens=1),
    Api("anthropic", "anthropic", "/v1/messages",
        {"model": "claude-3-5-haiku-latest", "stream": True, "max_tokens": 50, "messages": SAY}),
    Api("gemini", "gemini", GEMINI_PATH, GEMINI_BODY),
    Api("gemini-array", "gemini", GEMINI_PATH, GEMINI_BODY, sse=False),
)  # fmt: skip


class Wire(asyncio.Transport):
    """What the gateway writes to the provider, and nothing more."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        """The test decides what arrives."""

    def resume_reading(self) -> None:
        """The test decides what arrives."""


class Listener:
    """A client that takes everything at once."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.gone = False
        self.congested = False

    def write(self, data: bytes) -> None:
        self.heard.append(data)

    async def drain(self) -> None:
        pass

    @property
    def body(self) -> bytes:
        return b"".join(self.heard)


class Hangar:
    """Makes flights of one API and keeps their books."""

    def __init__(self, api: Api, *, hold_ttl_s: float = 60) -> None:
        self.api = api
        self.holds = MemoryHolds(Directory({"acme": OrgRules("acme")}), hold_ttl_s=hold_ttl_s)
        self.keeper = Keeper(self.holds, hold_ttl_s=60)
        self._holdings = Holdings(self.holds, self.keeper)
        settings = ProviderSettings(kind=api.kind, base_url="http://provider.test")
        self._pool = UpstreamPool(settings)
        clock = asyncio.get_running_loop().time
        self._provider = Provider(
            api.kind, settings, DIALECTS[api.kind], self._pool, UpstreamKeys((), clock), api.kind, None
        )

    async def flight(self) -> tuple[Flight, UpstreamConnection]:
        """A request that was written to a fresh connection, held for, and not answered yet."""
        call = self.api.call()
        bounded = estimate(call, self.api.price, BOOK.exchange)
        ask = Ask(
            request_id=f"flight-{next(_numbers)}",
            subject=Subject("acme", None, None, "key"),
            operation=call.route.operation,
            model=call.model,
            fixed=bounded.fixed,
            least=bounded.least,
            most=bounded.most,
            admission=b"{}",
        )
        hold = await self._holdings.take(ask)
        hold.forwarded()
        connection = UpstreamConnection(self._pool, asyncio.get_running_loop())
        connection.connection_made(Wire())
        dialect = self._provider.dialect
        exchange = Exchange(connection, dialect.reader(call, ""))
        exchange.filter = dialect.usage_filter(call)
        await exchange.start(b"POST / HTTP/1.1\r\n\r\n", [])
        flight = Flight(
            request_id=ask.request_id, provider=self._provider, call=call, estimate=bounded, price_of=self.api.price,
            hold=hold, tokens=TOKENS, cap=None, exchange=exchange, request=(b"", []), api_key=None, sent_at_s=0.0,
        )  # fmt: skip
        return flight, connection


def on_the_wire(reply: Reply, *, chunk: bool = True) -> bytes:
    """A whole reply as a provider sends it, in chunks of an event each."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: " + reply.content_type.encode() + b"\r\n"
    if not chunk:
        body = b"".join(reply.events)
        return head + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in reply.events)
    return head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def without_usage_event(api: Api, events: list[bytes]) -> bytes:
    """What a client that did not ask for usage should get of ``events``."""
    if api.name != "openai-chat":
        return b"".join(events)
    return b"".join(event for event in events if b'"choices":[]' not in event)
