"""limits.yaml: who may spend what, validated whole.

Amounts are written in credits (up to six decimals) and read as integer microcredits. Ids are unique where
they must tell things apart: orgs and keys (with their digests) in the file, teams and users within their org.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gateway.errors import ConfigError
from gateway.settings.config import describe, read_yaml

MICROCREDITS_MAX = 2**53
"""The greatest amount: the scripts in Redis compare amounts as doubles, which are exact up to here."""

_MICRO = 1_000_000


@lru_cache(maxsize=1024)
def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # not found is a KeyError; odd paths raise the others
        return False
    return True


def parse_microcredits(value: Any) -> int:
    """Credits as written in a file or on a command line, as exact microcredits. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("must be a number of credits")
    try:
        credits = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("must be a number of credits") from None
    if not credits.is_finite() or credits < 0:
        raise ValueError("must be a number of credits that is not negative")
    if credits * _MICRO > MICROCREDITS_MAX:
        raise ValueError(f"must be at most {MICROCREDITS_MAX / _MICRO:.6f} credits (2^53 microcredits)")
    amount = credits * _MICRO
    if amount != amount.to_integral_value():
        raise ValueError("has more than six decimals; a microcredit is the smallest amount")
    return int(amount)


def _zone(value: str) -> str:
    if not _is_zone(value):
        raise ValueError(f"{value!r} is not an IANA time zone such as Europe/Paris or UTC")
    return value


def _usd(value: Any) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("must be an amount of US dollars") from None
    if isinstance(value, bool) or not amount.is_finite() or amount <= 0:
        raise ValueError("must be a positive amount of US dollars")
    return amount


def _digest(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError("must be the SHA-256 of the key: 64 hexadecimal digits (never the key itself)")
    return value.lower()


def _instant(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+:-]{0,127}$")]
Microcredits = Annotated[int, BeforeValidator(parse_microcredits)]
OperationName = Literal["chat", "image", "audio", "embedding", "batch", "other"]
ModelPattern = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x20\x7f]+$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GraceSettings(_Section):
    """How far and how long a limit may be passed, once per window."""

    percent: Annotated[int, Field(ge=1, le=100)]
    minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)]


class LimitSettings(_Section):
    """At most ``credits`` in each ``window``, of all requests or of one operation or model."""

    window: Literal["day", "week", "month", "total"]
    credits: Microcredits
    """Given in credits, kept in microcredits."""
    operation: OperationName | None = None
    model: ModelPattern | None = None
    """May hold ``*`` for any run of characters."""
    grace: GraceSettings | None = None
    enforce: bool = True
    """false: what the limit would refuse is counted and logged, nothing is refused."""

    @property
    def identity(self) -> tuple[str, str | None, str | None]:
        return self.window, self.operation, self.model


class _Spender(_Section):
    id: Id
    limits: tuple[LimitSettings, ...] = ()
    allowed_models: tuple[ModelPattern, ...] | None = None
    """Absent: all. ``*`` stands for any run of characters."""
    allowed_operations: tuple[OperationName, ...] | None = None


class KeySettings(_Spender):
    sha256: Annotated[str, AfterValidator(_digest)]
    requests_per_minute: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """At most this many in any 60 seconds. 10,000 bounds the log that makes this exact."""
    open_calls: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    expires: Annotated[datetime, AfterValidator(_instant)] | None = None
    """From this instant on the key is refused; UTC unless it says otherwise."""
    trusted_attribution: bool = False


class UserSettings(_Spender):
    keys: tuple[KeySettings, ...] = ()


class TeamSettings(_Spender):
    users: tuple[UserSettings, ...] = ()
    keys: tuple[KeySettings, ...] = ()
    """Service keys, which belong to no user."""


class BalanceSettings(_Section):
    required: bool = False
    """true: prepaid; nothing runs without credits."""


class OrgSettings(_Spender):
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    week_start: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] = (
        "monday"
    )
    balance: BalanceSettings = BalanceSettings()
    teams: tuple[TeamSettings, ...] = ()
    users: tuple[UserSettings, ...] = ()
    keys: tuple[KeySettings, ...] = ()

    def spenders(self) -> Iterator[tuple[str, _Spender, str | None, str | None]]:
        """Everyone below this org, as (path in the file, settings, team id, user id)."""
        yield from _keys("", self.keys, None, None)
        yield from _users("", self.users, None)
        for index, team in enumerate(self.teams):
            path = f"teams.{index}."
            yield path[:-1], team, team.id, None
            yield from _keys(path, team.keys, team.id, None)
            yield from _users(path, team.users, team.id)


def _users(
    path: str, users: Sequence[UserSettings], team: str | None
) -> Iterator[tuple[str, _Spender, str | None, str | None]]:
    for index, user in enumerate(users):
        yield f"{path}users.{index}", user, team, user.id
        yield from _keys(f"{path}users.{index}.", user.keys, team, user.id)


def _keys(
    path: str, keys: Sequence[KeySettings], team: str | None, user: str | None
) -> Iterator[tuple[str, _Spender, str | None, str | None]]:
    for index, key in enumerate(keys):
        yield f"{path}keys.{index}", key, team, user


class LimitsFile(_Section):
    """The whole of limits.yaml."""

    credit_usd: Annotated[Decimal, BeforeValidator(_usd)] = Decimal("0.01")
    """What one credit is worth."""
    orgs: tuple[OrgSettings, ...] = ()


def load_limits(path: Path) -> LimitsFile:
    """Read and validate ``path``. Raises `ConfigError` with one line per problem: file, path inside it,
    reason.
    """
    document = read_yaml(path)
    try:
        limits = LimitsFile.model_validate(document)
    except ValidationError as error:
        raise ConfigError(describe(path, error)) from error
    problems = [f"{path}: {where}: {reason}" for where, reason in _duplicates(limits)]
    if problems:
        raise ConfigError("\n".join(problems))
    return limits


def _duplicates(limits: LimitsFile) -> Iterator[tuple[str, str]]:
    seen: dict[tuple[str, ...], str] = {}

    def taken(name: str, where: str, *identity: str) -> Iterator[tuple[str, str]]:
        first = seen.setdefault((name, *identity), where)
        if first != where:
            yield where, f"{name} is already used at {first}"

    for index, org in enumerate(limits.orgs):
        at = f"orgs.{index}"
        yield from taken(f"org id {org.id!r}", f"{at}.id")
        yield from _repeated_limits(at, org)
        for path, spender, _team, _user in org.spenders():
            where = f"{at}.{path}"
            if isinstance(spender, KeySettings):
                yield from taken(f"key id {spender.id!r}", f"{where}.id")
                yield from taken("this digest", f"{where}.sha256", spender.sha256)
            else:
                kind = "team" if isinstance(spender, TeamSettings) else "user"
                yield from taken(f"{kind} id {spender.id!r}", f"{where}.id", org.id)
            yield from _repeated_limits(where, spender)


def _repeated_limits(where: str, spender: _Spender) -> Iterator[tuple[str, str]]:
    seen: set[tuple[str, str | None, str | None]] = set()
    for index, limit in enumerate(spender.limits):
        if limit.identity in seen:
            yield f"{where}.limits.{index}", "repeats window, operation and model of an earlier limit"
        seen.add(limit.identity)
