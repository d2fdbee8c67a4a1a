"""The names of what is published in Redis for listeners.

tg:{pN}:live        every settlement of a partition, by the settle script
tg:live:alerts      alerts, as they are recorded
tg:live:f:<org>     calls in flight of one organisation, by every gateway, once a second while somebody subscribes
"""

from __future__ import annotations

from gateway.budgets.keyspace import decode, encode

ALERTS = "tg:live:alerts"
_FLIGHTS = "tg:live:f:"


def settlements(partition: int) -> str:
    return f"tg:{{p{partition}}}:live"


def flights(org: str) -> str:
    return _FLIGHTS + encode(org)


def org_of_flights(channel: str) -> str | None:
    """The organisation of a channel that `flights` named; None for any other."""
    return decode(channel.removeprefix(_FLIGHTS)) if channel.startswith(_FLIGHTS) else None
