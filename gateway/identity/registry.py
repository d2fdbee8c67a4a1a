"""Everybody and everything that has an id: organisations, teams, people, keys, put together once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from gateway.budgets.postgres_managed import ManagedLimits
from gateway.identity.declared import Declarations
from gateway.identity.erasure import Erasures
from gateway.identity.giving import KeyGiving
from gateway.identity.issuing import KeyIssuer, Revocations
from gateway.identity.known_orgs import KnownOrgs
from gateway.identity.orgs import Orgs, Publishing
from gateway.identity.people import People
from gateway.identity.postgres_keys import KeyTable
from gateway.identity.postgres_people import PeopleTable
from gateway.identity.postgres_secrets import OrgSecrets
from gateway.identity.pseudonyms import Pseudonyms
from gateway.identity.redis_keys import SharedKeys
from gateway.identity.redis_traces import UserTraces
from gateway.identity.retention import Retention
from gateway.identity.subject_export import SubjectExport
from gateway.identity.teams import Teams
from gateway.identity.vault import Vault
from gateway.settings.limits import LimitsFile
from gateway.stores.postgres import Postgres
from gateway.stores.postgres_audit import AuditLog
from gateway.stores.redis import RedisCalls


class Holds(Revocations, Protocol):
    """See `gateway.budgets.redis_holds.RedisHolds`."""

    def published_version(self, org: str) -> Awaitable[int]: ...


class Registry:
    """Neither started nor stopped: it lives on the stores that it is given.

    ``limits``: limits.yaml as it is now; ``file``: where it lies. ``limited``: whether the key (org, key id) has
    spending limits of its own.
    """

    def __init__(
        self,
        postgres: Postgres,
        redis: RedisCalls,
        holds: Holds,
        vault: Vault,
        *,
        partitions: int,
        limits: Callable[[], LimitsFile],
        file: Path,
        limited: Callable[[str, str], bool],
    ) -> None:
        self.vault = vault
        self.declarations = Declarations(limits, file)
        self.secrets = OrgSecrets(postgres, vault)
        self.pseudonyms = Pseudonyms(self.secrets)
        self.managed = ManagedLimits(postgres, redis)
        self.publishing = Publishing(self.managed, holds.published_version)
        self.key_table = KeyTable(postgres)
        self.people_table = PeopleTable(postgres, vault)
        self.issuer = KeyIssuer(self.key_table, SharedKeys(redis), holds)
        self.known_orgs = KnownOrgs(postgres, self.declarations)
        self.orgs = Orgs(postgres, self.declarations, self.publishing)
        self.teams = Teams(postgres, self.declarations, self.orgs, self.publishing)
        self.people = People(
            self.people_table, vault, self.secrets, self.declarations, self.orgs, self.teams, self.issuer
        )
        self.keys = KeyGiving(
            self.issuer,
            self.key_table,
            self.people_table,
            self.declarations,
            self.orgs,
            self.teams,
            limited,
        )
        self.audit = AuditLog(postgres)
        self.subject_export = SubjectExport(postgres, vault)
        self.retention = Retention(postgres, self.orgs.events_kept_months)
        self.erasures = Erasures(
            postgres,
            self.people_table,
            self.people,
            self.declarations,
            self.issuer,
            UserTraces(redis, partitions=partitions),
            self.managed,
            holds.published_version,
        )
