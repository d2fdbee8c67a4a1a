"""What has to hold of one call that was made directly and again through a gateway."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tests.support.gateway import UPSTREAM_KEYS, GatewayProcess, digest
from tests.support.simulator import SimulatorProcess
from tests.support.simulator_calls import Call, Target, Wire, price_of

IMAGE_USD = Decimal("0.04")
"""The price that the generated pricing.yaml puts on one dall-e-3 image."""


def direct(simulator: SimulatorProcess) -> Target:
    return Target(simulator.url, "any-key")


def through(gateway: GatewayProcess, label: str) -> Target:
    """The call's label is its conversation, too, so that its rows can be found."""
    return Target(gateway.base, gateway.key, {"x-tollgate-conversation": label})


def assert_recorded(
    call: Call, label: str, simulator: SimulatorProcess, gateway: GatewayProcess, wire: Wire
) -> None:
    """The provider was asked twice the same, and there is one row, exact against the provider's own count."""
    asked_directly, asked_through = simulator.requests(label, at_least=2)
    assert asked_directly["count"] == asked_through["count"]
    assert asked_through["outcome"] == "completed"
    assert asked_through["auth_sha256"] == digest(UPSTREAM_KEYS[call.provider])
    assert not [name for name in asked_through["header_names"] if name.startswith("x-tollgate")]
    [request_id] = wire.request_ids
    [row] = gateway.rows(conversation=label)
    assert row["request_id"] == request_id
    assert_row_exact(call, row, asked_through)


def assert_row_exact(call: Call, row: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
    count = entry["count"]
    counted = "provider" if entry["usage_reported"] else "counted"
    expected = {
        "org_id": "acme",
        "team_id": "research",
        "user_id": "ada",
        "key_id": "main",
        "provider": call.provider,
        "model": call.model,
        "operation": call.operation,
        "streamed": call.streamed,
        "status": "ok",
        "usage_source": counted,
        "provider_request_id": entry["id"] or None,
        **{name: count[name] for name in TOKEN_COLUMNS},
        "cost_usd": price_of(call, count) if entry["usage_reported"] else IMAGE_USD * count["images"],
    }
    assert {name: row[name] for name in expected} == expected


TOKEN_COLUMNS = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)
