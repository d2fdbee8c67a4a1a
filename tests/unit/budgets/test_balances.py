"""Rungs: what is gone from an instant on, and what goes next."""

from __future__ import annotations

import pytest

from gateway.budgets.balances import BalanceReading, gone, next_expiry, parse_rungs

RUNGS = parse_rungs("1000:5 2000:70")


def test_no_rungs_are_no_text() -> None:
    assert parse_rungs("") == ()


@pytest.mark.parametrize(
    ("now_us", "lost", "following"),
    [(999, 0, (1000, 5)), (1000, 5, (2000, 70)), (1999, 5, (2000, 70)), (2000, 75, (None, 0))],
)
def test_a_rung_has_passed_at_its_instant(now_us: int, lost: int, following: tuple[int | None, int]) -> None:
    assert gone(RUNGS, now_us) == lost
    assert next_expiry(RUNGS, now_us) == following


def test_what_expired_is_not_left_and_what_is_held_is_not_available() -> None:
    reading = BalanceReading("acme", 100, 30, 20, None, 0, None, 1, 0, 1, expired=10)
    assert (reading.left, reading.available) == (60, 40)
