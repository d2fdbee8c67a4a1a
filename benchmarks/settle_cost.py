"""What one settlement costs Redis, in processor time: `python -m benchmarks.settle_cost`.

Holds are taken first and their time left out; what remains is the settlements: reading the call, the resolve script
over five limits and a balance (as a call of a member of a team meets them), and the append-only file.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path

from gateway.budgets.balances import BalanceChange
from gateway.budgets.directory import Directory, OrgRules
from gateway.budgets.model import Ask, Limit, Scope, Subject, Window
from gateway.budgets.ports import EmptyLedger
from gateway.budgets.redis_holds import RedisHolds
from gateway.ledger.event import Admission
from gateway.stores.redis import RedisStore
from tests.support.servers import TestRedis

SETTLES = 10_000
AT_ONCE = 200
ROUNDS = 4
AMOUNT = 10**15
RESULT = b'{"usage_source":"provider","status":"ok"' + b',"field":"0123456789"' * 30 + b"}"
WHO = Subject("acme", "research", "ada", "ada-laptop")


def _directory(spent_percent: int) -> Directory:
    """Limits of which ``spent_percent`` is already gone after the first call of `main`."""
    limits = [
        Limit(Scope.KEY, "ada-laptop", Window.DAY, AMOUNT),
        Limit(Scope.USER, "ada", Window.DAY, AMOUNT),
        Limit(Scope.USER, "ada", Window.MONTH, AMOUNT),
        Limit(Scope.TEAM, "research", Window.MONTH, AMOUNT),
        Limit(Scope.ORG, "acme", Window.MONTH, AMOUNT),
    ]
    return Directory({"acme": OrgRules("acme", limits=limits, balance_required=True, version=1)})


def _ask(number: int, amount: int) -> Ask:
    admission = Admission(
        f"request-{number}", "acme", "research", "ada", "ada-laptop", "openai", "gpt-4o", "chat",
        "/v1/chat/completions", True, "gateway-1",
    )  # fmt: skip
    return Ask(admission.request_id, WHO, "chat", "gpt-4o", amount, 0, 0, admission.to_json())


async def _usec_per_settle(url: str, spent_percent: int) -> float:
    store = RedisStore(url)
    await store.command("FLUSHALL")
    holds = RedisHolds(store, _directory(spent_percent), EmptyLedger())
    await holds.start()
    await holds.balances.change("acme", BalanceChange(1, 0, AMOUNT, "", AMOUNT))
    first = _ask(0, AMOUNT * spent_percent // 100)
    await holds.settle(await holds.hold(first), first, first.fixed, RESULT)
    asks = [_ask(number + 1, 1000) for number in range(SETTLES)]
    total = 0.0
    for start in range(0, SETTLES, AT_ONCE):
        page = asks[start : start + AT_ONCE]
        grants = await asyncio.gather(*(holds.hold(ask) for ask in page))
        before = await _spent_us(store)
        await asyncio.gather(
            *(holds.settle(grant, ask, 900, RESULT) for grant, ask in zip(grants, page, strict=True))
        )
        total += await _spent_us(store) - before
    await holds.close()
    await store.close()
    return total / SETTLES


async def _spent_us(store: RedisStore) -> float:
    """Processor time of the whole of Redis so far."""
    lines = (await store.command("INFO", "cpu")).decode().splitlines()
    figures = dict(line.split(":", 1) for line in lines if ":" in line)
    return (float(figures["used_cpu_user"]) + float(figures["used_cpu_sys"])) * 1e6


async def main(url: str) -> None:
    """Print microseconds per settlement, median of the rounds, with little spent and with most of it."""
    for spent_percent in (1, 80):
        rounds = [await _usec_per_settle(url, spent_percent) for _ in range(ROUNDS)]
        print(f"{spent_percent:3d} % spent: {statistics.median(rounds):.1f} us a settlement "
              f"(least {min(rounds):.1f}, most {max(rounds):.1f})")  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="tg-") as directory:
        server = TestRedis(Path(directory) / "redis")
        server.start()
        try:
            asyncio.run(main(server.url))
        finally:
            server.stop()
