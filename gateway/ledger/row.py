"""A stream entry becomes a row: the two halves of a usage event and the facts of its settlement, merged.

Pure. What an entry cannot be made a row of raises `Unreadable`; such an entry must not hold up its
neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from types import NoneType
from typing import Any, NamedTuple, cast

import orjson

from pricing.record import record

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Partitions are made on demand, so an instant has to be one at which this software can have run.
STARTED_AT_LEAST = datetime(2020, 1, 1, tzinfo=UTC)
STARTED_AT_MOST = datetime(2100, 1, 1, tzinfo=UTC)
NUL_STANDS_AS = "\N{REPLACEMENT CHARACTER}"

# Members of the two halves, in the order in which `_row` takes them apart. Those that may be missing come second.
_ADMISSION_TEXTS = ("org_id", "key_id", "provider", "model", "operation", "route", "gateway_id")
_ADMISSION_TEXTS_IF_ANY = ("team_id", "user_id", "conversation_id", "end_user")
_RESULT_TEXTS = ("usage_source", "status")
_RESULT_TEXTS_IF_ANY = ("model_served", "tier", "price_ref", "provider_request_id")
_RESULT_INTEGERS = (
    "upstream_status", "first_byte_ms",
    "input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "held_microcredits",
)  # fmt: skip
_ADMISSION = itemgetter(*_ADMISSION_TEXTS, *_ADMISSION_TEXTS_IF_ANY)
_RESULT = itemgetter(*_RESULT_TEXTS, *_RESULT_TEXTS_IF_ANY, *_RESULT_INTEGERS)
_TEXT: frozenset[type] = frozenset({str})
_TEXT_OR_NONE: frozenset[type] = frozenset({str, NoneType})
_INTEGER_OR_NONE: frozenset[type] = frozenset({int, NoneType})


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
    # By column and by place: so many named arguments are dear, and a row is made for every request.
    admitted = _members(_ADMISSION, admission, _ADMISSION_TEXTS, _ADMISSION_TEXTS_IF_ANY)
    came_to = _members(_RESULT, result, _RESULT_TEXTS, (*_RESULT_TEXTS_IF_ANY, *_RESULT_INTEGERS))
    _check(_TEXT, (*admitted[:7], *came_to[:2]))
    _check(_TEXT_OR_NONE, (*admitted[7:], *came_to[2:6]))
    _check(_INTEGER_OR_NONE, came_to[6:])
    (
        org_id, key_id, provider, model, operation, route, gateway_id, team_id, user_id, conversation_id, end_user,
    ) = admitted  # fmt: skip
    (
        usage_source, status, model_served, tier, price_ref, provider_request_id, upstream_status, first_byte_ms,
        input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, held_microcredits,
    ) = came_to  # fmt: skip
    request_id = fields[b"id"].decode().replace("\0", NUL_STANDS_AS)
    started_at, finished_at = instant(int(fields[b"t"])), instant(int(fields[b"f"]))
    tags, buckets = _tags(admission.get("tags")), _buckets(result.get("buckets"))
    streamed = bool(admission["streamed"])
    cost_femtousd = _femtousd(result.get("cost_femtousd"))
    flags = _flags(result.get("flags"))
    sequence = int(fields[b"n"])
    from_balance = fields[b"p"] == b"1" if b"p" in fields else None
    end_user_trusted = admission.get("end_user_trusted") is True
    return UsageRow._make((
        request_id, started_at, finished_at, org_id, team_id, user_id, key_id, conversation_id, end_user, tags,
        provider, model, model_served, operation, route, tier, streamed, input_tokens or 0, cached_input_tokens or 0,
        cache_write_tokens or 0, output_tokens or 0, reasoning_tokens or 0, buckets, price_ref, cost_femtousd,
        charged_microcredits, held_microcredits or 0, usage_source, status, flags, upstream_status, first_byte_ms,
        provider_request_id, gateway_id, entry.partition, sequence, from_balance, end_user_trusted,
    ))  # fmt: skip


def _reaped(charged_microcredits: int, admission: Mapping[str, Any]) -> dict[str, Any]:
    """What can be said of a request whose gateway died: the whole hold was charged, what was used is not known."""
    bound_microcredits = _integer(admission.get("bound_microcredits")) or 0
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
    return _without_nul(document) if text.find(b"\\u0000") >= 0 else document


def _without_nul(value: Any) -> Any:
    """Postgres stores no NUL; a provider's id or a client's tag that holds one still has to be a row."""
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    return value.replace("\0", NUL_STANDS_AS) if isinstance(value, str) else value


# Types are looked at for many members at once: a call for each would cost more than the row.


def _members(
    at_once: Callable[[Mapping[str, Any]], tuple[Any, ...]],
    holder: Mapping[str, Any],
    required: tuple[str, ...],
    optional: tuple[str, ...],
) -> tuple[Any, ...]:
    """What ``at_once`` takes, or member by member where one is missing. Raises KeyError if it is a required one."""
    try:
        return at_once(holder)
    except KeyError:
        return (*[holder[name] for name in required], *map(holder.get, optional))


def _check(kinds: frozenset[type], values: tuple[object, ...]) -> None:
    if not kinds.issuperset(map(type, values)):
        raise TypeError(f"expected {'integers' if int in kinds else 'texts'}, found {_kinds(values)}")


def _texts(values: tuple[object, ...]) -> tuple[str, ...]:
    _check(_TEXT, values)
    return cast("tuple[str, ...]", values)


def _kinds(values: tuple[object, ...]) -> str:
    return ", ".join(type(value).__name__ for value in values)


def _integer(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int:
        raise TypeError(f"expected an integer, found {type(value).__name__}")
    return value


def _femtousd(value: object) -> str:
    """A large cost travels as text, see `gateway.ledger.event.Result`."""
    return str(int(value)) if isinstance(value, str) else str(_integer(value) or 0)


def _tags(value: Mapping[str, str] | None) -> str:
    if not value:
        return "{}"
    if type(value) is not dict:
        raise TypeError("tags are not a JSON object")
    _texts(tuple(value.values()))
    return orjson.dumps(value).decode()


def _flags(value: list[str] | None) -> list[str]:
    if not value:
        return []
    if type(value) is not list:
        raise TypeError("flags are not a JSON array")
    _texts(tuple(value))
    return value


def _buckets(value: Mapping[str, int] | None) -> str:
    if not value:
        return "{}"
    if type(value) is not dict or not _INTEGER_OR_NONE.issuperset(map(type, value.values())):
        raise TypeError("buckets are not a JSON object of integers")
    return orjson.dumps(value).decode()
