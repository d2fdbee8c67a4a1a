"""Priced units in Postgres. When it is down everything here raises `PostgresUnavailable`."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from gateway.identity.roles import Reach
from gateway.reports.consumption import Consumption, RepeatedInput
from gateway.reports.period import Period
from gateway.reports.postgres_usage_reading import reach_arguments
from gateway.stores.postgres import Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.reports", "consumption.sql")


async def consumed(
    session: Session, org: str, reach: Reach, period: Period, bands: Sequence[int]
) -> list[Consumption]:
    """What was used, dearest first. ``bands``: total inputs at which prices step, ascending."""
    rows = await session.fetch(
        _SQL["consumed"], org, period.start, period.end, list(bands), *reach_arguments(reach)
    )
    return [
        Consumption(
            provider=row["provider"],
            model=row["model"],
            operation=row["operation"],
            tier=row["tier"],
            streamed=row["streamed"],
            abandoned=row["abandoned"],
            input_tokens_at_least=bands[row["band"] - 1] if row["band"] else 0,
            requests=row["requests"],
            credits_microcredits=row["credits_microcredits"],
            surplus_microcredits=row["surplus_microcredits"],
            units=orjson.loads(row["buckets"]),
        )
        for row in rows
    ]


async def repeated(session: Session, org: str, reach: Reach, period: Period) -> list[RepeatedInput]:
    """Input that caches could have served."""
    rows = await session.fetch(_SQL["repeated"], org, period.start, period.end, *reach_arguments(reach))
    return [RepeatedInput(**row) for row in rows]
