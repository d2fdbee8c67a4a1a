"""What a provider says that a call cost, as integer femto-USD (1e-15 USD)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

FEMTOUSD_PER_TICK = 100_000
"""xAI's tick is 1e-10 USD (xai_sdk/cost.py)."""


class CostField(StrEnum):
    """Where a kind of provider reports its charge, inside ``usage``."""

    COST = "cost"
    """USD, as a number (OpenRouter) or as an object with ``total_cost`` (Perplexity)."""
    TICKS = "cost_in_usd_ticks"
    """xAI."""


def reported_cost(usage: Mapping[str, Any], field: CostField | None) -> int | None:
    """The charge in femto-USD, rounded up; None if there is none or the kind is not one that reports it."""
    if field is None:
        return None
    value = usage.get(field.value)
    if isinstance(value, Mapping):
        value = value.get("total_cost")
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if field is CostField.TICKS:
        return value * FEMTOUSD_PER_TICK if isinstance(value, int) and value >= 0 else None
    try:
        # JSON numbers come as floats; their shortest decimal form is what the provider wrote
        exact = Decimal(str(value)).scaleb(15).to_integral_value(ROUND_CEILING)
    except InvalidOperation:
        return None
    return int(exact) if exact.is_finite() and exact >= 0 else None
