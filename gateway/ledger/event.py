"""The usage event: the record of one admitted request, in the two halves in which it comes to be known.

`Admission` is known when the hold is taken and travels with it; `Result` is known at settlement. In Redis
they are two JSON documents in one stream entry; in Postgres one row.

Neither has slots: of what has none, orjson finds all members in one place instead of asking for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field

import orjson

from pricing.record import record


@record(frozen=True, slots=False)
class Admission:
    request_id: str
    org_id: str
    team_id: str | None
    user_id: str | None
    key_id: str
    provider: str
    """The provider's name in the configuration."""
    model: str
    operation: str
    route: str
    streamed: bool
    gateway_id: str
    conversation_id: str | None = None
    end_user: str | None = None
    end_user_trusted: bool = False
    """The request counts towards the limits of ``end_user``."""
    tags: Mapping[str, str] = field(default_factory=dict)
    bound_microcredits: int = 0
    """The most that the call could be charged, and what that is before markup: the ratio by which a row that the
    reaper charges tells its cost."""
    bound_femtousd: str = "0"

    def to_json(self) -> bytes:
        return orjson.dumps(self)


@record(frozen=True, slots=False)
class Result:
    """Counts are inclusive, as in the `usage` view; ``buckets`` keeps the exclusive ones other than zero."""

    finished_at_us: int
    usage_source: str
    """provider | counted | bound | none"""
    status: str
    """ok | upstream_error | client_gone | cut | reaped | pending"""
    upstream_status: int | None = None
    model_served: str | None = None
    tier: str | None = None
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    buckets: Mapping[str, int] = field(default_factory=dict)
    cost_femtousd: int = 0
    """Before markup, as priced here (or as the provider reported it, where it does)."""
    held_microcredits: int = 0
    price_ref: str | None = None
    """Which price was used: catalogue or override, model matched, effective date."""
    provider_request_id: str | None = None
    first_byte_ms: int | None = None
    flags: tuple[str, ...] = ()
    """Remarks that someone should be able to find: overrun, unpriced_unit, unknown_tier, clamped, grace,
    shadow...
    """

    def to_json(self) -> bytes:
        try:
            return orjson.dumps(self)
        except TypeError:
            # Beyond 64 bits (some 18,446 USD) the cost travels as text. And what a provider said may hold half of a
            # surrogate pair, which no UTF-8 can say: a settlement must not fail for that.
            said = {name: _sayable(value) for name, value in asdict(self).items()}
            return orjson.dumps({**said, "cost_femtousd": str(self.cost_femtousd)})


def _sayable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return tuple(map(_sayable, value)) if isinstance(value, tuple) else value


# The stream entry that settle (or the reaper) writes, field by field:
#   id  request_id
#   t   started_at, microseconds since the epoch (Redis TIME at admission)
#   f   finished_at, microseconds, by Redis TIME
#   n   sequence number of the settlement within its partition
#   c   credits charged, microcredits
#   a   Admission as JSON
#   r   Result as JSON; empty when the reaper wrote the entry (source `bound`, status `reaped`)
#   p   '1' if the prepaid balance was charged, else empty; a gateway of before the ledger leaves it out
STREAM_FIELDS = ("id", "t", "f", "n", "c", "a", "r", "p")
