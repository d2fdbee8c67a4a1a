"""Settlements and reaches for tests of live events."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.identity.roles import Principal, Reach, Role
from gateway.live.settlement import Settlement
from gateway.live.wire import event

ORG = "acme"
WHOLE = Reach(ORG)
PRINCIPAL = Principal("user:acme/olga", frozenset({Role.OWNER}), ORG, "olga")


def of_user(user: str) -> Reach:
    return Reach(ORG, None, frozenset({user}), frozenset())


def us(text: str) -> int:
    """Microseconds of an instant in UTC, e.g. ``2026-03-29 00:30``."""
    at = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(at.timestamp()) * 1_000_000


def settlement(
    sequence: int, microcredits: int = 10, *, user: str = "ada", team: str = "research", at_us: int = 0
) -> Settlement:
    return Settlement(
        request_id=f"r{sequence}",
        sequence=sequence,
        org=ORG,
        team=team,
        user=user,
        key=f"{user}-key",
        started_at_us=at_us,
        microcredits=microcredits,
        wire=event(b"usage", {"id": f"r{sequence}", "user": user}, sequence),
        nameless=event(b"usage", {"id": f"r{sequence}", "user": None}, sequence),
    )
