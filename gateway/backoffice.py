"""Everything that happens off the path of a request: built here, started and stopped together.

What is here may be slow or down without a single call being held up by it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version

from gateway.api.authentication import Authentication
from gateway.api.dispatch import Dispatch
from gateway.api.limit_book import LimitBook
from gateway.api.limits import limit_operations
from gateway.api.live import live_operations
from gateway.api.openapi import add_document
from gateway.api.operation import AnyOperation
from gateway.api.postgres_answers import Answers
from gateway.api.quote import quote_operations
from gateway.api.router import Router
from gateway.budgets.postgres_managed import ManagedLimits
from gateway.budgets.redis_holds import RedisHolds
from gateway.budgets.redis_standings import LimitStandings
from gateway.identity.keyring import Keyring
from gateway.identity.postgres_places import Places
from gateway.identity.principals import KeyPrincipals
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.live.service import Live
from gateway.proxy.handler import Proxy
from gateway.reload import LiveConfig
from gateway.settings.config import Settings
from gateway.stores.postgres import Postgres
from gateway.stores.redis import RedisStore


def now() -> datetime:
    return datetime.now(UTC)


class BackOffice:
    """The credits side of one gateway process. `start` and `stop` once each."""

    def __init__(
        self,
        settings: Settings,
        redis: RedisStore,
        postgres: Postgres,
        keyring: Keyring,
        config: LiveConfig,
        holds: RedisHolds,
        live: Live,
    ) -> None:
        self._config = config
        token = settings.admin_token.get_secret_value()
        self._principals = KeyPrincipals(keyring)
        authentication = Authentication(token, self._principals, redis, settings.api)
        self._dispatch = Dispatch(authentication, Answers(postgres), now)
        self.live = live
        self._limit_book = LimitBook(
            config,
            holds,
            ManagedLimits(postgres, redis),
            LimitStandings(redis, PostgresLedger(postgres), partitions=settings.redis.partitions),
            Places(postgres, lambda: config.current.limits),
            file_name=settings.limits.name,
        )

    async def start(self) -> None:
        """Begin what runs by itself."""
        await self.live.start()

    async def stop(self) -> None:
        """Idempotent; waits."""
        await self.live.stop()

    def operations(self, proxy: Proxy) -> list[AnyOperation]:
        """All of the API, in the order in which its description lists it."""
        return [
            *quote_operations(proxy),
            *live_operations(self.live.hub, self._principals),
            *limit_operations(self._limit_book),
        ]

    def add_routes(self, router: Router, proxy: Proxy) -> None:
        operations = self.operations(proxy)
        router.add_operations(operations, self._dispatch)
        add_document(router.add, operations, version("tollgate"))
