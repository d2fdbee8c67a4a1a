"""What tests of people share: a migrated database, a vault, and a registry over the real stores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from gateway.budgets.directory import Directory
from gateway.budgets.redis_holds import RedisHolds
from gateway.identity.keyring import Keyring
from gateway.identity.keys import file_keys
from gateway.identity.people import NewPerson, Person
from gateway.identity.postgres_people import Membership
from gateway.identity.principals import KeyPrincipals
from gateway.identity.redis_keys import SharedKeys
from gateway.identity.registry import Registry
from gateway.identity.roles import Principal, Role
from gateway.identity.vault import Vault
from gateway.ledger.migrate import migrate
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.settings.encryption import EncryptionSettings
from gateway.settings.limits import LimitsFile
from gateway.stores.postgres import Postgres
from gateway.stores.redis import RedisStore

VAULT_KEYS = {
    "k1": "8f0c2a5be1d34796a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718",
    "k2": "c0ffee00112233445566778899aabbccddeeff0123456789abcdef0011223344",
}
ROOT = Principal("cli:root", frozenset({Role.ADMIN}))
FILE: Mapping[str, Any] = {
    "orgs": [
        {
            "id": "acme",
            "teams": [{"id": "research", "users": [{"id": "grace", "role": "lead"}]}],
            "keys": [{"id": "acme-ci", "sha256": "cd" * 32}],
        }
    ]
}


def vault(active: str = "k1", *key_ids: str) -> Vault:
    """A vault with the keys ``key_ids`` (default: the active one alone)."""
    keys = {key_id: SecretStr(VAULT_KEYS[key_id]) for key_id in key_ids or (active,)}
    return Vault(EncryptionSettings(active=active, keys=keys))


@dataclass
class Office:
    """A registry over the real stores. ``declare`` is a new limits.yaml; ``limited`` keys have limits of their own."""

    redis: RedisStore
    postgres: Postgres
    holds: RedisHolds
    file: LimitsFile = field(default_factory=lambda: LimitsFile.model_validate(FILE))
    limited: set[tuple[str, str]] = field(default_factory=set)
    partitions: int = 1

    def __post_init__(self) -> None:
        self.registry = self.made_with(vault())
        self.people = self.registry.people

    def made_with(self, used: Vault) -> Registry:
        return Registry(
            self.postgres,
            self.redis,
            self.holds,
            used,
            partitions=self.partitions,
            limits=lambda: self.file,
            file=Path("limits.yaml"),
            limited=lambda org, key: (org, key) in self.limited,
        )

    def declare(self, document: Mapping[str, Any]) -> None:
        self.file = LimitsFile.model_validate(document)

    def gateway(self, monotonic_s: Callable[[], float] = time.monotonic) -> tuple[Keyring, KeyPrincipals]:
        """What authenticates on one gateway."""
        registry = self.registry
        keyring = Keyring(SharedKeys(self.redis), registry.key_table, monotonic_s=monotonic_s)
        keyring.declare(file_keys(self.file))
        principals = KeyPrincipals(
            keyring, registry.people_table, registry.declarations, monotonic_s=monotonic_s
        )
        return keyring, principals

    async def person(self, user: str, *memberships: tuple[str | None, Role], org: str = "acme") -> Person:
        held = tuple(Membership(team, role) for team, role in memberships)
        return await self.people.create(org, NewPerson(user, memberships=held), by=ROOT)

    async def audited(self) -> list[str]:
        """Everything in the audit log, oldest first, as ``action object``."""
        rows = await self.postgres.fetch("SELECT action, object FROM audit_log ORDER BY place")
        return [f"{row['action']} {row['object']}" for row in rows]


@asynccontextmanager
async def office(redis_url: str, postgres_dsn: str, *, partitions: int = 1) -> AsyncIterator[Office]:
    await migrate(postgres_dsn)
    redis, postgres = RedisStore(redis_url), Postgres(postgres_dsn, connections_max=8)
    await postgres.start()
    holds = RedisHolds(redis, Directory({}), PostgresLedger(postgres), partitions=partitions)
    await holds.start()
    yield Office(redis, postgres, holds, partitions=partitions)
    await holds.close()
    await postgres.stop()
    await redis.close()


async def blocked(postgres: Postgres, count: int) -> None:
    """Until so many statements wait for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(20):
        while await postgres.fetch_value(waiting) < count:
            pass
