"""Priced units in Postgres. When it is down everything here raises `PostgresUnavailable`."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from gateway.identity.roles import Reach
from gateway.reports.consumption import Consumption, RepeatedInput
from gateway.reports.period import Period
from gateway.reports.postgres_usage_reading import reach_arguments
from gateway.stores.postgres import Row, Session
from gateway.stores.sql import Queries

_TEXT = ("input", "cache_read", "cache_write", "output", "reasoning")
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
            input_tokens_at_least=_least(row["band"], bands),
            requests=row["requests"],
            credits_microcredits=row["credits_microcredits"],
            surplus_microcredits=row["surplus_microcredits"],
            units=_units(row),
        )
        for row in rows
    ]


def _units(row: Row) -> dict[str, int]:
    """Those of calls that used text alone, and those of the others."""
    units: dict[str, int] = {name: row[name] for name in _TEXT if row[name]}
    for name, count in orjson.loads(row["buckets"]).items():
        units[name] = units.get(name, 0) + count
    return units


async def repeated(
    session: Session, org: str, reach: Reach, period: Period, bands: Sequence[int]
) -> list[RepeatedInput]:
    """Input that caches could have served. ``bands``: as for `consumed`."""
    rows = await session.fetch(
        _SQL["repeated"], org, period.start, period.end, list(bands), *reach_arguments(reach)
    )
    return [
        RepeatedInput(
            provider=row["provider"],
            model=row["model"],
            tier=row["tier"],
            input_tokens_at_least=_least(row["band"], bands),
            repeated_tokens=row["repeated_tokens"],
            added_tokens=row["added_tokens"],
            requests=row["requests"],
        )
        for row in rows
    ]


def _least(band: int, bands: Sequence[int]) -> int:
    """The least total input of a band as `width_bucket` numbers them."""
    return bands[band - 1] if band else 0
