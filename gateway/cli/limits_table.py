"""The table of `tollgate limits list`: each limit, and where it stands in the window that runs now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.budgets.directory import OrgRules
from gateway.budgets.model import Limit
from gateway.budgets.ports import CounterReading
from gateway.budgets.redis_standings import LimitStandings
from gateway.cli.stores import Stores
from gateway.ledger.postgres_spent import PostgresLedger
from pricing.money import format_credits

TITLES = ("ORG", "SCOPE", "WINDOW", "FOR", "LIMIT", "SPENT", "HELD", "LEFT", "")
_Row = tuple[str, ...]


async def limit_rows(stores: Stores, rules: OrgRules, declared: OrgRules, *, end_users: bool) -> list[_Row]:
    """One line for each limit of an org; ``end_users``: and one for each end user whom it counts."""
    seconds, micros = await stores.redis.command("TIME")
    now_us = int(seconds) * 1_000_000 + int(micros)
    standings = LimitStandings(
        stores.redis, PostgresLedger(stores.postgres), partitions=stores.settings.redis.partitions
    )
    of_each = await _of_each(stores, rules, now_us) if any(map(_each, rules.limits)) else {}
    rows: list[_Row] = []
    for standing in await standings.of(rules, declared, now_us):
        limit = standing.limit
        if not limit.each_end_user:
            rows.append(_row(rules.org, limit, standing.spent, standing.held))
            continue
        found = of_each.get(limit.identity, ())
        rows.append(_row_of_all(rules.org, limit, found))
        if end_users:
            rows += [_row(rules.org, limit, each.settled, each.held, each.end_user) for each in found]
    return rows


def _each(limit: Limit) -> bool:
    return limit.each_end_user


async def _of_each(
    stores: Stores, rules: OrgRules, now_us: int
) -> Mapping[tuple[object, ...], Sequence[CounterReading]]:
    """The counters of end users in the windows that run now, by limit; who has spent the most comes first."""
    windows = rules.calendar.around(now_us)
    found: dict[tuple[object, ...], list[CounterReading]] = {}
    async for reading in stores.books.counters(rules.org):
        if reading.end_user is None or reading.start_us != windows.of(reading.window).start_us:
            continue
        limit = Limit(
            reading.scope,
            reading.scope_id,
            reading.window,
            0,
            reading.operation,
            reading.model,
            each_end_user=True,
        )
        found.setdefault(limit.identity, []).append(reading)
    for readings in found.values():
        readings.sort(key=lambda reading: (-reading.settled, reading.end_user or ""))
    return found


def _row(org: str, limit: Limit, spent: int, held: int, end_user: str | None = None) -> _Row:
    left = limit.amount - spent - held
    amounts = map(format_credits, (limit.amount, spent, held, left))
    return (
        org,
        _scope(limit, end_user),
        limit.window,
        _what(limit),
        *amounts,
        "" if limit.enforce else "shadow",
    )


def _row_of_all(org: str, limit: Limit, found: Sequence[CounterReading]) -> _Row:
    """A limit of each end user: what all of them came to is not what it limits."""
    remark = f"{len(found)} end users" + ("" if limit.enforce else ", shadow")
    amount = format_credits(limit.amount)
    return (org, _scope(limit, None), limit.window, _what(limit), amount, "", "", "", remark)


def _what(limit: Limit) -> str:
    return limit.operation or limit.model or "all"


def _scope(limit: Limit, end_user: str | None) -> str:
    scope = f"{limit.scope} {limit.scope_id}"
    if not limit.each_end_user:
        return scope
    return f"{scope}, each end user" if end_user is None else f"{scope}, {end_user}"
