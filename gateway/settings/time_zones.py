"""Time zones that Python and Postgres read alike.

Days are cut in both: limits, balances and the edges of reports here, days and hours of usage there.
"""

from __future__ import annotations

from functools import cache
from zoneinfo import available_timezones

_OF_ONE_MACHINE = frozenset({"Factory", "localtime"})
"""Files beside the zones that mean something else, or nothing, on the machine of Postgres."""
_PLACES = {"CET": "Europe/Brussels", "EET": "Europe/Athens", "MET": "Europe/Brussels", "WET": "Europe/Lisbon"}
"""Zones with daylight saving time that ``AT TIME ZONE`` takes for abbreviations of a fixed offset, and the places that
IANA makes them other names of (tzdata 2024b, ``backward``)."""


def is_zone(name: str) -> bool:
    """Whether IANA knows ``name``. Not so what files of zones hold besides: ``posix/``, ``right/``, ``localtime``."""
    return name in _zones()


def in_postgres(name: str) -> str:
    """What Postgres is to be told for a zone, so that its days are those of Python."""
    return _PLACES.get(name, name)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - _OF_ONE_MACHINE)
