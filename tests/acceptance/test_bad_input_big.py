"""A body near the bound: nobody else waits for it, and it is not kept more than twice."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import GatewayProcess
from tests.support.hostile import ANTHROPIC, GEMINI, WORDINGS, Wording
from tests.support.raw_http import RawConnection, request
from tests.support.simulator import SimulatorProcess

MEBIBYTE = 1024 * 1024
BODY_BYTES = 60 * MEBIBYTE
GROWTH_MAX = 2.2
SMALL_BYTES = 24 * MEBIBYTE
"""What does not depend on the body: buffers of sockets and of the allocator, the readers' state."""

WAIT_MAX_S = 0.1
"""Less than parsing such a body once takes: none of that may be on the event loop."""
RUNS = 3
"""What the gateway itself does to others it does in every run; the machine's other work does not."""


def resident(pid: int, field: str) -> int:
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field)
    )
    return int(line.split()[1]) * 1024


class Pings:
    """Asks `/health/live` on a connection of its own, again and again; ``longest_s`` is the worst answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.times_s: list[float] = []

    def __enter__(self) -> Pings:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with RawConnection(self._port) as connection:
            ping = request("/health/live", None, method="GET")
            while not self._stop.is_set():
                sent = time.perf_counter()
                assert connection.send(ping).reply().status == 200
                self.times_s.append(time.perf_counter() - sent)
                self._stop.wait(0.002)


def picture(api: Wording) -> bytes:
    image = base64.b64encode(os.urandom(BODY_BYTES * 3 // 4)).decode()
    if api is GEMINI:
        parts: list[dict[str, Any]] = [
            {"inlineData": {"mimeType": "image/png", "data": image}},
            {"text": "What is it?"},
        ]
        return json.dumps({**api.body, "contents": [{"parts": parts}]}).encode()
    if api is ANTHROPIC:
        shown: dict[str, Any] = {
            "type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}
        }  # fmt: skip
    else:
        shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + image}}
    content = [{"type": "text", "text": "What is it?"}, shown]
    return json.dumps({**api.body, "messages": [{"role": "user", "content": content}]}).encode()


@dataclass(frozen=True)
class Measured:
    growth_bytes: int
    longest_wait_s: float


def sent(gateway: GatewayProcess, data: bytes) -> Measured:
    """Send one request and watch the gateway meanwhile."""
    Path(f"/proc/{gateway.pid}/clear_refs").write_text("5")
    before = resident(gateway.pid, "VmRSS")
    with Pings(gateway.port) as pings, RawConnection(gateway.port, timeout_s=60) as connection:
        assert connection.send(data).reply().status == 200
    return Measured(resident(gateway.pid, "VmHWM") - before, max(pings.times_s))


@pytest.mark.parametrize("api", WORDINGS, ids=lambda api: api.name)
def test_a_body_of_60_mib_is_held_twice_at_most_and_keeps_nobody_waiting(
    gateway: GatewayProcess, simulator: SimulatorProcess, api: Wording
) -> None:
    body = picture(api)
    data = api.request(body, gateway.key)
    runs = [sent(gateway, data) for _ in range(RUNS)]
    assert {asked["body_bytes"] for asked in simulator.requests(at_least=RUNS)} == {len(body)}
    assert max(run.growth_bytes for run in runs) <= GROWTH_MAX * len(body) + SMALL_BYTES
    assert min(run.longest_wait_s for run in runs) <= WAIT_MAX_S
