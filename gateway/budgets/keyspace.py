"""The names of everything in Redis. All keys of an org share the hash tag ``{pN}``, so a script sees one
slot.

    tg:partitions             how many partitions there are; fixed at the first start
    tg:{pN}:r:<org>           hash  published rules: v version, d document, e edition, and per limit identity
                                    i:<identity> the instant (us) since when that limit has been counted
    tg:{pN}:c:<counter>       hash  s settled, h held, o open holds, g grace start (us), b counted since (us),
                                    u "token time_us" while its base is still being read from the ledger,
                                    a "level@limit@next@g": the highest level announced, of which limit, the sum of
                                    the next, and g once its grace was announced; z the limit whose first refusal
                                    was announced
    tg:{pN}:ci                zset  every counter key by the end of its window (ms; +inf for total)
    tg:{pN}:h                 hash  request id -> hold record (see hold_1.lua)
    tg:{pN}:t                 zset  request id by the hold's deadline (us)
    tg:{pN}:d:<request id>    str   how the hold ended: settled | released | reaped
    tg:{pN}:k                 hash  key reference -> open calls
    tg:{pN}:m:<org>:<key>     list  instants (us) of the key's latest admissions, newest last
    tg:{pN}:x                 set   references of revoked keys
    tg:{pN}:b:<org>           hash  balance: granted, spent, held, x rungs (see rungs_1.lua), i the latest change of
                                    the ledger in it, b once it is built from the ledger, u "token time_us" while
                                    it is being built, ref the balance just after the last top-up
                                    (absent: granted), a "level@ref@next@low" and z as in counters, of ref and granted
    tg:{pN}:n                 str   sequence of settlements; starts at Redis's clock in us, so it never goes back
    tg:{pN}:u                 stream of usage events (see gateway.ledger.event)
    tg:{pN}:al                stream of announcements: levels reached, grace begun (see gateway.budgets.crossing)
    tg:{pN}:live              channel: each settled event as it happens (see gateway.budgets.settled_message)

A counter's name is org|scope|scope_id|operation|model|window|start_us, each part percent-encoded; that of an end
user has the end user's name as an eighth part.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from gateway.budgets.model import Limit, Scope, Window

PARTITIONS_KEY = "tg:partitions"


def encode(part: str) -> str:
    """``part`` without blanks, control characters, braces and ``|``; `decode` is the inverse."""
    return quote(part, safe="@+.,*:/-_~", errors="surrogatepass")


def decode(part: str) -> str:
    return unquote(part, errors="surrogatepass")


def key_reference(org: str, key: str) -> str:
    """How a client's key is named where keys of several orgs meet (open calls, revocations)."""
    return f"{encode(org)}:{encode(key)}"


def partition_of(org: str, partitions: int) -> int:
    """Which partition holds ``org``: the same on every gateway and in every release."""
    return int.from_bytes(hashlib.sha256(org.encode()).digest()[:8]) % partitions


def stream_key(partition: int) -> str:
    return f"tg:{{p{partition}}}:u"


@dataclass(frozen=True, slots=True)
class CounterName:
    """What a counter counts. ``operation``, ``model`` and ``end_user`` None mean all."""

    org: str
    scope: Scope
    scope_id: str
    operation: str | None
    model: str | None
    window: Window
    start_us: int
    end_user: str | None = None

    def encoded(self) -> str:
        parts = (self.org, self.scope.value, self.scope_id, self.operation or "", self.model or "")
        own = () if self.end_user is None else (encode(self.end_user),)
        return "|".join([*map(encode, parts), self.window.value, str(self.start_us), *own])

    @classmethod
    def decoded(cls, name: str) -> CounterName:
        org, scope, scope_id, operation, model, window, start, *end_user = name.split("|")
        return cls(
            decode(org),
            Scope(scope),
            decode(scope_id),
            decode(operation) or None,
            decode(model) or None,
            Window(window),
            int(start),
            decode(end_user[0]) if end_user else None,
        )

    def identity(self, time_zone: str, week_start: int) -> str:
        """Of the limit that this counts for, as `limit_identity` tells it."""
        if self == CounterName(self.org, Scope.ORG, self.org, None, None, Window.TOTAL, 0):
            return ORG_TOTAL_IDENTITY
        each = self.end_user is not None
        limit = Limit(
            self.scope, self.scope_id, self.window, 0, self.operation, self.model, each_end_user=each
        )
        return limit_identity(limit, time_zone, week_start)


ORG_TOTAL_IDENTITY = "total"


def limit_identity(limit: Limit, time_zone: str, week_start: int) -> str:
    """What must stay the same for a limit's counters to go on. Another calendar means other windows."""
    calendar = "" if limit.window is Window.TOTAL else f"{encode(time_zone)}|{week_start}"
    parts = (limit.scope.value, limit.scope_id, limit.operation or "", limit.model or "", limit.window.value)
    return "|".join([*map(encode, parts), calendar, *(["each"] if limit.each_end_user else [])])


@dataclass(frozen=True, slots=True)
class PartitionKeys:
    """The keys of one partition that do not depend on org or request."""

    number: int
    prefix: str
    holds: str
    deadlines: str
    open_calls: str
    revoked: str
    sequence: str
    stream: str
    counter_index: str
    alerts: str
    live: str

    def rules(self, org: str) -> str:
        return f"{self.prefix}r:{encode(org)}"

    def balance(self, org: str) -> str:
        return f"{self.prefix}b:{encode(org)}"

    def admissions(self, org: str, key: str) -> str:
        return f"{self.prefix}m:{encode(org)}:{encode(key)}"

    def done(self, request_id: str) -> str:
        return f"{self.prefix}d:{request_id}"

    def counter(self, name: CounterName) -> str:
        return f"{self.prefix}c:{name.encoded()}"

    def counter_name(self, key: str) -> CounterName:
        return CounterName.decoded(key.removeprefix(f"{self.prefix}c:"))


@lru_cache(maxsize=16384)
def partition_keys(partition: int) -> PartitionKeys:
    prefix = f"tg:{{p{partition}}}:"
    return PartitionKeys(
        number=partition,
        prefix=prefix,
        holds=f"{prefix}h",
        deadlines=f"{prefix}t",
        open_calls=f"{prefix}k",
        revoked=f"{prefix}x",
        sequence=f"{prefix}n",
        stream=stream_key(partition),
        counter_index=f"{prefix}ci",
        alerts=f"{prefix}al",
        live=f"{prefix}live",
    )
