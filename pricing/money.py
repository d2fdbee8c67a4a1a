"""Credits, USD and the one rounding between them.

Costs are integer femto-USD (1e-15 USD), balances integer microcredits (1e-6 credit). `Decimal` appears where
people write numbers (configuration, catalogue) and is gone before the first request: an `Exchange` is two
integers by then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from pricing.errors import BadPricing

MICROCREDITS_PER_CREDIT = 1_000_000
FEMTOUSD_PER_USD = 10**15
AMOUNT_MAX_MICROCREDITS = 2**53
"""Lua keeps numbers as doubles: above this an amount would silently lose its last digits."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,32}(\.[0-9]{1,32})?([eE][+-]?[0-9]{1,2})?", re.ASCII)


def decimal(value: object) -> Decimal:
    """A number as people write it in YAML (text, int or float), exactly. Raises `BadPricing`.

    A float is taken at its shortest decimal spelling: 0.1 in a file means a tenth.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise BadPricing(f"must be a number, got {value!r}")
    text = str(value).strip()
    if not _NUMBER.fullmatch(text):
        raise BadPricing(f"must be a plain finite number, got {value!r}")
    return Decimal(text)


def parse_credits(value: object) -> int:
    """Microcredits from an amount of credits. Raises `BadPricing` for what cannot be held exactly."""
    credit_amount = decimal(value)
    if credit_amount < 0:
        raise BadPricing(f"must not be negative, got {value!r}")
    microcredits = Fraction(credit_amount) * MICROCREDITS_PER_CREDIT
    if microcredits.denominator != 1:
        raise BadPricing(f"must have at most 6 decimals, got {value!r}")
    if microcredits > AMOUNT_MAX_MICROCREDITS:
        raise BadPricing(f"must be at most {format_credits(AMOUNT_MAX_MICROCREDITS)} credits, got {value!r}")
    return int(microcredits)


def format_credits(microcredits: int) -> str:
    """Credits as a plain decimal without trailing zeros: 1500000 -> "1.5", 0 -> "0"."""
    whole, rest = divmod(abs(microcredits), MICROCREDITS_PER_CREDIT)
    sign = "-" if microcredits < 0 else ""
    if rest == 0:
        return f"{sign}{whole}"
    decimals = str(MICROCREDITS_PER_CREDIT + rest)[1:].rstrip(
        "0"
    )  # cheaper than a format: every reply has two
    return f"{sign}{whole}.{decimals}"


def format_usd(femtousd: int) -> str:
    """USD as a plain decimal without trailing zeros: 2500000000 -> "0.0000025"."""
    whole, rest = divmod(abs(femtousd), FEMTOUSD_PER_USD)
    sign = "-" if femtousd < 0 else ""
    return f"{sign}{whole}.{rest:015d}".rstrip("0").rstrip(".")


def femtousd_per_unit(usd: Decimal, units: int) -> int:
    """The price of one unit, when ``usd`` buys ``units`` of them.

    Exact for any price per million tokens with up to nine decimals; anything finer is rounded up, so that
    rounding never undercharges.
    """
    return -(-(Fraction(usd) * FEMTOUSD_PER_USD) // units)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a credit is worth and what is put on top; compiled to one integer ratio.

    ``credit_usd``: USD that one credit stands for. ``markup``: factor on the provider's cost (1: none).
    """

    credit_usd: Decimal
    markup: Decimal
    _numerator: int = field(init=False, repr=False, compare=False)
    _denominator: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("credit_usd", "markup"):
            value: Decimal = getattr(self, name)
            if not value.is_finite() or value <= 0:
                raise BadPricing(f"{name} must be greater than zero, got {value}")
        ratio = Fraction(self.markup) / Fraction(self.credit_usd) * MICROCREDITS_PER_CREDIT / FEMTOUSD_PER_USD
        object.__setattr__(self, "_numerator", ratio.numerator)
        object.__setattr__(self, "_denominator", ratio.denominator)

    @property
    def ratio(self) -> tuple[int, int]:
        """Microcredits per femto-USD of cost, markup included, as (numerator, denominator): for sums in SQL."""
        return self._numerator, self._denominator

    def microcredits(self, cost_femtousd: int) -> int:
        """What a cost is charged as. The only rounding there is: up, once, at the end of a request."""
        return -(-cost_femtousd * self._numerator // self._denominator)

    def femtousd(self, microcredits: int) -> int:
        """The greatest cost that is charged as no more than ``microcredits``."""
        return microcredits * self._denominator // self._numerator
