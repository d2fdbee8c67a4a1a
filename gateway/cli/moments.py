"""Dates and instants on the command line, as `argparse` takes them: what is wrong is said by what would be right."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, date, datetime

from gateway.api.credit_fields import YEAR_LEAST, YEAR_MOST, DateOrInstant

_MONTH = re.compile(r"20[2-9][0-9]-(0[1-9]|1[0-2])")


def day(text: str) -> date:
    try:
        return _within_years(date.fromisoformat(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2026-11-22") from None


def month(text: str) -> str:
    """As it is written: its days are those of an organisation's calendar."""
    if not _MONTH.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a month like 2026-11")
    return text


def instant(text: str) -> datetime:
    """UTC unless it says otherwise."""
    try:
        at = _within_years(datetime.fromisoformat(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time like 2026-11-22T08:00:00Z") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _within_years(value: DateOrInstant) -> DateOrInstant:
    """The years that the API takes: others cannot be counted exactly everywhere, nor be shown in every zone."""
    if not YEAR_LEAST <= value.year <= YEAR_MOST:
        raise argparse.ArgumentTypeError(f"must be between the years {YEAR_LEAST} and {YEAR_MOST}")
    return value
