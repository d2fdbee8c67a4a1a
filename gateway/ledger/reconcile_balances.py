"""Proves that prepaid balances in Redis, the credit ledger and the rows agree, while traffic runs.

A balance is read together with the latest settlement and the latest change of the ledger that it contains; then the
stream is read, then Postgres in one snapshot, leaving out what is later than either. So both sides count the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from gateway.budgets.balances import BalanceBooks, BalanceQuery, BalanceReading, parse_rungs
from gateway.ledger.held import LOOKS
from gateway.ledger.reconcile import Difference, Report
from gateway.stores.postgres import Row


class Balances(Protocol):
    """See `gateway.budgets.redis_balances.RedisBalances`."""

    async def orgs(self) -> list[str]: ...
    async def reading(self, org: str) -> BalanceReading | None: ...
    async def unread(self, org: str, sequence: int) -> dict[str, int]: ...
    async def held_by_calls(self, org: str) -> int: ...


class Ledger(Protocol):
    """See `gateway.ledger.postgres_spent.PostgresLedger`."""

    async def balances(self, queries: Sequence[BalanceQuery]) -> list[BalanceBooks]: ...
    async def differences(self) -> list[Row]: ...


async def reconcile_balances(report: Report, balances: Balances, ledger: Ledger) -> Report:
    """``report`` with what is wrong with balances. Raises `StoreUnavailable` when a store does not answer."""
    found: list[Difference] = []
    compared = 0
    for org in await balances.orgs():
        off = await _look(balances, ledger, org)
        compared += off is not None
        found += off or ()
    found += _differing(*((row["what"], row["expected"], row["found"]) for row in await ledger.differences()))
    return replace(report, differences=(*report.differences, *found), balances=compared)


async def _look(balances: Balances, ledger: Ledger, org: str) -> Sequence[Difference] | None:
    """How the balance differs; None: there is none. A change that is delivered between the two readings looks like one
    that Redis lost, so what is off is looked at again.
    """
    off: Sequence[Difference] | None = None
    for _ in range(LOOKS):
        reading = await balances.reading(org)
        if reading is None:
            return None
        unread = await balances.unread(org, reading.sequence)
        query = BalanceQuery(org, reading.partition, reading.sequence, tuple(unread), reading.change_id)
        (books,) = await ledger.balances([query])
        spent = books.spent + sum(cost for id_, cost in unread.items() if id_ not in books.recorded)
        off = _differing(
            (f"balance of {org}: granted", books.granted, reading.granted),
            (f"balance of {org}: spent", spent, reading.spent),
            (f"balance of {org}: held", reading.held - await _held_by_nobody(balances, org), reading.held),
            *_told(reading, books),
        )
        if not off:
            break
    return off


def _told(reading: BalanceReading, books: BalanceBooks) -> Iterator[tuple[str, int, int]]:
    """What the latest change said beside an amount: how much expires when, and what alerts measure by."""
    if reading.change_id != books.change_id:
        return  # one is on its way; one that was lost, the relay notices
    expected, found = dict(parse_rungs(books.rungs)), dict(reading.ladder)
    for at_us in sorted(expected.keys() | found.keys()):
        what = f"balance of {reading.org}: expires at {at_us // 1_000_000}"
        yield what, expected.get(at_us, 0), found.get(at_us, 0)
    yield (
        f"balance of {reading.org}: just after the last top-up",
        books.reference or 0,
        reading.reference or 0,
    )


def _differing(*compared: tuple[str, int, int]) -> list[Difference]:
    return [Difference(what, expected, found) for what, expected, found in compared if expected != found]


async def _held_by_nobody(balances: Balances, org: str) -> int:
    """Balance and holds cannot be read in one step; what is held by nobody is the same at every look."""
    looks: set[int] = set()
    for _ in range(LOOKS):
        reading = await balances.reading(org)
        looks.add(0 if reading is None else reading.held - await balances.held_by_calls(org))
        if 0 in looks or len(looks) > 1:
            return 0
    return looks.pop()
