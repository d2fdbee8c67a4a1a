"""What the settle script publishes of each settlement on its partition's live channel.

A channel forgets: whoever must see everything reads the usage stream. Nine lines, the first seven without line
breaks, as the admission's JSON has none either:
    request id, started (us), finished (us), sequence, cost, '1' if the balance was charged, balance left or '',
    admission, result
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SettledMessage:
    """One settlement as it happened. Amounts in microcredits, instants in microseconds of Redis TIME."""

    request_id: str
    started_at_us: int
    finished_at_us: int
    sequence: int
    """Of its partition; grows by one with each settlement."""
    cost: int
    balance_charged: bool
    balance_left: int | None
    """Granted less spent, holds not counted; None when the balance was not charged."""
    admission: bytes
    """JSON of `gateway.ledger.event.Admission`."""
    result: bytes
    """JSON of `gateway.ledger.event.Result`; empty when the reaper settled."""

    @classmethod
    def parse(cls, message: bytes) -> SettledMessage:
        """Raises ValueError on what the script cannot have published."""
        request_id, started, finished, sequence, cost, charged, left, admission, result = message.split(
            b"\n", 8
        )
        return cls(
            request_id=request_id.decode(),
            started_at_us=int(started),
            finished_at_us=int(finished),
            sequence=int(sequence),
            cost=int(cost),
            balance_charged=charged == b"1",
            balance_left=int(left) if left else None,
            admission=admission,
            result=result,
        )
