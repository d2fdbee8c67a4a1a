"""Usage request by request, and the conversations that requests belong to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class UsageLine:
    """One request that was charged, or could have been. Token counts are inclusive."""

    request_id: str
    started_at: datetime
    finished_at: datetime
    team: str | None
    user: str | None
    key: str
    conversation: str | None
    end_user: str | None
    tags: dict[str, str]
    provider: str
    model: str
    model_served: str | None
    operation: str
    route: str
    tier: str | None
    streamed: bool
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    credits_microcredits: int
    usage_source: str
    status: str
    flags: tuple[str, ...]
    upstream_status: int | None
    first_byte_ms: int | None


@dataclass(frozen=True, slots=True)
class ConversationCost:
    """What one conversation cost in a period."""

    id: str
    title: str | None
    requests: int
    cost_microcredits: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as far as its reader may see it: only those requests are added up."""

    id: str
    title: str | None
    team: str | None
    user: str | None
    key: str
    first_at: datetime
    last_at: datetime | None
    """None: its requests are no longer kept."""
    requests: int
    input_tokens: int
    output_tokens: int
    credits_microcredits: int
