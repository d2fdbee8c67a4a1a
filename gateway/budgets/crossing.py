"""What the scripts announce on a partition's alert stream, read back.

An entry, field by field:
    e  level | grace | stop | low
    k  the key of the counter, or of the balance
    m  the limit (balances: its reference), microcredits
    s  settled (balances: what is left), microcredits
    t  when, microseconds since the epoch, by Redis TIME
    v  level: the levels reached, ascending, separated by ','; grace: the end of the grace (us);
       low: the amount that was called low
    f  1 if the limit is enforced, 0 if it only watches
    d  balances: granted so far, which tells one top-up from the next
    a  admission (JSON) of the call that did it; empty when it was none
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.budgets.keyspace import CounterName, PartitionKeys, decode


class CrossingKind(StrEnum):
    LEVEL = "level"
    """A sum has come to levels of its limit, or a balance has used them up."""
    GRACE = "grace"
    """A limit is being passed within its grace."""
    STOP = "stop"
    """A call was refused because what is settled leaves no room for it."""
    LOW = "low"
    """A balance is at or below the amount that its org calls low."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """One announcement. Amounts in microcredits."""

    kind: CrossingKind
    org: str
    counter: CounterName | None
    """None: the balance."""
    limit: int
    """Balances: the balance just after the last top-up (stop: all that was granted)."""
    settled: int
    """Balances: what is left."""
    at_us: int
    levels: tuple[int, ...] = ()
    grace_until_us: int | None = None
    low: int | None = None
    enforced: bool = True
    granted: int = 0
    admission: bytes = b""

    @property
    def epoch(self) -> int:
        """With org, counter, limit and level it names this crossing for ever: the window's start (us); for
        balances what was granted so far."""
        return self.granted if self.counter is None else self.counter.start_us

    @classmethod
    def parse(cls, keys: PartitionKeys, fields: Mapping[bytes, bytes]) -> Crossing:
        """Raises ValueError or KeyError on an entry that no script can have written."""
        kind, key, value = CrossingKind(fields[b"e"].decode()), fields[b"k"].decode(), fields[b"v"].decode()
        counter = None if key.startswith(keys.balance("")) else keys.counter_name(key)
        org = decode(key.removeprefix(keys.balance(""))) if counter is None else counter.org
        return cls(
            kind=kind,
            org=org,
            counter=counter,
            limit=int(fields[b"m"]),
            settled=int(fields[b"s"]),
            at_us=int(fields[b"t"]),
            levels=tuple(map(int, value.split(","))) if kind is CrossingKind.LEVEL else (),
            grace_until_us=int(value) if kind is CrossingKind.GRACE else None,
            low=int(value) if kind is CrossingKind.LOW else None,
            enforced=fields[b"f"] == b"1",
            granted=int(fields[b"d"] or 0),
            admission=fields[b"a"],
        )
