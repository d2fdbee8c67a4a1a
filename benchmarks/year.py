"""A made-up year of prepaid organisations in a Tollgate of its own, with calls of today on top."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import urllib.request
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.child import BenchmarkError, Child
from benchmarks.contender import START_TIMEOUT_S
from benchmarks.tollgate import PLENTY_CREDITS, TOLLGATE, Tollgate
from gateway.cli.progress import Bar
from gateway.ledger.generated_usage import MadeOrg, made_orgs

GENERATE_TIMEOUT_S = 3 * 3600.0
POSTED_TIMEOUT_S = 3600.0
CALL_TIMEOUT_S = 60.0
PROMISED, BOUGHT = 5_000, PLENTY_CREDITS // 10
"""Credits: a promotion that expires and is used up first, and a purchase that lasts."""


class Year:
    """``rows`` requests of ``orgs`` organisations over ``days`` days until yesterday."""

    def __init__(self, directory: Path, orgs: int, rows: int, days: int) -> None:
        self.orgs = made_orgs(orgs)
        self.rows, self.days = rows, days
        self.until = datetime.now(UTC).date()
        self._directory = directory
        self._tollgate = Tollgate(
            directory / "tollgate", {"credit_usd": 0.01, "orgs": [_org(o) for o in self.orgs]}
        )
        self._provider: Child | None = None
        self.port = 0

    @property
    def first(self) -> date:
        """The first day that has requests."""
        return self.until - timedelta(days=self.days)

    @property
    def postgres_dsn(self) -> str:
        return self._tollgate.postgres_dsn

    def start(self) -> None:
        """Generated, granted, served. Raises `BenchmarkError`."""
        log = self._directory / "provider.log"
        self._provider = Child([str(TOLLGATE), "simulate-provider", "--port", "0"], log, talks=True)
        upstream = int(self._provider.line(START_TIMEOUT_S).rpartition(":")[2])
        self._tollgate.prepare(upstream)
        numbers = {"--org": len(self.orgs), "--rows": self.rows, "--days": self.days, "--until": self.until}
        words = [word for name, value in numbers.items() for word in (name, str(value))]
        self._tollgate.command(
            "generate-usage", "--prepaid", *words, timeout_s=GENERATE_TIMEOUT_S, shown=True
        )
        for org in self.orgs:
            for credits, how in (
                (PROMISED, ("--expires", f"{self.until.year + 1}-12-31")),
                (BOUGHT, ("--kind", "purchase")),
            ):
                self.command("credits", "grant", org.org_id, str(credits), "--reason", "for a year", *how)
        self.port = self._tollgate.serve().port

    def command(self, *words: str) -> str:
        return self._tollgate.command(*words, timeout_s=POSTED_TIMEOUT_S)

    def stop(self) -> None:
        self._tollgate.stop()
        if self._provider is not None:
            self._provider.stop()

    def call(self, org: MadeOrg, *, streamed: bool) -> None:
        """One chat completion of the org's caller. Raises `OSError` when it fails."""
        body = {
            "model": "gpt-4o-mini",
            "max_tokens": 40,
            "messages": [{"role": "user", "content": "What is new?"}],
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/chat/completions",
            json.dumps({**body, "stream": streamed}).encode(),
            {"authorization": f"Bearer {caller_key(org)}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=CALL_TIMEOUT_S) as reply:
            reply.read()

    def wait_until_posted(self) -> None:
        """Until every settled call has its row, and every row is in the ledger. Raises `BenchmarkError`."""
        self._tollgate.settle()
        asyncio.run(self._wait_until_posted())

    async def _wait_until_posted(self) -> None:
        connection = await asyncpg.connect(self.postgres_dsn)
        try:
            total = await connection.fetchval("SELECT coalesce(sum(requests), 0) FROM ledger_pending")
            bar, deadline = Bar(int(total)), time.monotonic() + POSTED_TIMEOUT_S
            while left := await connection.fetchval("SELECT coalesce(sum(requests), 0) FROM ledger_pending"):
                if time.monotonic() > deadline:
                    raise BenchmarkError(
                        f"{left} requests are not in the ledger after {POSTED_TIMEOUT_S:g} s"
                    )
                bar.show(int(total - left), "requests posted to the ledger")
                await asyncio.sleep(0.5)
            bar.close()
        finally:
            await connection.close()


def reader_key(org: MadeOrg) -> str:
    """Of an owner, who sees everything."""
    return f"tg-reader-of-{org.org_id}"


def caller_key(org: MadeOrg) -> str:
    """Of a user who has a past: what is called now adds to it."""
    return f"tg-caller-of-{org.org_id}"


def _org(org: MadeOrg) -> dict[str, Any]:
    """Limits that contain the past of the org, of one team and one user, and one of a new key."""
    team = f"team-{1 + 2 % org.teams}"
    caller = {
        "id": "user-2",
        "limits": _plenty("total"),
        "keys": [_key(f"caller-{org.org_id}", caller_key(org), ["week"])],
    }
    owner = {
        "id": "owner",
        "role": "owner",
        "keys": [{**_key(f"reader-{org.org_id}", reader_key(org)), "access": "role"}],
    }
    chat = {"window": "month", "credits": PLENTY_CREDITS, "operation": "chat"}
    return {
        "id": org.org_id,
        "time_zone": org.time_zone,
        "balance": {"required": True},
        "limits": [*_plenty("total", "month", "week", "day"), chat],
        "users": [owner],
        "teams": [{"id": team, "limits": _plenty("month"), "users": [caller]}],
    }


def _key(key_id: str, key: str, windows: Sequence[str] = ()) -> dict[str, Any]:
    return {"id": key_id, "sha256": hashlib.sha256(key.encode()).hexdigest(), "limits": _plenty(*windows)}


def _plenty(*windows: str) -> list[dict[str, Any]]:
    return [{"window": window, "credits": PLENTY_CREDITS} for window in windows]
