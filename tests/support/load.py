"""Clients of a fleet: requests in three dialects, sent as SDKs send them, and what became of each."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tests.support.gateway import MAIN_KEY
from tests.support.simulator import new_label

DIALECTS = ("openai", "anthropic", "gemini")
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.0-flash"}
"""Without hidden reasoning."""
STREAM_ENDS = {
    "openai": b"data: [DONE]\n\n",
    "anthropic": b'"type":"message_stop"',
    "gemini": b'"finishReason"',
}
ATTEMPTS_MAX = 100
TIMEOUT_S = 90.0


@dataclass(frozen=True)
class Request:
    """One call, as a client means it. ``knobs`` go to the simulator as headers; the label is the row's end user."""

    dialect: str = "openai"
    streamed: bool = False
    cap: int | None = None
    knobs: Mapping[str, object] = field(default_factory=dict)
    key: str = MAIN_KEY
    model: str | None = None
    prompt: str = "Say something nice."
    provider: str | None = None
    """By its name in the configuration; None: the default one of the dialect."""
    conversation: str = ""
    label: str = field(default_factory=lambda: new_label("load"))

    @property
    def path(self) -> str:
        return f"/{self.provider}{self._path}" if self.provider else self._path

    @property
    def _path(self) -> str:
        if self.dialect == "openai":
            return "/v1/chat/completions"
        if self.dialect == "anthropic":
            return "/v1/messages"
        verb = "streamGenerateContent?alt=sse" if self.streamed else "generateContent"
        return f"/v1beta/models/{self._model}:{verb}"

    @property
    def headers(self) -> dict[str, str]:
        auth = {
            "openai": {"authorization": f"Bearer {self.key}"},
            "anthropic": {"x-api-key": self.key, "anthropic-version": "2023-06-01"},
            "gemini": {"x-goog-api-key": self.key},
        }[self.dialect]
        knobs = {f"x-sim-{name.replace('_', '-')}": str(value) for name, value in self.knobs.items()}
        if self.conversation:
            auth["x-tollgate-conversation"] = self.conversation
        auth["x-tollgate-user"] = self.label
        return {**auth, **knobs, "x-sim-label": self.label, "content-type": "application/json"}

    @property
    def body(self) -> bytes:
        message = {"role": "user", "content": self.prompt}
        document: dict[str, Any]
        if self.dialect == "gemini":
            document = {"contents": [{"role": "user", "parts": [{"text": self.prompt}]}]}
            if self.cap is not None:
                document["generationConfig"] = {"maxOutputTokens": self.cap}
            return orjson.dumps(document)
        document = {"model": self._model, "messages": [message]}
        if self.cap is not None or self.dialect == "anthropic":
            document["max_tokens"] = self.cap or 1024
        if self.streamed:
            document["stream"] = True
        return orjson.dumps(document)

    @property
    def _model(self) -> str:
        return self.model or MODELS[self.dialect]


@dataclass
class Outcome:
    """What one client saw in the end."""

    request: Request
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    broken: bool = False
    """The connection ended before the reply did, or before there was one."""
    attempts: int = 1
    finished_s: float = 0.0
    """By the loop's clock."""

    @property
    def request_id(self) -> str:
        return self.headers.get("x-tollgate-request-id", "")

    @property
    def ok(self) -> bool:
        return self.status == 200 and not self.broken

    @property
    def output_cap(self) -> int | None:
        cap = self.headers.get("x-tollgate-output-cap")
        return None if cap is None else int(cap)

    @property
    def reason(self) -> str:
        """The reason of a refusal, from where this dialect's SDK looks for it."""
        error = orjson.loads(self.body)["error"]
        if self.request.dialect == "openai":
            return str(error["code"])
        if self.request.dialect == "anthropic":
            return str(error["details"]["error_code"])
        assert error["code"] == self.status
        return str(error["details"][0]["reason"])

    def assert_whole(self) -> None:
        assert self.ok, f"{self.request}: {self.status} {self.body[:500]!r}"
        if self.request.streamed:
            assert STREAM_ENDS[self.request.dialect] in self.body, self.body[-300:]
        else:
            orjson.loads(self.body)

    def assert_refusal(self) -> None:
        """402 and 429 in the shape that makes SDKs raise, or wait."""
        assert not self.broken
        assert self.headers["x-tollgate-error"] == self.reason
        assert self.headers["content-type"].startswith("application/json")
        if self.status == 402:
            assert self.reason == "budget_exceeded"
            assert self.headers["x-should-retry"] == "false"
            assert "retry-after" not in self.headers
        else:
            assert self.status == 429, self.body
            assert self.reason == "budget_contended"
            assert 1 <= int(self.headers["retry-after"]) <= 30


def new_session() -> aiohttp.ClientSession:
    """A client without a bound on its connections, and without retries of its own."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        read_bufsize=2**20,
    )


async def send(
    session: aiohttp.ClientSession, base: str, request: Request, *, leave_after_s: float | None = None
) -> Outcome:
    """One attempt. A broken connection is an outcome, not an error; so is one that this client breaks."""
    outcome = Outcome(request)
    pieces: list[bytes] = []
    timeout = aiohttp.ClientTimeout(total=leave_after_s or TIMEOUT_S)
    try:
        async with session.post(
            base + request.path, data=request.body, headers=request.headers, timeout=timeout
        ) as reply:
            outcome.status, outcome.headers = reply.status, dict(lowered(reply.headers.items()))
            while piece := await reply.content.readany():
                pieces.append(piece)
    except (aiohttp.ClientError, TimeoutError):
        outcome.broken = True
    outcome.body = b"".join(pieces)
    outcome.finished_s = asyncio.get_running_loop().time()
    return outcome


async def persist(session: aiohttp.ClientSession, base: str, request: Request) -> Outcome:
    """Try as long as the gateway says that trying again helps, waiting as long as it says."""
    for attempt in itertools.count(1):
        outcome = await send(session, base, request)
        outcome.attempts = attempt
        if outcome.status != 429 or attempt == ATTEMPTS_MAX:
            return outcome
        outcome.assert_refusal()
        await asyncio.sleep(int(outcome.headers["retry-after"]))
    raise AssertionError


async def send_all(
    session: aiohttp.ClientSession,
    bases: Sequence[str],
    requests: Iterable[Request],
    *,
    patient: bool = False,
) -> list[Outcome]:
    """All at once, over all gateways in turn."""
    call = persist if patient else send
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(call(session, base, request))
            for base, request in zip(itertools.cycle(bases), requests, strict=False)
        ]
    return [task.result() for task in tasks]


def lowered(items: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    return ((name.lower(), value) for name, value in items)
