"""``python -m benchmarks.live_listeners``: what listeners of live events cost a gateway, beside an idle one.

Settlements are made by the store's own scripts at a fixed rate, without any proxying, so that the gateway's CPU time is
that of listening alone. Everything is started and ended here.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import redis
import yaml

from benchmarks.child import BenchmarkError, Child
from benchmarks.contender import POLL_S, START_TIMEOUT_S, free_port
from benchmarks.process_cost import cpu_s, pss_bytes
from gateway.budgets.directory import Directory
from gateway.budgets.model import Ask, Subject
from gateway.budgets.ports import EmptyLedger
from gateway.budgets.redis_holds import RedisHolds
from gateway.embedded import Embedded
from gateway.ledger.event import Admission, Result
from gateway.live.tally import LISTENERS_MAX_EACH
from gateway.request_id import new_request_id
from gateway.stores.redis import RedisStore

TOLLGATE = Path(sys.executable).parent / "tollgate"
ORG = "acme"
COST = 1_234


class Listening:
    """A gateway with an organisation of ``people``, each with a key of their own."""

    def __init__(self, directory: Path, people: int, *, owners: bool) -> None:
        self._directory = directory
        self._embedded = Embedded(directory / "data")
        self.keys = [f"tg-{secrets.token_urlsafe(24)}" for _ in range(people)]
        role = {"role": "owner"} if owners else {}
        access = {"access": "role"} if owners else {}
        users = [
            {"id": f"p{n}", **role, "keys": [{"id": f"k{n}", "sha256": _digest(key), **access}]}
            for n, key in enumerate(self.keys)
        ]
        self._limits = {"credit_usd": 0.01, "orgs": [{"id": ORG, "users": users}]}
        self.port = free_port()

    def start(self) -> None:
        """Raises `BenchmarkError`."""
        endpoints = asyncio.run(self._embedded.start())
        self.redis_url = endpoints.redis_url
        settings = {
            "server": {"host": "127.0.0.1", "port": self.port},
            "redis": {"url": endpoints.redis_url},
            "postgres": {"dsn": endpoints.postgres_dsn},
            "admin_token": secrets.token_hex(32),
            "providers": {"openai": {"kind": "openai", "base_url": "http://127.0.0.1:9", "api_key": "none"}},
            "limits": "limits.yaml",
        }
        config = self._directory / "tollgate.yaml"
        config.write_text(yaml.safe_dump(settings))
        (self._directory / "limits.yaml").write_text(yaml.safe_dump(self._limits))
        subprocess.run([str(TOLLGATE), "migrate", "--config", str(config)], check=True, capture_output=True)
        log = self._directory / "gateway.log"
        self._child = Child([str(TOLLGATE), "serve", "--config", str(config)], log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._ready():
            if not self._child.alive or time.monotonic() > deadline:
                raise BenchmarkError(f"the gateway did not start:\n{self._child.log_tail()}")
            time.sleep(POLL_S)

    @property
    def pid(self) -> int:
        return self._child.pid

    def stop(self) -> None:
        self._child.stop()
        asyncio.run(self._embedded.stop())

    def _ready(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True


class Ears:
    """Connections that read and count."""

    def __init__(self) -> None:
        self.told = 0
        self.bytes = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._heard = 0

    async def open(self, port: int, keys: list[str], count: int) -> None:
        """``count`` listeners, as evenly as may be of ``keys``; returns when each has heard its totals."""
        for number in range(count):
            self._tasks.append(asyncio.create_task(self._listen(port, keys[number % len(keys)])))
            if number % 50 == 49:
                await asyncio.sleep(0.05)
        while self._heard < count:
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self, port: int, key: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            head = f"GET /api/credits/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
            writer.write(head.encode())
            first = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in first.split(b"\r\n")[0]:
                raise BenchmarkError(f"not listening: {first!r} {await reader.read(500)!r}")
            self._heard += 1
            while chunk := await reader.read(65536):
                self.told += chunk.count(b"event: usage")
                self.bytes += len(chunk)
        finally:
            writer.close()


class Settling:
    """Settlements of everybody in turn, at a fixed rate."""

    def __init__(self, redis_url: str, people: int) -> None:
        self._store = RedisStore(redis_url)
        self._holds = RedisHolds(self._store, Directory({}), EmptyLedger())
        self._people = people
        self.count = 0

    async def run(self, per_s: int, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while (elapsed_s := loop.time() - began_s) < seconds:
            while self.count < elapsed_s * per_s:
                await self._one()
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        await self._holds.close()
        await self._store.close()

    async def _one(self) -> None:
        request_id, person = new_request_id(), self.count % self._people
        subject = Subject(ORG, None, f"p{person}", f"k{person}")
        admission = Admission(
            request_id=request_id, org_id=ORG, team_id=None, user_id=subject.user, key_id=subject.key,
            provider="openai", model="gpt-4o", operation="chat", route="chat", streamed=False, gateway_id="bench",
        )  # fmt: skip
        ask = Ask(request_id, subject, "chat", "gpt-4o", COST, 0, 0, admission.to_json())
        grant = await self._holds.hold(ask)
        result = Result(finished_at_us=time.time_ns() // 1000, usage_source="provider", status="ok")
        await self._holds.settle(grant, ask, COST, result.to_json())
        self.count += 1


async def measure(gateway: Listening, listeners: int, per_s: int, seconds: float) -> dict[str, Any]:
    """CPU of the gateway over three stretches: nobody listens, listeners without events, listeners with events.

    The first and the last have the same settlements, so that writing rows is in both.
    """
    settling = Settling(gateway.redis_url, len(gateway.keys))
    ears = Ears()
    try:
        await settling.run(per_s, 2.0)
        before, settling.count = cpu_s(gateway.pid), 0
        await settling.run(per_s, seconds)
        unheard_s = cpu_s(gateway.pid) - before
        memory = pss_bytes(gateway.pid)
        began_s = time.monotonic()
        await ears.open(gateway.port, gateway.keys, listeners)
        opened_s = time.monotonic() - began_s
        memory = pss_bytes(gateway.pid) - memory
        await asyncio.sleep(3)
        before = cpu_s(gateway.pid)
        await asyncio.sleep(seconds)
        idle_s = cpu_s(gateway.pid) - before
        with redis.Redis.from_url(gateway.redis_url) as client:
            subscriptions = int(client.pubsub_numsub("tg:{p0}:live")[0][1])
        before, settling.count, ears.told = cpu_s(gateway.pid), 0, 0
        await settling.run(per_s, seconds)
        await asyncio.sleep(1.5)
        heard_s = cpu_s(gateway.pid) - before
    finally:
        await ears.close()
        await settling.close()
    events = settling.count
    return {
        "listeners": listeners,
        "redis_subscriptions": subscriptions,
        "opened_in_s": round(opened_s, 1),
        "memory_kib_each": round(memory / listeners / 1024, 1),
        "events": events,
        "told": ears.told,
        "told_of_each": round(ears.told / events, 2) if events else None,
        "cpu_share_unheard": round(unheard_s / seconds, 3),
        "cpu_share_idle_listeners": round(idle_s / seconds, 3),
        "cpu_share_heard": round(heard_s / (seconds + 1.5), 3),
        "cpu_us_per_event": round((heard_s - unheard_s) / events * 1e6),
        "cpu_us_per_event_and_listener": round((heard_s - unheard_s) / max(1, ears.told) * 1e6, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_listeners", description=__doc__)
    parser.add_argument("--listeners", type=int, default=2000)
    parser.add_argument("--per-s", type=int, default=20, help="settlements a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--members", action="store_true", help="each hears only of their own calls")
    options = parser.parse_args()
    people = options.listeners if options.members else -(-options.listeners // LISTENERS_MAX_EACH)
    with tempfile.TemporaryDirectory(prefix="tg-live-", ignore_cleanup_errors=True) as directory:
        gateway = Listening(Path(directory), people, owners=not options.members)
        try:
            gateway.start()
            found = asyncio.run(measure(gateway, options.listeners, options.per_s, options.seconds))
        finally:
            gateway.stop()
    print(json.dumps(found, indent=1))
    return 0


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
