"""Proves that what counters hold, and how many calls they share it among, is what open calls are and hold, while calls
come and go.

Counters and holds cannot be read in one step, so a difference may be a call that came or went in between.
Such a difference changes from look to look; credits held by nobody stay the same. Only what stays is
reported.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from gateway.budgets.model import Scope, Subject
from gateway.budgets.ports import CounterReading
from gateway.budgets.selection import selects

LOOKS = 3


@dataclass(frozen=True, slots=True)
class Held:
    """What a counter should say by the open holds that belong to it."""

    microcredits: int
    calls: int | None
    """None: some hold nothing, so that one that came or went cannot be told from a wrong count."""


class OpenHold(Protocol):
    """See `gateway.budgets.redis_record.HoldRecord`."""

    @property
    def amount(self) -> int: ...
    @property
    def started_at_us(self) -> int: ...
    @property
    def subject(self) -> Subject: ...
    @property
    def operation(self) -> str: ...
    @property
    def model(self) -> str: ...


Identity = tuple[str, str, str, str | None, str | None, str, int, str | None]


async def held_by_nobody(
    counters: Callable[[], AsyncIterator[CounterReading]], holds: Callable[[], AsyncIterator[OpenHold]]
) -> dict[Identity, tuple[CounterReading, Held]]:
    """Counters that differ from open holds: the latest reading, and what it should say."""
    lasting: dict[Identity, tuple[CounterReading, Held]] | None = None
    for _ in range(LOOKS):
        readings = [reading async for reading in counters()]
        off = differing(readings, [hold async for hold in holds()])
        lasting = (
            off
            if lasting is None
            else {
                identity: found
                for identity, found in off.items()
                if identity in lasting and _drift(lasting[identity]) == _drift(found)
            }
        )
        if not lasting:
            break
    return lasting or {}


def differing(
    readings: Iterable[CounterReading], holds: Iterable[OpenHold]
) -> dict[Identity, tuple[CounterReading, Held]]:
    """What one look shows: by counter, its reading and the holds that belong to it."""
    of_org: dict[str, list[OpenHold]] = {}
    for hold in holds:
        of_org.setdefault(hold.subject.org, []).append(hold)
    found: dict[Identity, tuple[CounterReading, Held]] = {}
    for reading in readings:
        amounts = [hold.amount for hold in of_org.get(reading.org, ()) if _belongs(hold, reading)]
        expected = Held(sum(amounts), len(amounts) if all(amounts) else None)
        if _drift((reading, expected)) != (0, 0) and not reading.unseeded:
            found[_identity(reading)] = (reading, expected)
    return found


def _drift(found: tuple[CounterReading, Held]) -> tuple[int, int]:
    reading, expected = found
    calls = 0 if expected.calls is None else reading.open_holds - expected.calls
    return reading.held - expected.microcredits, calls


def _belongs(hold: OpenHold, reading: CounterReading) -> bool:
    subject = hold.subject
    scope_id = {
        Scope.ORG: subject.org,
        Scope.TEAM: subject.team,
        Scope.USER: subject.user,
        Scope.KEY: subject.key,
    }[reading.scope]
    return (
        scope_id == reading.scope_id
        and reading.end_user in (None, subject.end_user)
        and reading.start_us <= hold.started_at_us
        and (reading.end_us is None or hold.started_at_us < reading.end_us)
        and selects(reading.operation, reading.model, hold.operation, hold.model)
    )


def _identity(reading: CounterReading) -> Identity:
    return (
        reading.org,
        reading.scope,
        reading.scope_id,
        reading.operation,
        reading.model,
        reading.window,
        reading.start_us,
        reading.end_user,
    )
