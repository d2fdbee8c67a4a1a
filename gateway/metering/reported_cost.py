"""What a provider says that a call cost, as integer femto-USD (1e-15 USD)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

FEMTOUSD_PER_TICK = 100_000
"""xAI's tick is 1e-10 USD (xai_sdk/cost.py)."""

_USD_MAX = 1_000_000
"""No single call costs this much: what says so is not a charge."""


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
    if field is CostField.TICKS:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            return None
        return value * FEMTOUSD_PER_TICK
    if isinstance(value, Mapping):
        value = value.get("total_cost")
    charge = _usd(value)
    if charge is not None and usage.get("is_byok") is True:
        # OpenRouter with the customer's own upstream key: ``cost`` is only its fee
        details = usage.get("cost_details")
        upstream = _usd(details.get("upstream_inference_cost")) if isinstance(details, Mapping) else None
        charge = None if upstream is None else charge + upstream
    return None if charge is None else int(charge.scaleb(15).to_integral_value(ROUND_CEILING))


def _usd(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        # JSON numbers come as floats; their shortest decimal form is what the provider wrote
        usd = Decimal(str(value))
    except InvalidOperation:
        return None
    return usd if usd.is_finite() and 0 <= usd < _USD_MAX else None
