"""A stream entry becomes a row: the two halves of a usage event and the facts of its settlement, merged.

Pure. What an entry cannot be made a row of raises `Unreadable`; such an entry must not hold up its
neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from pricing.record import record

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Partitions are made on demand, so an instant has to be one at which this software can have run.
STARTED_AT_LEAST = datetime(2020, 1, 1, tzinfo=UTC)
STARTED_AT_MOST = datetime(2100, 1, 1, tzinfo=UTC)


class Unreadable(ValueError):
    """This entry is not one that settle or the reaper writes."""


@record(frozen=True, slots=True)
class Entry:
    """One entry of the usage stream, as read: see `gateway.ledger.event` for the fields."""

    stream: str
    entry_id: str
    partition: int
    fields: Mapping[bytes, bytes]


class UsageRow(NamedTuple):
    """One row of usage_events; the field names are its columns, except for ``cost_femtousd``.

    ``cost_femtousd`` is decimal text of 1e-15 USD, which Postgres divides exactly; ``tags`` and ``buckets``
    are JSON text.
    """

    request_id: str
    started_at: datetime
    finished_at: datetime
    org_id: str
    team_id: str | None
    user_id: str | None
    key_id: str
    conversation_id: str | None
    end_user: str | None
    tags: str
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
    buckets: str
    price_ref: str | None
    cost_femtousd: str
    credits_microcredits: int
    held_microcredits: int
    usage_source: str
    status: str
    flags: list[str]
    upstream_status: int | None
    first_byte_ms: int | None
    provider_request_id: str | None
    gateway_id: str
    partition: int
    sequence: int
    from_balance: bool | None
    """Whether the prepaid balance was charged. None: a gateway of before the ledger did not say; the table decides."""
    end_user_trusted: bool = False
    """Whether the row counts towards the limits of ``end_user``."""


COLUMNS = UsageRow._fields


def instant(us: int) -> datetime:
    """The exact instant of microseconds since the epoch; raises OverflowError after the year 9999."""
    return EPOCH + timedelta(microseconds=us)


def microseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def merge(entry: Entry) -> UsageRow:
    """The row of one entry. An empty result is what the reaper writes: the hold was charged, nothing is
    known.
    """
    try:
        row = _row(entry)
    except KeyError as error:
        raise Unreadable(f"{error} is missing") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    if not STARTED_AT_LEAST <= row.started_at < STARTED_AT_MOST:
        raise Unreadable(f"started_at {row.started_at:%Y-%m-%d} is not a time at which this can have run")
    return row


def _row(entry: Entry) -> UsageRow:
    fields = entry.fields
    charged_microcredits = int(fields[b"c"])
    admission = _document(fields[b"a"])
    result = _document(fields[b"r"]) if fields.get(b"r") else _reaped(charged_microcredits, admission)
    return UsageRow(
        request_id=_text(fields[b"id"].decode()),
        started_at=instant(int(fields[b"t"])),
        finished_at=instant(int(fields[b"f"])),
        org_id=_text(admission["org_id"]),
        team_id=_optional(admission.get("team_id")),
        user_id=_optional(admission.get("user_id")),
        key_id=_text(admission["key_id"]),
        conversation_id=_optional(admission.get("conversation_id")),
        end_user=_optional(admission.get("end_user")),
        tags=_tags(admission.get("tags")),
        provider=_text(admission["provider"]),
        model=_text(admission["model"]),
        model_served=_optional(result.get("model_served")),
        operation=_text(admission["operation"]),
        route=_text(admission["route"]),
        tier=_optional(result.get("tier")),
        streamed=bool(admission["streamed"]),
        input_tokens=_count(result, "input_tokens"),
        cached_input_tokens=_count(result, "cached_input_tokens"),
        cache_write_tokens=_count(result, "cache_write_tokens"),
        output_tokens=_count(result, "output_tokens"),
        reasoning_tokens=_count(result, "reasoning_tokens"),
        buckets=_buckets(result.get("buckets")),
        price_ref=_optional(result.get("price_ref")),
        cost_femtousd=_femtousd(result.get("cost_femtousd")),
        credits_microcredits=charged_microcredits,
        held_microcredits=_count(result, "held_microcredits"),
        usage_source=_text(result["usage_source"]),
        status=_text(result["status"]),
        flags=[_text(flag) for flag in result.get("flags") or ()],
        upstream_status=_integer(result.get("upstream_status")),
        first_byte_ms=_integer(result.get("first_byte_ms")),
        provider_request_id=_optional(result.get("provider_request_id")),
        gateway_id=_text(admission["gateway_id"]),
        partition=entry.partition,
        sequence=int(fields[b"n"]),
        from_balance=fields[b"p"] == b"1" if b"p" in fields else None,
        end_user_trusted=admission.get("end_user_trusted") is True,
    )


def _reaped(charged_microcredits: int, admission: Mapping[str, Any]) -> dict[str, Any]:
    """What can be said of a request whose gateway died: the whole hold was charged, what was used is not known."""
    bound_microcredits = _count(admission, "bound_microcredits")
    bound_femtousd = int(admission.get("bound_femtousd") or 0)
    cost_femtousd = bound_femtousd * charged_microcredits // bound_microcredits if bound_microcredits else 0
    return {
        "usage_source": "bound",
        "status": "reaped",
        "held_microcredits": charged_microcredits,
        "cost_femtousd": str(cost_femtousd),
        "flags": [] if bound_microcredits else ["cost_unknown"],
    }


def _document(text: bytes) -> dict[str, Any]:
    document = orjson.loads(text)
    if not isinstance(document, dict):
        raise TypeError("a half of the event is not a JSON object")
    return document


def _text(value: object) -> str:
    """Postgres stores no NUL; a provider's id or a client's tag that holds one still has to be a row."""
    if type(value) is not str:
        raise TypeError(f"expected text, found {type(value).__name__}")
    return value if "\0" not in value else value.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _integer(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int:
        raise TypeError(f"expected an integer, found {type(value).__name__}")
    return value


def _count(result: Mapping[str, Any], name: str) -> int:
    value = result.get(name)
    return value if type(value) is int else _integer(value) or 0


def _femtousd(value: object) -> str:
    """A large cost travels as text, see `gateway.ledger.event.Result`."""
    return str(int(value)) if isinstance(value, str) else str(_integer(value) or 0)


def _tags(value: Mapping[str, str] | None) -> str:
    if not value:
        return "{}"
    return orjson.dumps({_text(name): _text(tag) for name, tag in dict(value).items()}).decode()


def _buckets(value: Mapping[str, int] | None) -> str:
    if not value:
        return "{}"
    return orjson.dumps({_text(name): _integer(count) for name, count in dict(value).items()}).decode()
