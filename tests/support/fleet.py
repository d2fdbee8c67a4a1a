"""Several gateways on one Redis, one Postgres and one simulated provider, and what they recorded between them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import redis
import yaml

from gateway.budgets.keyspace import CounterName, partition_keys
from gateway.budgets.model import Scope, Window
from tests.support.gateway import MAIN_KEY, GatewayPlan, GatewayProcess, digest
from tests.support.servers import TestPostgres, TestRedis
from tests.support.simulator import SimulatorProcess

Answer = TypeVar("Answer")

ORG = "acme"
KEYS = partition_keys(0)
ORG_TOTAL = KEYS.counter(CounterName(ORG, Scope.ORG, ORG, None, None, Window.TOTAL, 0))
"""The counter of everything that the org was ever charged, and holds."""

USD_PER_MTOK = {"input": 1, "output": 4}
INPUT_MICROCREDITS, OUTPUT_MICROCREDITS = 100, 400
"""The same prices per token, at 0.01 USD a credit."""
OUTPUT_TOKENS_MAX = 64_000
LEAST_OUTPUT_TOKENS = 1_024
PLENTY_CREDITS = 1_000_000
POLL_S = 0.02
QUIET_TIMEOUT_S = 30.0


def prices() -> dict[str, Any]:
    """One price for every text model, in whole microcredits a token."""
    everything = {
        "provider": "*",
        "model": "*",
        "usd_per_mtok": USD_PER_MTOK,
        "max_output_tokens": OUTPUT_TOKENS_MAX,
        "context_window": 200_000,
    }
    return {"markup": 1.0, "unpriced": "refuse", "models": [everything]}


def limits(microcredits: int | None = None, **of_org: Any) -> dict[str, Any]:
    """One org with one key, and a limit of ``microcredits`` on all that it ever spends (None: plenty)."""
    credits = PLENTY_CREDITS if microcredits is None else f"{microcredits / 1_000_000:.6f}"
    keys = [{"id": "main", "sha256": digest(MAIN_KEY)}]
    teams = [{"id": "research", "users": [{"id": "ada", "keys": keys}]}]
    org = {"id": ORG, "limits": [{"window": "total", "credits": credits}], "teams": teams, **of_org}
    return {"credit_usd": 0.01, "orgs": [org]}


def cost_of(entry: Mapping[str, Any]) -> int:
    """Microcredits of one entry in the simulator's books, priced here and not by the gateway."""
    count = entry["count"]
    return int(count["input_tokens"] * INPUT_MICROCREDITS + count["output_tokens"] * OUTPUT_MICROCREDITS)


class Fleet:
    """Gateways that share their configuration files, as one deployment would."""

    def __init__(
        self,
        directory: Path,
        redis_server: TestRedis,
        dsn: str,
        simulator: SimulatorProcess,
        *,
        size: int,
        settings: Mapping[str, Any] | None = None,
        rules: Mapping[str, Any] | None = None,
    ) -> None:
        """``settings`` go over the generated tollgate.yaml by section."""
        directory.mkdir(parents=True, exist_ok=True)
        self.limits_file = directory / "limits.yaml"
        self.pricing_file = directory / "pricing.yaml"
        self.redis_server = redis_server
        self.simulator = simulator
        self.dsn = dsn
        self.declare(rules if rules is not None else limits())
        self.pricing_file.write_text(yaml.safe_dump(prices()))
        shared = {"limits": str(self.limits_file), "pricing": str(self.pricing_file)}
        self.gateways = [
            GatewayProcess(
                GatewayPlan(
                    directory / f"gateway-{number}",
                    simulator.url,
                    redis_server.url,
                    dsn,
                    settings={**(settings or {}), **shared},
                )
            )
            for number in range(size)
        ]

    def start(self) -> None:
        """All at once."""
        self.gateways[0].command("migrate")
        with ThreadPoolExecutor(len(self.gateways)) as starting:
            list(starting.map(lambda gateway: gateway.start(), self.gateways))

    def stop(self) -> None:
        with ThreadPoolExecutor(len(self.gateways)) as stopping:
            list(stopping.map(lambda gateway: gateway.stop(), self.gateways))

    @property
    def bases(self) -> list[str]:
        return [gateway.base for gateway in self.gateways]

    def declare(self, rules: Mapping[str, Any]) -> None:
        """Put other limits into the file that all gateways watch, whole or not at all."""
        self.write_limits(yaml.safe_dump(dict(rules)))

    async def enforce(self, rules: Mapping[str, Any]) -> float:
        """Declare other limits and wait until they are published, which puts them in force everywhere.

        Returns how many seconds that took.
        """
        with self.redis() as client:
            before = client.hget(KEYS.rules(ORG), "e")
            self.declare(rules)
            return await until(
                lambda: client.hget(KEYS.rules(ORG), "e") != before, "the limits are not in force"
            )

    def write_limits(self, text: str) -> None:
        beside = self.limits_file.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.limits_file)

    # -------------------------------------------------------------- what is recorded

    def redis(self) -> redis.Redis:
        """A client of Redis; the caller closes it."""
        return redis.Redis.from_url(self.redis_server.url)

    def counter(self) -> tuple[int, int]:
        """Settled and held of everything, at one instant."""
        with self.redis() as client:
            settled, held = client.hmget(ORG_TOTAL, "s", "h")
        return int(settled or 0), int(held or 0)

    def held_requests(self) -> dict[str, int]:
        """Microcredits of every open hold by request id."""
        with self.redis() as client:
            records = client.hgetall(KEYS.holds)
        return {name.decode(): int(record.split(b"\n", 1)[0]) for name, record in records.items()}

    def fetch(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        return aside(self._fetch(query, arguments))

    async def _fetch(self, query: str, arguments: Sequence[Any]) -> list[dict[str, Any]]:
        connection = await asyncpg.connect(self.dsn)
        try:
            return [dict(row) for row in await connection.fetch(query, *arguments)]
        finally:
            await connection.close()

    def rows(self, conversation: str) -> dict[str, dict[str, Any]]:
        """The view `usage` of one conversation by request id; fails where a request has two rows."""
        found = self.fetch("SELECT * FROM usage WHERE conversation_id = $1", conversation)
        by_id = {row["request_id"]: row for row in found}
        assert len(by_id) == len(found), "a request has two rows"
        return by_id

    def reconcile(self) -> str:
        """The report of `tollgate reconcile`, which has to end with exit 0 and ``drift 0``."""
        report = self.gateways[0].command("reconcile")
        assert report.splitlines()[-1] == "drift 0", report
        return report

    async def quiet(self) -> None:
        """Wait until nothing is held and every settlement is a row."""

        def at_rest() -> bool:
            with self.redis() as client:
                return not client.hlen(KEYS.holds) and not client.xlen(KEYS.stream)

        await until(at_rest, "holds or unwritten settlements are left", timeout_s=QUIET_TIMEOUT_S)


async def until(condition: Callable[[], bool], otherwise: str, *, timeout_s: float = 20.0) -> float:
    """Wait for ``condition``; returns how many seconds that took. Fails with ``otherwise`` after the time-out."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while not await asyncio.to_thread(condition):
        assert loop.time() - began_s < timeout_s, f"{otherwise} after {timeout_s:g} s"
        await asyncio.sleep(POLL_S)
    return loop.time() - began_s


def aside(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Run on a loop of its own: callers may be async tests, or not."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@contextmanager
def running_fleet(
    directory: Path,
    postgres: TestPostgres,
    simulator: SimulatorProcess,
    *,
    size: int,
    name: str,
    settings: Mapping[str, Any] | None = None,
    rules: Mapping[str, Any] | None = None,
) -> Iterator[Fleet]:
    """A started fleet with a Redis and a database of its own; both are gone afterwards."""
    server = TestRedis(directory / f"{name}-redis")
    server.start()
    dsn = postgres.create_database(f"fleet_{name}")
    fleet = Fleet(directory / name, server, dsn, simulator, size=size, settings=settings, rules=rules)
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.stop()
        postgres.drop_database(f"fleet_{name}")
        server.stop()
        shutil.rmtree(directory / f"{name}-redis")  # or the next of this name would begin with its counters
