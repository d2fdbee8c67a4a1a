"""`tollgate encryption rotate`: everything that is sealed, sealed again with the active key.

It goes on while gateways run, and may be interrupted and repeated: what is under the active key already is left alone.
When Postgres is down it raises `PostgresUnavailable`; nothing is lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.identity.vault import EncryptionNotConfigured, Unsealable, Vault, place
from gateway.stores.postgres import Postgres, Row
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.identity", "rotation.sql")
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one column has come."""

    column: str
    """``people.email_sealed``."""
    total: int
    """What was not under the active key."""
    replaced: int
    left: int = 0
    """At the end of the column: what is still under another key, or was put there meanwhile."""
    unsealable: tuple[str, ...] = ()
    """Rows whose values cannot be opened, by their place; they stay as they are."""


@dataclass(frozen=True, slots=True)
class _Column:
    table: str
    column: str
    key_columns: tuple[str, ...]

    def sql(self, name: str) -> str:
        key = ", ".join(f"{_quoted(column)}::text" for column in self.key_columns)
        return (
            _SQL[name]
            .replace("{table}", _quoted(self.table))
            .replace("{column}", _quoted(self.column))
            .replace("{key}", f"ARRAY[{key}]")
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class Rotation:
    def __init__(self, postgres: Postgres, vault: Vault) -> None:
        self._postgres = postgres
        self._vault = vault

    async def run(self) -> AsyncIterator[Progress]:
        """After every 500 values, and at the end of each column. Raises `EncryptionNotConfigured`."""
        if self._vault.active is None:
            raise EncryptionNotConfigured
        for row in await self._postgres.fetch(_SQL["sealed_columns"]):
            column = _Column(row["table_name"], row["column_name"], tuple(row["key_columns"]))
            async for progress in self._column(column, f"{self._vault.active}."):
                yield progress

    async def _column(self, column: _Column, mark: str) -> AsyncIterator[Progress]:
        total = await self._postgres.fetch_value(column.sql("count"), mark)
        name = f"{column.table}.{column.column}"
        replaced, unsealable, after = 0, list[str](), list[str]()
        while page := await self._postgres.fetch(column.sql("stale"), mark, after, _PAGE):
            for row in page:
                try:
                    replaced += await self._replace(column, row)
                except Unsealable:
                    unsealable.append(place(column.table, column.column, *row["key"]))
            after = page[-1]["key"]
            yield Progress(name, total, replaced)
        left = await self._postgres.fetch_value(column.sql("count"), mark)
        yield Progress(name, total, replaced, left, tuple(unsealable))

    async def _replace(self, column: _Column, row: Row) -> int:
        where = place(column.table, column.column, *row["key"])
        sealed = self._vault.seal(self._vault.open(row["sealed"], where), where)
        await self._postgres.execute(column.sql("replace"), row["key"], row["sealed"], sealed)
        return 1
