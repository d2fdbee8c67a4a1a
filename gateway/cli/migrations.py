"""`tollgate migrate`, and the check that it was run."""

from __future__ import annotations

import logging

from gateway.errors import ConfigError, StoreUnavailable
from gateway.ledger.migrate import bundled, outstanding
from gateway.settings.config import Settings
from gateway.stores.postgres import PostgresUnavailable
from gateway.stores.redis import RedisStore

log = logging.getLogger("tollgate")

SCHEMA_KEY = "tg:schema"
"""The newest migration that a starting gateway has found applied."""


async def require_current_schema(settings: Settings) -> None:
    """Raises `ConfigError` when the database's schema is older than this program.

    A Postgres that is down does not keep a gateway from starting whose schema was found right before: usage waits in
    Redis. Otherwise it raises `PostgresUnavailable`.
    """
    newest = str(bundled()[-1].version)
    redis = RedisStore(settings.redis.url)
    try:
        missing = await outstanding(settings.postgres.dsn.get_secret_value())
        if missing:
            raise ConfigError(
                f"the database lacks {len(missing)} migrations ({missing[0]} ...): run `tollgate migrate` first"
            )
        await _remember(redis, newest)
    except PostgresUnavailable as error:
        if not await _was_seen(redis, newest):
            raise
        log.warning("starting without Postgres; usage waits in Redis", extra={"reason": str(error)})
    finally:
        await redis.close()


async def _remember(redis: RedisStore, newest: str) -> None:
    try:
        await redis.command("SET", SCHEMA_KEY, newest)
    except StoreUnavailable:
        return  # it is only needed on a day when Postgres is down and Redis is not


async def _was_seen(redis: RedisStore, newest: str) -> bool:
    try:
        found = await redis.command("GET", SCHEMA_KEY)
    except StoreUnavailable:
        return False
    return bool(found == newest.encode())
