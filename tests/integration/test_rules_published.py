"""Which of several gateways' rules are in force: files that were bad, stores that forgot, changes that met."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.budgets.model import Scope, Window
from gateway.budgets.ports import EmptyLedger
from gateway.budgets.postgres_managed import ManagedLimits
from gateway.budgets.redis_holds import RedisHolds
from gateway.errors import StoreUnavailable
from gateway.ledger.migrate import migrate
from gateway.reload import LiveConfig
from gateway.settings.config import ProviderSettings, Settings
from gateway.stores.postgres import Postgres
from gateway.stores.redis import RedisStore
from tests.support.servers import TestRedis
from tests.unit.budgets.making import ask_for, limit_on

CREDIT = 1_000_000
HOUR_S = 3600


def file_of(credits: int | None, *, others: str = "") -> str:
    """A limits.yaml in which acme has so many credits a day; None: without acme."""
    acme = "" if credits is None else f"  - {{id: acme, limits: [{{window: day, credits: {credits}}}]}}\n"
    return f"orgs:\n  - {{id: other}}\n{acme}{others}"


class Gateway:
    """What a gateway does about rules. It looks when a test says so."""

    def __init__(self, redis_url: str, dsn: str, directory: Path, reread_s: float) -> None:
        self.redis = RedisStore(redis_url)
        self.postgres = Postgres(dsn)
        self.managed = ManagedLimits(self.postgres, self.redis)
        self.limits, self.pricing = directory / "limits.yaml", directory / "pricing.yaml"
        self.pricing.touch()
        settings = Settings(
            admin_token=SecretStr("x" * 40),
            providers={"openai": ProviderSettings(kind="openai", base_url="http://127.0.0.1:1")},
            limits=self.limits,
            pricing=self.pricing,
        )
        self.config = LiveConfig(settings, self.managed, reread_s=reread_s)
        self.holds = RedisHolds(self.redis, self.config.current.directory, EmptyLedger())

    async def look(self) -> None:
        await self.config.refresh(lambda loaded: self.holds.set_directory(loaded.directory))

    async def in_force(self) -> dict[str, int]:
        """Credits of acme by window, as every gateway decides by."""
        limits = (await self.holds.limits("acme")).limits
        return {limit.window.value: limit.amount // CREDIT for limit in limits}

    async def command(self, credits: int, window: Window = Window.MONTH) -> None:
        version = await self.holds.published_version("acme")
        limit = limit_on(Scope.ORG, "acme", credits * CREDIT, window)
        await self.managed.set("acme", limit, newer_than=version, actor="test")

    def write(self, text: str, at_s: float | None = None) -> None:
        beside = self.limits.with_suffix(".new")
        beside.write_text(text)
        if at_s is not None:
            os.utime(beside, (at_s, at_s))
        beside.replace(self.limits)


def prepare(directory: Path, text: str, at_s: float) -> None:
    directory.mkdir(exist_ok=True)
    (directory / "limits.yaml").write_text(text)
    os.utime(directory / "limits.yaml", (at_s, at_s))


@asynccontextmanager
async def started(
    redis_url: str, dsn: str, directory: Path, text: str, at_s: float, *, reread_s: float = HOUR_S
) -> AsyncIterator[Gateway]:
    prepare(directory, text, at_s)
    gateway = Gateway(redis_url, dsn, directory, reread_s)
    await gateway.postgres.start()
    await migrate(dsn)
    await gateway.holds.start()
    await gateway.look()
    try:
        yield gateway
    finally:
        await gateway.holds.close()
        await gateway.redis.close()
        await gateway.postgres.stop()


@asynccontextmanager
async def two_alike(redis_url: str, dsn: str, directory: Path) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Two gateways with the same file of an hour ago."""
    ago_s = time.time() - HOUR_S
    async with (
        started(redis_url, dsn, directory / "a", file_of(1), ago_s) as one,
        started(redis_url, dsn, directory / "b", file_of(1), ago_s) as other,
    ):
        yield one, other


async def test_a_file_that_came_beside_a_bad_one_is_in_force_once_that_is_mended(
    redis_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    ago_s = time.time() - HOUR_S
    async with started(redis_url, postgres_dsn, tmp_path / "a", file_of(1), ago_s) as gateway:
        gateway.write(file_of(2))
        await gateway.look()
        gateway.write(file_of(3))
        gateway.pricing.write_text("nonsense: 1\n")
        await gateway.look()
        assert gateway.config.problems
        assert await gateway.in_force() == {"day": 2}
        gateway.pricing.write_text("")
        await gateway.look()
        assert not gateway.config.problems
        assert await gateway.in_force() == {"day": 3}
        assert not gateway.holds.outvoted


async def test_the_newer_file_is_in_force_again_after_redis_has_lost_the_rules(
    redis_url: str, postgres_dsn: str, tmp_path: Path, redis_server: TestRedis
) -> None:
    now_s = time.time()
    async with (
        started(redis_url, postgres_dsn, tmp_path / "a", file_of(1), now_s - 2 * HOUR_S) as older,
        started(redis_url, postgres_dsn, tmp_path / "b", file_of(2), now_s - HOUR_S) as newer,
    ):
        await newer.command(9)
        await newer.look()
        await older.look()
        assert await older.in_force() == await newer.in_force() == {"day": 2, "month": 9}
        redis_server.clear()
        for gateway in (older, newer):
            ask = ask_for(1)
            await gateway.holds.settle(await gateway.holds.hold(ask), ask, 1, b"{}")
        assert await newer.in_force() == {"day": 2, "month": 9}


async def test_a_command_given_while_a_file_is_read_counts(
    redis_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with two_alike(redis_url, postgres_dsn, tmp_path) as (one, two):
        await one.command(9)
        await one.look()
        await two.look()
        generation = one.managed.generation

        async def late() -> bytes | None:
            found = await generation()
            await two.command(8)
            one.write(file_of(2))
            two.write(file_of(2), one.limits.stat().st_mtime)
            one.managed.generation = generation  # type: ignore[method-assign]
            return found

        one.managed.generation = late  # type: ignore[method-assign]
        await one.look()
        await two.look()
        await one.look()
        assert await one.in_force() == {"day": 2, "month": 8}


async def test_limits_of_an_org_that_the_file_names_no_more_are_gone_where_others_were_set(
    redis_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    ago_s = time.time() - HOUR_S
    async with started(redis_url, postgres_dsn, tmp_path / "a", file_of(1), ago_s) as gateway:
        await gateway.command(9)
        await gateway.look()
        gateway.write(file_of(None))
        await gateway.look()
        assert await gateway.in_force() == {"month": 9}


async def test_a_change_whose_taking_over_was_cancelled_is_taken_over_later(
    redis_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    ago_s = time.time() - HOUR_S
    async with started(redis_url, postgres_dsn, tmp_path / "a", file_of(1), ago_s) as gateway:
        await gateway.command(9)
        begun = asyncio.Event()

        async def hangs(_loaded: object) -> None:
            begun.set()
            await asyncio.Event().wait()

        look = asyncio.create_task(gateway.config.refresh(hangs))
        await begun.wait()
        look.cancel()
        await asyncio.wait([look])
        await gateway.look()
        assert await gateway.in_force() == {"day": 1, "month": 9}


@pytest.mark.parametrize(("reread_s", "times"), [(0.0, 1), (HOUR_S, 2)])
async def test_a_change_that_nobody_could_be_told_of_counts_later_or_when_it_is_made_again(
    private_redis: TestRedis, postgres_dsn: str, tmp_path: Path, reread_s: float, times: int
) -> None:
    ago_s, where = time.time() - HOUR_S, tmp_path / "a"
    async with started(
        private_redis.url, postgres_dsn, where, file_of(1), ago_s, reread_s=reread_s
    ) as gateway:
        limit = limit_on(Scope.ORG, "acme", 9 * CREDIT, Window.MONTH)
        version = await gateway.holds.published_version("acme")
        await asyncio.to_thread(private_redis.kill)
        with pytest.raises(StoreUnavailable):
            await gateway.managed.set("acme", limit, newer_than=version, actor="test")
        await asyncio.to_thread(private_redis.start)
        for _ in range(times - 1):
            await gateway.managed.set("acme", limit, newer_than=version, actor="test")
        await gateway.look()
        assert await gateway.in_force() == {"day": 1, "month": 9}


async def test_a_change_of_an_old_file_counts_after_an_older_one_was_put_back(
    redis_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    now_s = time.time()
    where = tmp_path / "a"
    async with started(redis_url, postgres_dsn, where, file_of(1), now_s - HOUR_S) as gateway:
        gateway.write(file_of(2), now_s - 3 * HOUR_S)
        await gateway.look()
        assert await gateway.in_force() == {"day": 2}
    async with started(redis_url, postgres_dsn, where, file_of(2), now_s - 3 * HOUR_S) as gateway:
        gateway.write(file_of(3), now_s - 2 * HOUR_S)
        await gateway.look()
        assert await gateway.in_force() == {"day": 3}


async def test_an_older_file_does_not_replace_one_that_says_what_was_there_before_both(
    redis_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    now_s = time.time()
    async with (
        started(redis_url, postgres_dsn, tmp_path / "a", file_of(2), now_s - HOUR_S) as newer,
        started(redis_url, postgres_dsn, tmp_path / "b", file_of(1), now_s - 2 * HOUR_S) as forgotten,
    ):
        assert await newer.in_force() == {"day": 2}
        assert forgotten.holds.outvoted == {"acme"}


async def test_gateways_that_see_a_change_one_after_the_other_call_it_the_same(
    redis_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with two_alike(redis_url, postgres_dsn, tmp_path) as (one, two):
        written_s = time.time() - 2
        for gateway in (one, two):
            gateway.write(file_of(2), written_s)
            await gateway.look()
        assert one.config.rules("acme").version == two.config.rules("acme").version
        assert await two.in_force() == {"day": 2}


async def test_a_gateway_says_that_other_rules_are_in_force_from_when_they_are_until_they_are_not(
    redis_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with two_alike(redis_url, postgres_dsn, tmp_path) as (forgotten, other):
        assert not forgotten.holds.outvoted
        for credits, outvoted in ((2, {"acme"}), (1, set())):
            other.write(file_of(credits))
            await other.look()
            await forgotten.holds.release((await forgotten.holds.hold(ask_for(1))).request_id, "acme")
            assert forgotten.holds.outvoted == outvoted


async def test_a_gateway_that_started_without_postgres_takes_over_files_and_overrules_nobody(
    redis_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    ago_s, where = time.time() - HOUR_S, tmp_path / "b"
    async with started(redis_url, postgres_dsn, tmp_path / "a", file_of(1), ago_s) as other:
        await other.command(9)
        await other.look()
        prepare(where, file_of(1), ago_s)
        alone = Gateway(redis_url, "postgresql://nobody@127.0.0.1:1/nothing", where, HOUR_S)
        await alone.postgres.start()
        await alone.holds.start()
        alone.write(file_of(2))
        await alone.look()
        assert [limit.amount for limit in alone.config.declared("acme").limits] == [2 * CREDIT]
        assert await alone.in_force() == {"day": 1, "month": 9}
        await alone.holds.close()
        await alone.redis.close()
        await alone.postgres.stop()
