"""Bring the database to the schema that this version needs.

Migrations are `migrations/NNNN_name.sql`, applied in order, each in a transaction of its own, all under one
advisory lock: any number of gateways may start at once. They only ever expand the schema; what is no longer
needed is dropped by a later migration, after the last gateway that used it is gone, so a database that is
newer than this gateway is fine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from gateway.errors import ConfigError
from gateway.stores.postgres import Postgres, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.ledger", "migrations.sql")
_FILE = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


class MigrationError(ConfigError):
    """The database and the migrations of this version contradict each other."""

    code = "migration_refused"


def bundled() -> tuple[Migration, ...]:
    """The migrations that this version ships, in order."""
    found = ((resource, _FILE.fullmatch(resource.name)) for resource in files("migrations").iterdir())
    migrations = [
        Migration(int(match["version"]), match["name"], resource.read_text("utf-8"))
        for resource, match in found
        if match
    ]
    return tuple(sorted(migrations, key=lambda migration: migration.version))


def pending(shipped: Sequence[Migration], applied: Iterable[tuple[int, str, str]]) -> list[Migration]:
    """Which of ``shipped`` are still to be applied, given the (version, name, checksum) of what was.

    Raises `MigrationError` if one that was applied is not the one shipped, or was overtaken by a later one.
    """
    known = {version: (name, checksum) for version, name, checksum in applied}
    newest = max(known, default=0)
    left = []
    for number, migration in enumerate(shipped, start=1):
        label = f"migrations/{migration.version:04}_{migration.name}.sql"
        if migration.version != number:
            raise MigrationError(
                f"{label}: expected number {number:04}; numbers run on without gaps or repeats."
            )
        if migration.version in known:
            if known[migration.version] != (migration.name, migration.checksum):
                raise MigrationError(
                    f"{label} was edited after it had been applied to this database. Restore it, and put the "
                    "change into a new migration."
                )
        elif migration.version < newest:
            raise MigrationError(
                f"{label} was never applied, but {newest:04} was. Give it the next free number."
            )
        else:
            left.append(migration)
    return left


async def migrate(dsn: str, shipped: Sequence[Migration] | None = None) -> list[str]:
    """Apply what is pending; returns its names, oldest first. Waits for another that is migrating already."""
    shipped = bundled() if shipped is None else shipped
    # No time limit on statements: waiting for the lock, or building an index, may take as long as it takes.
    postgres = Postgres(dsn, connections_max=1, command_timeout_s=None, application_name="tollgate migrate")
    await postgres.start()
    try:
        async with postgres.session() as session:
            # A session's lock, released at the latest when the connection closes.
            await session.execute(_SQL["lock"])
            try:
                return await _apply(session, shipped)
            finally:
                await session.execute(_SQL["unlock"])
    finally:
        await postgres.stop()


async def _apply(session: Session, shipped: Sequence[Migration]) -> list[str]:
    await session.execute(_SQL["create_register"])
    rows = await session.fetch(_SQL["applied"])
    names = []
    for migration in pending(shipped, [(row["version"], row["name"], row["checksum"]) for row in rows]):
        async with session.transaction():
            await session.execute(migration.sql)
            await session.execute(_SQL["record"], migration.version, migration.name, migration.checksum)
        names.append(f"{migration.version:04}_{migration.name}")
    return names


async def outstanding(dsn: str) -> list[str]:
    """The names of migrations that this database lacks. Raises `PostgresUnavailable`."""
    postgres = Postgres(dsn, connections_max=1, application_name="tollgate")
    await postgres.start()
    try:
        known = await postgres.fetch_value(_SQL["register_exists"])
        rows = await postgres.fetch(_SQL["applied"]) if known else []
    finally:
        await postgres.stop()
    applied = [(row["version"], row["name"], row["checksum"]) for row in rows]
    return [f"{migration.version:04}_{migration.name}" for migration in pending(bundled(), applied)]
