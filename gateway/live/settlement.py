"""One settled request as listeners are told of it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.ledger.row import UsageRow, microseconds
from gateway.live import wire


@dataclass(frozen=True, slots=True)
class Settlement:
    """Encoded once, however many listen."""

    request_id: str
    sequence: int
    """Its place in the partition: the id of its event."""
    org: str
    team: str | None
    user: str | None
    key: str
    started_at_us: int
    microcredits: int
    wire: bytes
    """The whole `usage` event."""
    nameless: bytes
    """The same without its user."""

    def told(self, names: bool) -> bytes:
        """To those who may see people by ``names``, or may not."""
        return self.wire if names else self.nameless

    @classmethod
    def of(cls, row: UsageRow) -> Settlement:
        said = _said(row)
        return cls(
            request_id=row.request_id,
            sequence=row.sequence,
            org=row.org_id,
            team=row.team_id,
            user=row.user_id,
            key=row.key_id,
            started_at_us=microseconds(row.started_at),
            microcredits=row.credits_microcredits,
            wire=wire.event(b"usage", said, row.sequence),
            nameless=wire.event(b"usage", {**said, "user": None}, row.sequence),
        )


def _said(row: UsageRow) -> dict[str, object]:
    return {
        "id": row.request_id,
        "started_at": wire.instant(row.started_at),
        "finished_at": wire.instant(row.finished_at),
        "provider": row.provider,
        "model": row.model,
        "operation": row.operation,
        "team": row.team_id,
        "user": row.user_id,
        "key": row.key_id,
        "conversation": row.conversation_id,
        "tokens": {
            "input": row.input_tokens,
            "cached_input": row.cached_input_tokens,
            "cache_write": row.cache_write_tokens,
            "output": row.output_tokens,
            "reasoning": row.reasoning_tokens,
        },
        "charged": wire.amount(row.credits_microcredits),
        "source": row.usage_source,
        "status": row.status,
    }
