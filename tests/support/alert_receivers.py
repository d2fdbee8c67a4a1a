"""The other ends of alerts: a mail server, a text message service and a webhook receiver, real ones on loopback."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from typing import Any
from urllib.parse import parse_qs

import orjson
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session
from aiosmtpd.smtp import SMTP as SmtpProtocol

from tests.support.ports import free_port


class MailServer:
    """Keeps the messages that it takes. ``answer`` other than 250: it refuses recipients so."""

    def __init__(self) -> None:
        self.port = free_port()
        self.messages: list[Message] = []
        self.recipients: list[str] = []
        self.answer = "250 OK"
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """From here on connections are refused. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _protocol(self) -> SmtpProtocol:
        return SMTP(self, loop=asyncio.get_running_loop())

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.messages.append(message_from_bytes(envelope.content))
        self.recipients += envelope.rcpt_tos
        return "250 taken"

    def subjects(self, recipient: str) -> list[str]:
        return [str(mail["Subject"]) for mail in self.messages if mail["To"] == recipient]


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.body)
        return found

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@dataclass
class HttpReceiver:
    """Answers ``status`` (by path, or all) and keeps what came. ``hanging`` paths never answer."""

    status: int = 200
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """By path, one after the other; then ``status``."""
    reply_headers: dict[str, str] = field(default_factory=dict)
    hanging: set[str] = field(default_factory=set)
    received: list[Received] = field(default_factory=list)
    url: str = ""
    _runner: web.AppRunner | None = None
    _release: asyncio.Event = field(default_factory=asyncio.Event)
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def have(self, count: int) -> None:
        """Wait until so many messages came."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.received) >= count)

    async def start(self) -> None:
        application = web.Application()
        application.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        self._release.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with self._came:
            self.received.append(Received(request.path, dict(request.headers), body))
            self._came.notify_all()
        if request.path in self.hanging:
            await self._release.wait()
        listed = self.statuses.get(request.path)
        return web.Response(status=listed.pop(0) if listed else self.status, headers=self.reply_headers)

    def at(self, path: str) -> list[Received]:
        return [one for one in self.received if one.path == path]
