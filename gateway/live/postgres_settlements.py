"""Settlements that are rows. When Postgres is down everything here raises `PostgresUnavailable`."""

from __future__ import annotations

from collections.abc import Collection

from gateway.identity.roles import Reach
from gateway.ledger.row import UsageRow, instant, microseconds
from gateway.live.spending import Cells, Stretch
from gateway.settings.time_zones import in_postgres
from gateway.stores.postgres import Postgres
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.live", "live.sql")


class PostgresSettlements:
    """Implements `gateway.live.backlog.Written`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def between(
        self, partition: int, after: int, upto: int, orgs: Collection[str], most: int
    ) -> list[UsageRow]:
        """Rows of ``orgs`` with numbers in (after, upto], in order, at most ``most``."""
        rows = await self._postgres.fetch(_SQL["between"], partition, after, upto, list(orgs), most)
        return [UsageRow(**row) for row in rows]

    async def cells(
        self, reach: Reach, partition: int, upto: int, stretch: Stretch, unwritten: Collection[str]
    ) -> tuple[Cells, frozenset[str]]:
        """What was charged in ``stretch``, and which request ids of ``unwritten`` that contains; of one snapshot."""
        seen = (reach.whole, *(list(names or ()) for names in (reach.teams, reach.users, reach.keys)))
        async with self._postgres.transaction("repeatable_read", readonly=True) as session:
            rows = await session.fetch(
                _SQL["cells"],
                *(reach.org_id, instant(stretch.since_us), *seen, partition, upto),
                *(instant(stretch.fine_since_us), in_postgres(stretch.time_zone)),
            )
            recorded = await session.fetch(_SQL["recorded"], list(unwritten)) if unwritten else []
        cells: Cells = {}
        for row in rows:
            cells.setdefault(row["operation"], {})[microseconds(row["start_at"])] = row["microcredits"]
        return cells, frozenset(row["request_id"] for row in recorded)
