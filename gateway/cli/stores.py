"""The stores of an installation, opened for one command."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

from gateway.budgets.directory import Directory
from gateway.budgets.redis_books import RedisBooks
from gateway.budgets.redis_holds import RedisHolds
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.settings.config import Settings, load_settings
from gateway.stores.postgres import Postgres
from gateway.stores.redis import RedisStore


@dataclass(frozen=True, slots=True)
class Stores:
    settings: Settings
    redis: RedisStore
    postgres: Postgres
    books: RedisBooks
    holds: RedisHolds
    """Only for what operators correct: it publishes nothing."""


@asynccontextmanager
async def open_stores(config: Path) -> AsyncIterator[Stores]:
    """Redis and Postgres as ``config`` names them; closed when the block ends."""
    settings = load_settings(config, weak_admin_token_ok=True)
    redis = RedisStore(settings.redis.url)
    postgres = Postgres(settings.postgres.dsn.get_secret_value(), connections_max=2)
    await postgres.start()
    try:
        partitions = settings.redis.partitions
        holds = RedisHolds(redis, Directory({}), PostgresLedger(postgres), partitions=partitions)
        yield Stores(settings, redis, postgres, RedisBooks(redis, partitions=partitions), holds)
    finally:
        await redis.close()
        await postgres.stop()


def actor() -> str:
    """Who does this, for the audit log."""
    try:
        return f"cli:{getuser()}"
    except (KeyError, OSError):  # a container's user need not have a name
        return f"cli:uid-{os.getuid()}"
