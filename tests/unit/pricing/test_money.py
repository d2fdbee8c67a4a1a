"""Amounts are exact in, exact out, and rounded up once in between."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.errors import BadPricing
from pricing.money import (
    AMOUNT_MAX_MICROCREDITS,
    FEMTOUSD_PER_USD,
    Exchange,
    femtousd_per_unit,
    format_credits,
    format_usd,
    parse_credits,
)


@pytest.mark.parametrize(
    ("written", "microcredits"),
    [
        ("0", 0),
        (0, 0),
        (100, 100_000_000),
        ("1.5", 1_500_000),
        (0.1, 100_000),
        (0.000001, 1),  # a float that YAML spells 1e-06
        ("1e3", 1_000_000_000),
        ("9007199254.740992", 2**53),
        (Decimal("2.50"), 2_500_000),
    ],
)
def test_credits_are_read_exactly(written: Any, microcredits: int) -> None:
    assert parse_credits(written) == microcredits


@pytest.mark.parametrize(
    "written",
    [
        -1,
        "-0.000001",
        "0.0000001",
        float("nan"),
        float("inf"),
        "nan",
        "1,5",
        "",
        "1_000",
        True,
        None,
        [1],
        "٣",
        "9007199254.740993",
        10**30,
        "1e99",
        "1e999999999",
        "0x10",
    ],
)
def test_what_is_not_an_amount_is_refused(written: Any) -> None:
    with pytest.raises(BadPricing):
        parse_credits(written)


@pytest.mark.parametrize(
    ("microcredits", "text"),
    [
        (0, "0"),
        (1, "0.000001"),
        (1_500_000, "1.5"),
        (10_000_000, "10"),
        (-250_000, "-0.25"),
        (2**53, "9007199254.740992"),
    ],
)
def test_credits_are_written_plainly(microcredits: int, text: str) -> None:
    assert format_credits(microcredits) == text


@given(st.integers(0, AMOUNT_MAX_MICROCREDITS))
def test_writing_and_reading_credits_loses_nothing(microcredits: int) -> None:
    assert parse_credits(format_credits(microcredits)) == microcredits


def test_usd_is_written_plainly() -> None:
    assert format_usd(2_500_000_000) == "0.0000025"
    assert format_usd(FEMTOUSD_PER_USD) == "1"


def test_a_price_finer_than_the_scale_is_rounded_up() -> None:
    assert femtousd_per_unit(Decimal("2.5"), 1_000_000) == 2_500_000_000
    assert femtousd_per_unit(Decimal("0.0000000001"), 1_000_000) == 1
    assert femtousd_per_unit(Decimal("0.36"), 3_600_000) == 100_000_000


costs = st.integers(0, 10**24)
exchanges = st.builds(
    Exchange,
    credit_usd=st.decimals("0.000001", "1000", places=6),
    markup=st.decimals("0.01", "100", places=4),
)


@given(exchanges, costs)
def test_a_cost_is_rounded_up_to_the_next_microcredit_and_no_further(exchange: Exchange, cost: int) -> None:
    exact = (
        Fraction(cost, FEMTOUSD_PER_USD) * Fraction(exchange.markup) / Fraction(exchange.credit_usd) * 10**6
    )
    charged = exchange.microcredits(cost)
    assert type(charged) is int
    assert exact <= charged < exact + 1


@given(exchanges, costs, costs)
def test_rounding_once_never_costs_more_than_rounding_twice(exchange: Exchange, a: int, b: int) -> None:
    assert exchange.microcredits(a + b) <= exchange.microcredits(a) + exchange.microcredits(b)


@given(exchanges, st.integers(0, AMOUNT_MAX_MICROCREDITS))
def test_the_way_back_is_the_greatest_cost_within_the_amount(exchange: Exchange, amount: int) -> None:
    cost = exchange.femtousd(amount)
    assert exchange.microcredits(cost) <= amount < exchange.microcredits(cost + 1)


@pytest.mark.parametrize("value", ["0", "-1", "NaN", "Infinity"])
def test_an_exchange_without_a_worth_is_refused(value: str) -> None:
    with pytest.raises(BadPricing, match="greater than zero"):
        Exchange(Decimal(value), Decimal(1))
    with pytest.raises(BadPricing, match="greater than zero"):
        Exchange(Decimal(1), Decimal(value))
