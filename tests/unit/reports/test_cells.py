"""What people open in a spreadsheet is shown and never run, and reads back as it was written."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gateway.reports.cells import csv_line


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+1+1", "-2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "%0A=1", "|x"]
)
def test_a_text_that_a_spreadsheet_would_run_is_marked_as_text(text: str) -> None:
    [row] = csv.reader(io.StringIO(csv_line([text, "plain"]), newline=""))
    assert row == [f"'{text}", "plain"]


def test_numbers_stay_numbers_and_texts_with_signs_inside_stay_as_they_are() -> None:
    line = csv_line([Decimal("-1.500000"), -3, "a=b", "", None, True, datetime(2026, 11, 22, 10, tzinfo=UTC)])
    assert line == "-1.500000,-3,a=b,,,true,2026-11-22T10:00:00Z\r\n"


def test_quotes_commas_and_line_ends_survive() -> None:
    cells = ['say "hi"', "a,b", "two\nlines", "Überraschung"]
    assert next(csv.reader(io.StringIO(csv_line(cells), newline=""))) == cells
