"""Amounts and limits as people read them."""

from __future__ import annotations

from gateway.budgets.model import Limit, Window

_MICRO = 1_000_000
_ADJECTIVE = {Window.DAY: "daily ", Window.WEEK: "weekly ", Window.MONTH: "monthly ", Window.TOTAL: "total "}


def credits_text(microcredits: int) -> str:
    """Microcredits as people write credits: ``12.5``, ``-0.000001``, ``200``."""
    sign, whole = ("-" if microcredits < 0 else ""), abs(microcredits)
    decimals = f"{whole % _MICRO:06d}".rstrip("0")
    return f"{sign}{whole // _MICRO}{'.' + decimals if decimals else ''}"


def limit_text(limit: Limit, end_user: str | None = None) -> str:
    """Which limit, in words: ``daily limit of user ada (operation image)``, ``daily limit of end user x of team y``."""
    selectors = [
        f"{name} {value}"
        for name, value in (("operation", limit.operation), ("model", limit.model))
        if value is not None
    ]
    only = f" ({', '.join(selectors)})" if selectors else ""
    whose = f"{limit.scope.value} {limit.scope_id}"
    if limit.each_end_user:
        whose = f"each end user of {whose}" if end_user is None else f"end user {end_user} of {whose}"
    return f"{_ADJECTIVE[limit.window]}limit of {whose}{only}"
