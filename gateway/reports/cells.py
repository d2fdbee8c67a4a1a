"""Lines of CSV (RFC 4180) that spreadsheets show rather than run.

A text that begins like a formula gets an apostrophe in front, which spreadsheets take for "this is text". Numbers are
written by this software alone and stay numbers, negative ones too.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

_FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠|%")
Cell = str | int | bool | Decimal | date | datetime | None


def csv_line(cells: Iterable[Cell]) -> str:
    """One line with its line end. Decimals are written plainly, instants in RFC 3339."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([_written(cell) for cell in cells])
    return line.getvalue()


def safe(text: str) -> str:
    """``text`` as a spreadsheet shows it: never a formula."""
    return f"'{text}" if text[:1] in _FORMULA_STARTS and text else text


def _written(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return safe(cell)
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, Decimal):
        return f"{cell:f}"
    if isinstance(cell, datetime):
        return rfc3339(cell)
    return str(cell)


def rfc3339(instant: datetime) -> str:
    """An aware UTC instant as APIs write it: 2026-11-22T21:26:02Z, with fractions only where there are any."""
    return instant.isoformat().replace("+00:00", "Z")
