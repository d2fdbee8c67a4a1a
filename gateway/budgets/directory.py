"""Every org's rules, compiled from limits.yaml; immutable, so that a reload swaps one reference.

What budgets need of an org (`OrgRules`) travels as JSON: it is published to Redis so that all gateways decide
by the same version. Who may use which model is checked here, before anything is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import orjson

from gateway.budgets.levels import UNSAID, OrgAlerts
from gateway.budgets.model import Grace, Limit, Scope, Subject, Window
from gateway.budgets.selection import model_matches, selects
from gateway.budgets.windows import Calendar, Weekday
from gateway.errors import ConfigError, NotAllowed
from gateway.settings.limits import (
    KeySettings,
    LimitsFile,
    OrgSettings,
    SpenderSettings,
    TeamSettings,
    UserSettings,
)

_WINDOWS = tuple(Window)


class OrgRules:
    """The limits of one org and everyone in it, and the calendar that their windows follow."""

    def __init__(
        self,
        org: str,
        *,
        limits: Iterable[Limit] = (),
        time_zone: str = "UTC",
        week_start: Weekday = Weekday.MONDAY,
        balance_required: bool = False,
        alerts: OrgAlerts = UNSAID,
        version: int = 0,
        file_version: int = 0,
        managed_version: int = 0,
    ) -> None:
        self.org = org
        self.alerts = alerts
        self.calendar = Calendar(time_zone, week_start)
        self.balance_required = balance_required
        self.version = version
        """The highest version wins among gateways; milliseconds since the epoch when it comes from a file. 0: whatever
        is published wins."""
        self.file_version = file_version
        """Of limits.yaml, which decides between equal versions."""
        self.managed_version = managed_version
        """Of what was set by command, which decides between equal versions of one limits.yaml."""
        self.limits = tuple(limits)
        self.per_end_user = any(limit.each_end_user for limit in self.limits)
        self._by_scope: dict[tuple[Scope, str, bool], list[Limit]] = {}
        for limit in self.limits:
            place = limit.scope, limit.scope_id, limit.each_end_user
            self._by_scope.setdefault(place, []).append(limit)
        for group in self._by_scope.values():
            group.sort(key=_order)

    @property
    def rank(self) -> tuple[int, int, int]:
        """Which of two that are published stands: the higher one."""
        return self.version, self.file_version, self.managed_version

    def limits_for(self, subject: Subject, operation: str, model: str) -> tuple[Limit, ...]:
        """The limits that count a request: of the end user, then nearest scope first, shortest window first."""
        scopes = (
            (Scope.KEY, subject.key),
            (Scope.USER, subject.user),
            (Scope.TEAM, subject.team),
            (Scope.ORG, subject.org),
        )
        of_end_user = self.per_end_user and subject.end_user is not None
        return tuple(
            limit
            for each in ((True, False) if of_end_user else (False,))
            for scope, scope_id in scopes
            if scope_id is not None
            for limit in self._by_scope.get((scope, scope_id, each), ())
            if selects(limit.operation, limit.model, operation, model)
        )

    def with_limits(
        self,
        limits: Iterable[Limit],
        version: int,
        *,
        managed_version: int = 0,
        alerts: OrgAlerts | None = None,
    ) -> OrgRules:
        return OrgRules(
            self.org,
            limits=limits,
            time_zone=self.calendar.time_zone,
            week_start=self.calendar.week_start,
            balance_required=self.balance_required,
            alerts=self.alerts if alerts is None else alerts,
            version=version,
            file_version=self.file_version,
            managed_version=managed_version,
        )

    def to_json(self) -> bytes:
        """Everything but the version, in a canonical order: equal rules give equal bytes.

        What nobody set is left out, so that gateways that do not know of it can read it.
        """
        document: dict[str, object] = {
            "org": self.org,
            "time_zone": self.calendar.time_zone,
            "week_start": int(self.calendar.week_start),
            "balance_required": self.balance_required,
            "limits": sorted(map(_document, self.limits), key=repr),
        }
        if self.alerts != UNSAID:
            document["alerts"] = asdict(self.alerts)
        return orjson.dumps(document)

    @classmethod
    def from_json(
        cls, document: bytes, version: int, file_version: int = 0, managed_version: int = 0
    ) -> OrgRules:
        """Raises `ConfigError` on a document that `to_json` cannot have written."""
        try:
            read = orjson.loads(document)
            return cls(
                read["org"],
                limits=[_limit_from(entry) for entry in read["limits"]],
                time_zone=read["time_zone"],
                week_start=Weekday(read["week_start"]),
                balance_required=read["balance_required"],
                alerts=_alerts_from(read.get("alerts", {})),
                version=version,
                file_version=file_version,
                managed_version=managed_version,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"the published rules of an org cannot be read: {error!r}") from error


def _order(limit: Limit) -> tuple[int, str, str]:
    return _WINDOWS.index(limit.window), limit.operation or "", limit.model or ""


def _document(limit: Limit) -> dict[str, object]:
    document = asdict(limit)
    if limit.alerts is None:
        del document["alerts"]
    if not limit.each_end_user:
        del document["each_end_user"]
    return document


def _alerts_from(entry: Mapping[str, Any]) -> OrgAlerts:
    levels = entry.get("levels")
    return OrgAlerts(None if levels is None else tuple(levels), entry.get("low_balance"))


def _limit_from(entry: Mapping[str, object]) -> Limit:
    fields: dict[str, object] = dict(entry)
    grace = fields.pop("grace")
    alerts = fields.pop("alerts", None)
    return Limit(
        **{**fields, "scope": Scope(fields["scope"]), "window": Window(fields["window"])},  # type: ignore[arg-type]
        grace=Grace(**grace) if isinstance(grace, dict) else None,
        alerts=tuple(alerts) if isinstance(alerts, list) else None,
    )


@dataclass(frozen=True, slots=True)
class FileKey:
    """A key as limits.yaml declares it; the registry of keys is `gateway.identity`'s."""

    id: str
    sha256: str
    subject: Subject
    requests_per_minute: int | None
    open_calls_max: int | None
    expires_at: datetime | None
    trusted_attribution: bool
    allowed_models: tuple[str, ...] | None
    allowed_operations: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class _Allowed:
    models: tuple[str, ...] | None
    operations: tuple[str, ...] | None


class Managed(Protocol):
    """See `gateway.budgets.postgres_managed.ManagedOrg`."""

    @property
    def limits(self) -> tuple[Limit, ...]: ...

    @property
    def version(self) -> int: ...

    @property
    def made(self) -> MadeOrg | None: ...

    @property
    def teams(self) -> tuple[MadeTeam, ...]: ...

    @property
    def alerts(self) -> OrgAlerts: ...


@dataclass(frozen=True, slots=True)
class MadeTeam:
    """A team that was made by command rather than declared in limits.yaml. None: whatever the org allows."""

    team_id: str
    allowed_models: tuple[str, ...] | None = None
    allowed_operations: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class MadeOrg:
    """What was said of an org that was made by command."""

    time_zone: str = "UTC"
    week_start: Weekday = Weekday.MONDAY
    balance_required: bool = False
    allowed_models: tuple[str, ...] | None = None
    allowed_operations: tuple[str, ...] | None = None


def _identity(limit: Limit) -> tuple[object, ...]:
    return limit.identity


class Directory:
    """All of limits.yaml, ready for use."""

    def __init__(
        self,
        orgs: Mapping[str, OrgRules],
        *,
        keys: Iterable[FileKey] = (),
        credit_usd: Decimal = Decimal("0.01"),
        allowed: Mapping[tuple[str, Scope, str], _Allowed] | None = None,
        teams: Iterable[tuple[str, str]] = (),
        version: int = 0,
    ) -> None:
        self.version = version
        """Of the file, which says something of orgs that it does not name, too: that it limits them no more."""
        self.orgs = dict(orgs)
        self.teams = frozenset(teams)
        """(org, team) of those that limits.yaml declares."""
        self.keys = tuple(keys)
        self.credit_usd = credit_usd
        self._allowed = dict(allowed or {})

    @classmethod
    def compile(cls, file: LimitsFile, version: int) -> Directory:
        """``version``: the file's modification time in milliseconds, or anything else that only grows; 0 where it is
        not known what else counts."""
        compiled = _Compiler(version)
        for org in file.orgs:
            compiled.add(org)
        return cls(
            compiled.orgs,
            keys=compiled.keys,
            credit_usd=file.credit_usd,
            allowed=compiled.allowed,
            teams=compiled.teams,
            version=version,
        )

    def with_managed(self, managed: Mapping[str, Managed], onto: Directory | None = None) -> Directory:
        """The same with orgs, teams and limits made by command. What limits.yaml declares is not overruled by them.

        ``onto``: what this gave before; everything in it but of the orgs in ``managed`` stays as it is.
        """
        base = self if onto is None else onto
        orgs, allowed = dict(base.orgs), dict(base._allowed)
        for org, added in managed.items():
            rules = self.orgs.get(org) or _made_rules(org, added.made or MadeOrg(), self.version)
            if org not in self.orgs and added.made is not None:
                allowed[org, Scope.ORG, org] = _Allowed(
                    added.made.allowed_models, added.made.allowed_operations
                )
            for team in added.teams:
                if (org, team.team_id) not in self.teams:
                    lists = _Allowed(team.allowed_models, team.allowed_operations)
                    allowed[org, Scope.TEAM, team.team_id] = lists
            declared = {_identity(limit) for limit in rules.limits}
            extra = [limit for limit in added.limits if _identity(limit) not in declared]
            orgs[org] = rules.with_limits(
                (*rules.limits, *extra),
                # Never the file's own version, under which the file alone may have been published.
                max(rules.version + 1, added.version),
                managed_version=added.version,
                alerts=rules.alerts.or_else(added.alerts),
            )
        return Directory(
            orgs,
            keys=self.keys,
            credit_usd=self.credit_usd,
            allowed=allowed,
            teams=self.teams,
            version=self.version,
        )

    def rules(self, org: str) -> OrgRules:
        """An org that the file does not name has no limits; its spending is counted all the same."""
        return self.orgs.get(org) or OrgRules(org)

    def check_allowed(self, subject: Subject, operation: str, model: str) -> None:
        """Raises `NotAllowed` when org, team, user or key may not use this operation or model."""
        if not self._allowed:
            return
        for scope, scope_id in (
            (Scope.ORG, subject.org),
            (Scope.TEAM, subject.team),
            (Scope.USER, subject.user),
            (Scope.KEY, subject.key),
        ):
            found = self._allowed.get((subject.org, scope, scope_id or ""))
            if found is not None:
                check_allow_lists(
                    f"{scope.value} {scope_id}", found.models, found.operations, operation, model
                )


def check_allow_lists(
    who: str,
    models: Iterable[str] | None,
    operations: Iterable[str] | None,
    operation: str,
    model: str,
) -> None:
    """Raises `NotAllowed` naming ``who``. None allows everything; an empty list nothing."""
    if operations is not None and operation not in operations:
        raise NotAllowed(
            f"{who} may not use the operation {operation}; ask your administrator to allow it", param=None
        )
    if models is not None and not any(model_matches(allowed, model) for allowed in models):
        raise NotAllowed(f"{who} may not use this model; ask your administrator to allow it", param="model")


def _made_rules(org: str, made: MadeOrg, version: int) -> OrgRules:
    return OrgRules(
        org,
        time_zone=made.time_zone,
        week_start=made.week_start,
        balance_required=made.balance_required,
        version=version,
        file_version=version,
    )


class _Compiler:
    def __init__(self, version: int) -> None:
        self.version = version
        self.orgs: dict[str, OrgRules] = {}
        self.keys: list[FileKey] = []
        self.allowed: dict[tuple[str, Scope, str], _Allowed] = {}
        self.teams: set[tuple[str, str]] = set()

    def add(self, org: OrgSettings) -> None:
        limits = self._limits(Scope.ORG, org.id, org)
        self._allow(org.id, Scope.ORG, org.id, org.allowed_models, org.allowed_operations)
        for _path, spender, team, user in org.spenders():
            if isinstance(spender, KeySettings):
                scope = Scope.KEY
                self.keys.append(_file_key(spender, Subject(org.id, team, user, spender.id)))
            elif isinstance(spender, TeamSettings):
                scope = Scope.TEAM
                self.teams.add((org.id, spender.id))
            else:
                assert isinstance(spender, UserSettings)
                scope = Scope.USER
            limits += self._limits(scope, spender.id, spender)
            self._allow(org.id, scope, spender.id, spender.allowed_models, spender.allowed_operations)
        self.orgs[org.id] = OrgRules(
            org.id,
            limits=limits,
            time_zone=org.time_zone,
            week_start=Weekday[org.week_start.upper()],
            balance_required=org.balance.required,
            alerts=OrgAlerts(org.alerts.levels, org.alerts.low_balance),
            version=self.version,
            file_version=self.version,
        )

    def _limits(self, scope: Scope, scope_id: str, spender: SpenderSettings) -> list[Limit]:
        return [
            Limit(
                scope,
                scope_id,
                Window(limit.window),
                limit.credits,
                limit.operation,
                limit.model,
                Grace(limit.grace.percent, limit.grace.minutes) if limit.grace else None,
                limit.enforce,
                limit.alerts,
                each_end_user=each_end_user,
            )
            for limits, each_end_user in ((spender.limits, False), (spender.end_users.limits, True))
            for limit in limits
        ]

    def _allow(
        self,
        org: str,
        scope: Scope,
        scope_id: str,
        models: tuple[str, ...] | None,
        operations: tuple[str, ...] | None,
    ) -> None:
        if models is not None or operations is not None:
            self.allowed[org, scope, scope_id] = _Allowed(models, operations)


def _file_key(key: KeySettings, subject: Subject) -> FileKey:
    return FileKey(
        id=key.id,
        sha256=key.sha256,
        subject=subject,
        requests_per_minute=key.requests_per_minute,
        open_calls_max=key.open_calls,
        expires_at=key.expires,
        trusted_attribution=key.trusted_attribution,
        allowed_models=key.allowed_models,
        allowed_operations=key.allowed_operations,
    )
