"""limits.yaml: who may spend what, validated whole.

Amounts are written in credits (up to six decimals) and read as integer microcredits. Ids are unique where
they must tell things apart: orgs and keys (with their digests) in the file, teams and users within their org.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema, field_validator

from gateway.settings.document import read_document
from gateway.settings.problems import Problems, violations
from gateway.settings.section import Section
from gateway.settings.time_zones import is_zone
from pricing.catalogue import RESOURCE_PATH

MICROCREDITS_MAX = 2**53
"""The greatest amount: the scripts in Redis compare amounts as doubles, which are exact up to here."""

_MICRO = 1_000_000
PLAIN_AMOUNT = r"[0-9]{1,10}(\.[0-9]{1,6})?"
# What YAML takes for text although people mean a number: 1e6.
_WRITTEN_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


def parse_microcredits(value: Any) -> int:
    """Credits as written in a file, as exact microcredits. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("must be a number of credits")
    if isinstance(value, str) and not _WRITTEN_NUMBER.fullmatch(value):
        raise ValueError("must be a number of credits")
    credits = Decimal(str(value))
    if not credits.is_finite() or credits < 0:
        raise ValueError("must be a number of credits that is not negative")
    if credits > Decimal(MICROCREDITS_MAX) / _MICRO:  # first: the product may be more than a Decimal holds
        raise ValueError(f"must be at most {MICROCREDITS_MAX / _MICRO:.6f} credits (2^53 microcredits)")
    amount = credits * _MICRO
    if amount != amount.to_integral_value():
        raise ValueError("has more than six decimals; a microcredit is the smallest amount")
    return int(amount)


def parse_plain_microcredits(value: Any) -> int:
    """As `parse_microcredits`, but of text only what the API says that it takes."""
    if isinstance(value, str) and not re.fullmatch(PLAIN_AMOUNT, value):
        raise ValueError("must be written like 12.5: digits, and after a point at most six more")
    return parse_microcredits(value)


def _zone(value: str) -> str:
    if not is_zone(value):
        raise ValueError(f"{value!r} is not an IANA time zone; write a place such as Europe/Paris, or UTC")
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
TimeZone = Annotated[str, AfterValidator(_zone)]
WeekStart = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WrittenMicrocredits = Annotated[int, BeforeValidator(parse_microcredits)]
Microcredits = Annotated[
    int,
    BeforeValidator(parse_plain_microcredits),
    WithJsonSchema(
        {
            "description": "Credits, with up to six decimals; as text where a number would not be exact.",
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": MICROCREDITS_MAX // _MICRO},
                {"type": "string", "pattern": f"^{PLAIN_AMOUNT}$"},
            ],
            "examples": ["12.5"],
        },
        mode="validation",
    ),
]
OperationName = Literal["chat", "image", "audio", "embedding", "batch", "other"]


def _tells_models_apart(pattern: str) -> str:
    """Models are compared without Google's resource path: a wildcard right behind it would pick those of everybody, and
    one in place of it none."""
    lowered = pattern.lower()
    path = RESOURCE_PATH.match(lowered)
    if path is None and lowered.startswith("publishers") and "*" in lowered:
        raise ValueError(
            f"{pattern!r} would pick no model; write their names, without the path, e.g. 'gemini-*'"
        )
    if path is not None and pattern.startswith("*", path.end()):
        raise ValueError(
            f"{pattern!r} would pick models of all providers; write their names, without the path, e.g. 'gemini-*'"
        )
    return pattern


ModelText = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x20\x7f]+$")]
ModelPattern = Annotated[ModelText, AfterValidator(_tells_models_apart)]


def _ascending(levels: tuple[int, ...]) -> tuple[int, ...]:
    if list(levels) != sorted(set(levels)):
        raise ValueError("must ascend, each level once, e.g. [50, 80, 100]")
    return levels


AlertLevels = Annotated[
    tuple[Annotated[int, Field(ge=1, le=200)], ...], Field(max_length=10), AfterValidator(_ascending)
]
"""Percent of a limit at which people are told; above 100 for what grace lets pass. Empty: nobody is told."""


class GraceSettings(Section):
    """How far and how long a limit may be passed, once per window."""

    percent: Annotated[int, Field(ge=1, le=100)]
    minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)]


class LimitSettings(Section):
    """At most ``credits`` in each ``window``, of all requests or of one operation or model."""

    window: Literal["day", "week", "month", "total"]
    credits: WrittenMicrocredits
    """Given in credits, kept in microcredits."""
    operation: OperationName | None = None
    model: ModelPattern | None = None
    """May hold ``*`` for any run of characters."""
    grace: GraceSettings | None = None
    enforce: bool = True
    """false: what the limit would refuse is counted and logged, nothing is refused."""
    alerts: AlertLevels | None = None
    """Absent: the levels of the organisation."""


def _forgettable(value: Any) -> Any:
    if value == "total":
        raise ValueError(
            "an end user has no total limit, since it would have to be kept for ever: use month, week or day"
        )
    return value


class EndUserLimitSettings(LimitSettings):
    """A limit of each end user apart. Its counters are forgotten some days after their window."""

    window: Annotated[Literal["day", "week", "month"], BeforeValidator(_forgettable)]

    @field_validator("alerts")
    @classmethod
    def _unannounced(cls, value: AlertLevels | None) -> None:
        if value is not None:
            raise ValueError("the levels of end users are not announced; take this out")


class EndUserSettings(Section):
    """End users are whom ``x-tollgate-user`` names on keys with ``trusted_attribution``; nobody declares them."""

    limits: tuple[EndUserLimitSettings, ...] = ()


class SpenderSettings(Section):
    """What orgs, teams, users and keys have in common."""

    id: Id
    limits: tuple[LimitSettings, ...] = ()
    end_users: EndUserSettings = EndUserSettings()
    allowed_models: tuple[ModelPattern, ...] | None = None
    """Absent: all. ``*`` stands for any run of characters."""
    allowed_operations: tuple[OperationName, ...] | None = None


class KeySettings(SpenderSettings):
    sha256: Annotated[str, AfterValidator(_digest)]
    requests_per_minute: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """At most this many in any 60 seconds. 10,000 bounds the log that makes this exact."""
    open_calls: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    expires: Annotated[datetime, AfterValidator(_instant)] | None = None
    """From this instant on the key is refused; UTC unless it says otherwise."""
    trusted_attribution: bool = False
    """Its ``x-tollgate-user`` is believed: limits of end users count whom it names."""
    access: Literal["calls", "role"] = "calls"
    """What it may ask the API for: ``calls``, to see what is its user's own; ``role``, what its user's role allows."""


class UserSettings(SpenderSettings):
    role: Literal["owner", "billing", "auditor", "lead", "member"] = "member"
    """In the organisation; ``lead``: of the team that the user is listed in."""
    keys: tuple[KeySettings, ...] = ()


class TeamSettings(SpenderSettings):
    users: tuple[UserSettings, ...] = ()
    keys: tuple[KeySettings, ...] = ()
    """Service keys, which belong to no user."""


class BalanceSettings(Section):
    required: bool = False
    """true: prepaid; nothing runs without credits."""


class OrgAlertSettings(Section):
    """When the people of an organisation are told of what it spends."""

    levels: AlertLevels | None = None
    """For limits that name no levels of their own. Absent: those of tollgate.yaml."""
    low_balance: WrittenMicrocredits | None = None
    """Given in credits, kept in microcredits: a balance at or below this is announced."""


class OrgSettings(SpenderSettings):
    time_zone: TimeZone = "UTC"
    week_start: WeekStart = "monday"
    balance: BalanceSettings = BalanceSettings()
    events_kept_months: Annotated[int, Field(ge=1, le=1200)] | None = None
    """Single requests are removed when so many whole months have passed; their sums stay. Absent: never."""
    alerts: OrgAlertSettings = OrgAlertSettings()
    teams: tuple[TeamSettings, ...] = ()
    users: tuple[UserSettings, ...] = ()
    keys: tuple[KeySettings, ...] = ()

    @field_validator("users")
    @classmethod
    def _leads_have_teams(cls, value: tuple[UserSettings, ...]) -> tuple[UserSettings, ...]:
        for user in value:
            if user.role == "lead":
                raise ValueError(f"{user.id}: only a user inside a team can have the role lead")
        return value

    def spenders(self) -> Iterator[tuple[str, SpenderSettings, str | None, str | None]]:
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
) -> Iterator[tuple[str, SpenderSettings, str | None, str | None]]:
    for index, user in enumerate(users):
        yield f"{path}users.{index}", user, team, user.id
        yield from _keys(f"{path}users.{index}.", user.keys, team, user.id)


def _keys(
    path: str, keys: Sequence[KeySettings], team: str | None, user: str | None
) -> Iterator[tuple[str, SpenderSettings, str | None, str | None]]:
    for index, key in enumerate(keys):
        yield f"{path}keys.{index}", key, team, user


class LimitsFile(Section):
    """The whole of limits.yaml."""

    credit_usd: Annotated[Decimal, BeforeValidator(_usd)] = Decimal("0.01")
    """What one credit is worth."""
    orgs: tuple[OrgSettings, ...] = ()


def read_limits(path: Path, problems: Problems) -> LimitsFile | None:
    """Read and validate ``path``; None if anything is wrong with it, all of which goes to ``problems``."""
    before = len(problems)
    document = read_document(path, problems)
    if document is None:
        return None
    limits = None
    try:
        limits = LimitsFile.model_validate(document.values)
    except ValidationError as error:
        for where, _, reason in violations(LimitsFile, error):
            if where not in document.unset:
                problems.add(path, ".".join(where), reason)
    for at, reason in _duplicates(document.values):
        problems.add(path, at, reason)
    return limits if len(problems) == before else None


def load_limits(path: Path) -> LimitsFile:
    """As `read_limits`. Raises `ConfigError` with one line for each problem."""
    problems = Problems()
    limits = read_limits(path, problems)
    problems.raise_any()
    assert limits is not None
    return limits


# ------------------------------------------------------------------ what is given twice

_Node = Mapping[str, Any]
"""What the file says, before it is known to be valid: repetitions are told beside everything else."""


def _duplicates(document: _Node) -> Iterator[tuple[str, str]]:
    seen: dict[tuple[str, ...], str] = {}

    def taken(name: str, where: str, *identity: str) -> Iterator[tuple[str, str]]:
        first = seen.setdefault((name, *identity), where)
        if first != where:
            yield where, f"{name} is already used at {first}"

    for where, kind, org, node in _spenders(document):
        if isinstance(own := node.get("id"), str):
            # Teams and users are told apart within their org; orgs and keys everywhere.
            yield from taken(
                f"{kind} id {own!r}", f"{where}.id", *([org] if kind in ("team", "user") else [])
            )
        if kind == "key" and isinstance(digest := node.get("sha256"), str):
            yield from taken("this digest", f"{where}.sha256", digest.lower())
        yield from _repeated_limits(where, node)


def _spenders(document: _Node) -> Iterator[tuple[str, str, str, _Node]]:
    """Everyone whom the file names, as (path, kind, path of the org, what it says of them)."""
    for org, node in _entries(document, "orgs", ""):
        yield org, "org", org, node
        for where, kind, inner in _below(node, org):
            yield where, kind, org, inner


def _below(node: _Node, path: str) -> Iterator[tuple[str, str, _Node]]:
    for name in ("keys", "users", "teams"):
        for where, inner in _entries(node, name, f"{path}."):
            yield where, name[:-1], inner
            yield from _below(inner, where)


def _entries(node: _Node, name: str, path: str) -> Iterator[tuple[str, _Node]]:
    entries = node.get(name)
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, Mapping):
            yield f"{path}{name}.{index}", entry


def _repeated_limits(path: str, node: _Node) -> Iterator[tuple[str, str]]:
    end_users = node.get("end_users")
    for holder, at in (
        (node, path),
        (end_users if isinstance(end_users, Mapping) else {}, f"{path}.end_users"),
    ):
        seen: set[tuple[str, str, str]] = set()
        for where, limit in _entries(holder, "limits", f"{at}."):
            identity = (str(limit.get("window")), str(limit.get("operation")), str(limit.get("model")))
            if identity in seen:
                yield where, "repeats window, operation and model of an earlier limit"
            seen.add(identity)
