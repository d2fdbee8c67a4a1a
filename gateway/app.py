"""The composition root: builds everything of one gateway process and owns every lifetime."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from aiohttp import web

from gateway.api.health import Check, add_health
from gateway.api.protection import Protection
from gateway.api.router import Router, is_own
from gateway.backoffice import BackOffice, now
from gateway.budgets.holding import Holding, Holdings
from gateway.budgets.keeper import Keeper
from gateway.budgets.keyspace import partition_keys
from gateway.budgets.postgres_managed import ManagedLimits
from gateway.budgets.redis_books import RedisBooks
from gateway.budgets.redis_holds import RedisHolds
from gateway.errors import StoreUnavailable
from gateway.identity.keyring import Keyring
from gateway.identity.keys import file_keys
from gateway.identity.postgres_keys import KeyTable
from gateway.identity.redis_keys import SharedKeys
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.reconcile import Report, reconcile
from gateway.ledger.reconcile_balances import reconcile_balances
from gateway.ledger.redis_stream import StreamKeys, UsageStream
from gateway.ledger.watchman import RECENT, Watchman
from gateway.ledger.writer import UsageWriter, WriterHooks
from gateway.live.service import Live
from gateway.metering.encodings import Encodings
from gateway.metering.tokens import TokenCounter
from gateway.metrics import Metrics
from gateway.providers.registry import DIALECTS
from gateway.proxy.admission import Admissions
from gateway.proxy.handler import Proxy
from gateway.proxy.in_flight import InFlight
from gateway.proxy.provider import Providers
from gateway.proxy.server import Server
from gateway.reload import LiveConfig, Loaded
from gateway.settings.config import Settings
from gateway.stores.postgres import Postgres
from gateway.stores.redis import RedisStore
from gateway.stores.redis_health import inspect_redis

log = logging.getLogger("tollgate")

START_WAIT_S = 30.0
"""How long a starting gateway waits for Redis before it gives up, so that both may be started at once."""
OUTVOTED_SHOWN = 5
HAND_OVER_S = 10.0
"""How long cancelled calls may take to hand their holds over or to give them back: two tries of the store."""


class Gateway:
    """One process. `start` and `stop` once each; ``port`` is what was bound (it may have been 0)."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.gateway_id = f"{socket.gethostname()}-{os.getpid()}"
        self.redis = RedisStore(settings.redis.url)
        self.postgres = Postgres(
            settings.postgres.dsn.get_secret_value(), connections_max=settings.postgres.connections_max
        )
        self.config = LiveConfig(settings, ManagedLimits(self.postgres, self.redis))
        self.holds = RedisHolds(
            self.redis,
            self.config.current.directory,
            PostgresLedger(self.postgres),
            partitions=settings.redis.partitions,
            hold_ttl_s=settings.budgets.hold_ttl_s,
            alert_levels=settings.alerts.levels,
        )
        self._encodings = Encodings()
        self.keyring = Keyring(SharedKeys(self.redis), KeyTable(self.postgres))
        self.keeper = Keeper(self.holds, hold_ttl_s=settings.budgets.hold_ttl_s, lost=_end_call)
        self._stream_client = self.redis.client()
        self._books = RedisBooks(self.redis, partitions=settings.redis.partitions)
        self.watchman = Watchman(self.redis, self._reconcile, self.metrics.drift.set)
        self.writer = UsageWriter(self._streams(), UsageTable(self.postgres), hooks=self._writer_hooks())
        self.providers: Providers
        self.proxy: Proxy
        live = Live(
            self.redis,
            self.postgres,
            self.holds.balances,
            self.config.rules,
            self.keeper.holdings,
            gateway_id=self.gateway_id,
            partitions=settings.redis.partitions,
            now=now,
        )
        self.backoffice = BackOffice(
            settings, self.redis, self.postgres, self.keyring, self.config, self.holds, live
        )
        self._reaped_told = 0
        self._key_changes: dict[tuple[str, str], Callable[[str, str], Awaitable[None]]] = {}
        """What Redis has not been told yet of keys that came into or went out of limits.yaml."""
        self._runner: web.ServerRunner | None = None
        self._in_flight = InFlight()
        self.port = settings.server.port

    # ---------------------------------------------------------------- life

    async def start(self) -> None:
        """Everything up in order of need; listening last. Raises `ConfigError`, `StoreUnavailable`, OSError."""
        await self.postgres.start()
        # Loading it later would hold up every stream for a tenth of a second; most models use this one.
        await asyncio.to_thread(self._encodings.get, "o200k_base")
        await _patiently(self.holds.start)
        await self._apply(self.config.current)
        await self.config.refresh(self._apply)
        await self.keyring.start()
        await self.keeper.start()
        await self.writer.start()
        await self.watchman.start()
        await self.backoffice.start()
        self.config.start(self._apply)
        self._compose()
        self.metrics.start(self._measure)
        _calm_the_collector()
        await self._listen()
        log.info("listening", extra={"host": self.settings.server.host, "port": self.port})

    async def stop(self) -> None:
        """Stop accepting, let calls in flight end within the drain time, settle what is left, flush, close."""
        loop = asyncio.get_running_loop()
        drained_s = loop.time() + self.settings.server.drain_timeout_s
        if self._runner is not None:
            await self.backoffice.live.stop()  # its listeners would wait for ever, and be waited for
            await self._runner.cleanup()
            # Calls cancelled just now have yet to hand over what they hold.
            await self._in_flight.over(HAND_OVER_S)
            await self.proxy.open_streams.close()
            await self.proxy.afterlife.close(max(0.0, drained_s - loop.time()))
            self.providers.close()
        await self.config.stop()
        await self.keyring.stop()
        await self.backoffice.stop()
        await self.watchman.stop()
        await self.keeper.stop()
        await self.writer.stop()
        self.metrics.stop()  # what the last rows count is told, too
        await self.holds.close()
        await self._stream_client.aclose()
        await self.redis.close()
        await self.postgres.stop()
        log.info("stopped")

    # ---------------------------------------------------------------- parts

    def _compose(self) -> None:
        settings = self.settings
        loop = asyncio.get_running_loop()
        fallback = DIALECTS["openai"]
        self.providers = Providers(settings, DIALECTS, loop.time)
        tokens = TokenCounter(self._encodings)
        admissions = Admissions(
            lambda: self.config.current, Holdings(self.holds, self.keeper), tokens, self.gateway_id
        )
        self.proxy = Proxy(
            settings.server, self.providers, self.keyring, admissions, tokens, self.metrics, fallback
        )
        self.keyring.on_forget(self.proxy.open_streams.check)
        router = Router(Protection(settings.api.cors_origins))
        add_health(router, self.checks, self.metrics.exposition)
        self.backoffice.add_routes(router, self.proxy)
        proxy_handle, own_handle = self.proxy.handle, router.handle

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            with self._in_flight:
                return await (
                    own_handle(request)
                    if is_own(request.raw_path.partition("?")[0])
                    else proxy_handle(request)
                )

        self._server = Server(handle, fallback, settings.server)

    async def _listen(self) -> None:
        server = self.settings.server
        # aiohttp waits for a handler this long before it says that it should end, and as long again before it
        # cancels it; 0 would mean for ever.
        runner = web.ServerRunner(self._server, shutdown_timeout=max(0.01, server.drain_timeout_s / 2))
        await runner.setup()
        site = web.TCPSite(
            runner, server.host, server.port, reuse_port=server.workers > 1 or None, backlog=1024
        )
        await site.start()
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def _apply(self, loaded: Loaded) -> None:
        """Put a version of the files in force, here and (by Redis) everywhere."""
        change = self.keyring.declare(file_keys(loaded.limits))
        for record in change.removed:
            self._key_changes[record.org_id, record.key_id] = self.holds.revoke
        for record in change.added:
            self._key_changes[record.org_id, record.key_id] = self.holds.reinstate
        await self.holds.set_directory(loaded.directory)
        for (org, key), tell in list(self._key_changes.items()):
            await tell(org, key)
            del self._key_changes[org, key]  # only now: a store that was down is told at the next try

    async def _reconcile(self) -> Report:
        ledger = PostgresLedger(self.postgres)
        since = datetime.now(UTC) - RECENT
        report = await reconcile(
            self._books.counters,
            self._books.open_holds,
            self._streams(),
            ledger,
            since,
            open_calls_off=self._books.open_calls_off,
        )
        return await reconcile_balances(report, self.holds.balances, ledger)

    def _streams(self) -> list[UsageStream]:
        streams = []
        for number in range(self.settings.redis.partitions):
            keys = partition_keys(number)
            streams.append(
                UsageStream(
                    self._stream_client,
                    self.redis,
                    StreamKeys(number, keys.stream, keys.done),
                    self.gateway_id,
                )
            )
        return streams

    def _writer_hooks(self) -> WriterHooks:
        metrics = self.metrics

        def batch(_: int, entries: int, new_rows: int) -> None:
            metrics.batch_rows.observe(entries)
            metrics.rows_written.inc(new_rows)

        return WriterHooks(
            batch=batch,
            lag=lambda _, entries: metrics.stream_lag.set(entries),
            dead_letters=lambda _, count: metrics.dead_letters.inc(count),
        )

    def _measure(self) -> None:
        self.metrics.holds_open.set(len(self.keeper))
        self.metrics.live_listeners.set(len(self.backoffice.live.hub))
        self.metrics.config_errors.set(1 if self.config.problems else 0)
        self.metrics.reaped.inc(self.keeper.reaped - self._reaped_told)
        self._reaped_told = self.keeper.reaped

    async def checks(self) -> list[Check]:
        """What `/health/ready` says."""
        down = await _failure(self.redis.command("PING"))
        found = [Check("redis", down is None, reason=down)]
        down = await _failure(self.postgres.fetch_value("SELECT 1"))
        found.append(Check("postgres", down is None, fatal=False, reason=down))
        problem = "; ".join(self.config.problems.values()) or None
        found.append(Check("config", problem is None, fatal=False, reason=problem))
        outvoted = sorted(self.holds.outvoted)
        found.append(Check("limits", not outvoted, fatal=False, reason=_outvoted(outvoted)))
        if found[0].ok:
            findings = await inspect_redis(self.redis)
            found.append(
                Check(
                    "redis_setup",
                    not findings,
                    fatal=False,
                    reason="; ".join(f.message for f in findings) or None,
                )
            )
        return found


def _calm_the_collector() -> None:
    """What stands now stays: looking through it for garbage again and again cost a tenth of the time of a request.

    Requests leave few cycles behind, so collecting after every 20,000 allocations bounds them well enough.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _outvoted(orgs: Sequence[str]) -> str | None:
    if not orgs:
        return None
    return (
        f"other gateways have published newer limits of {', '.join(orgs[:OUTVOTED_SHOWN])} than are known here; if the "
        "limits.yaml here is the one that should count, touch it"
    )


def _end_call(holding: Holding) -> None:
    log.warning("a hold was lost, its call is ended", extra={"request_id": holding.ask.request_id})
    if holding.on_lost is not None:
        holding.on_lost()


async def _failure(answer: Awaitable[object]) -> str | None:
    try:
        await answer
    except StoreUnavailable as error:
        return str(error)
    return None


async def _patiently(step: Callable[[], Awaitable[None]]) -> None:
    """Run ``step`` until the store answers; raises its `StoreUnavailable` after `START_WAIT_S`."""
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + START_WAIT_S
    while True:
        try:
            return await step()
        except StoreUnavailable as error:
            if loop.time() > give_up_s:
                raise
            log.warning("waiting for Redis", extra={"reason": str(error)})
            await asyncio.sleep(0.5)
