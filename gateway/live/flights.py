"""Calls that are still running, as gateways tell of them once a second while somebody listens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.live import wire

SHOWN_MAX = 200
"""The dearest calls of an organisation are listed; the sums are of all that were told."""
TOLD_FOR_S = 3.5
"""A gateway that has not told for so long is gone, or has nothing open any more."""


class Flights:
    """The latest word of every gateway that has calls of one organisation open."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, list[dict[str, Any]]]] = {}

    def take(self, gateway: str, calls: list[dict[str, Any]], now_s: float) -> None:
        self._told[gateway] = (now_s, calls)

    def end(self, request_id: str) -> None:
        """It was settled: what it came to is told already."""
        for _, calls in self._told.values():
            calls[:] = [call for call in calls if call["id"] != request_id]

    def now(self, now_s: float) -> list[dict[str, Any]]:
        self._told = {name: told for name, told in self._told.items() if now_s - told[0] < TOLD_FOR_S}
        return [call for _, calls in self._told.values() for call in calls]

    @staticmethod
    def said(calls: Sequence[Mapping[str, Any]], *, names: bool = True) -> dict[str, Any]:
        """The `in_flight` event of one audience; without users where it may not see ``names``."""
        dearest = sorted(calls, key=lambda call: -int(call["microcredits"]))[:SHOWN_MAX]
        return {
            "open": len(calls),
            "so_far": wire.amount(sum(call["microcredits"] for call in calls)),
            "held": wire.amount(sum(call["held"] for call in calls)),
            "estimated": True,
            "calls": [_said(call if names else {**call, "user": None}) for call in dearest],
        }


def _said(call: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: call[name] for name in ("id", "model", "operation", "team", "user", "key", "seconds")},
        "output_bytes": call["bytes"],
        "output_tokens": call["tokens"],
        "so_far": wire.amount(call["microcredits"]),
        "held": wire.amount(call["held"]),
        "estimated": True,
    }
