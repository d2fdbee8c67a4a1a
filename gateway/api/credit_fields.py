"""What requests about credits are made of: amounts, instants, reasons, ids."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, TypeVar

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema

from gateway.settings.limits import MICROCREDITS_MAX, PLAIN_AMOUNT, Microcredits, parse_plain_microcredits

YEAR_LEAST, YEAR_MOST = 2020, 2200
"""Before it nothing was recorded; beyond it Redis's scripts cannot count microseconds exactly."""

_MOST = MICROCREDITS_MAX // 1_000_000

DateOrInstant = TypeVar("DateOrInstant", bound=date)


def within_years(value: DateOrInstant) -> DateOrInstant:
    """Raises ValueError for what is so early or late that calendars and stores cannot count with it."""
    if not YEAR_LEAST <= value.year <= YEAR_MOST:
        raise ValueError(f"must be between the years {YEAR_LEAST} and {YEAR_MOST}")
    return value


def _utc(value: datetime) -> datetime:
    return within_years(value).astimezone(UTC)


def _signed(value: object) -> int:
    if isinstance(value, str) and value.startswith("-"):
        return -parse_plain_microcredits(value[1:])
    if isinstance(value, int | float) and value < 0:
        return -parse_plain_microcredits(-value)
    return parse_plain_microcredits(value)


Instant = Annotated[AwareDatetime, AfterValidator(_utc)]
Credits = Annotated[
    Microcredits, Field(description="How many credits, with up to six decimals.", examples=["500", "0.25"])
]
SignedCredits = Annotated[
    int,
    BeforeValidator(_signed),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": -_MOST, "maximum": _MOST},
                {"type": "string", "pattern": f"^-?{PLAIN_AMOUNT}$"},
            ]
        },
        mode="validation",
    ),
    Field(description="How many credits more or, with a minus sign, less.", examples=["-12.5"]),
]
Reason = Annotated[
    str,
    Field(
        min_length=1,
        max_length=500,
        pattern=r"^[^\x00]*[^\s\x00][^\x00]*$",
        description="Why; kept in the ledger and in the audit log.",
    ),
]
Note = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$", description="Why, if there is a reason.")]
TransactionId = Annotated[
    str, Field(pattern=r"^[1-9][0-9]{0,17}$", description="As the ledger names it.", examples=["4711"])
]
TopUpId = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$", examples=["topup-0123456789ab"])]
