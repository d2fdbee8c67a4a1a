"""Which counters a request is charged to, worked out once per kind of request and window.

The same subject, operation and model meet the same counters until a window ends or the rules change, so the
plan is cached; a request then costs one dictionary lookup. The org's total comes last in every plan, limited
or not: it is what reconcile compares with the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.budgets.directory import OrgRules
from gateway.budgets.keyspace import (
    ORG_TOTAL_IDENTITY,
    CounterName,
    PartitionKeys,
    encode,
    key_reference,
    limit_identity,
)
from gateway.budgets.levels import DEFAULT_LEVELS, Ladder
from gateway.budgets.model import Limit, Scope, Subject, Window
from gateway.budgets.rules import Cap
from gateway.budgets.selection import selects
from gateway.budgets.windows import Interval
from gateway.budgets.wording import limit_text

CHARGES_MAX = 20_000
"""Charges in the plans that are kept at once, some 2 KB each with what is packed of them: 40 MB. Models and end users
are named by clients, so the cache must be bounded; it is emptied when full.
"""
COUNTER_RETENTION_MS = 9 * 24 * 3_600_000
"""How long a counter outlives its window: longer than any hold (48 hours) and than the marks of ended
ones.
"""
END_USER_RETENTION_MS = 3 * 24 * 3_600_000
"""That of an end user's counter, of which there may be very many: longer than any hold. What is settled after it
went is on the stream and in rows, from which a counter is made again."""


def retention_ms(name: CounterName) -> int:
    """How long a counter outlives its window."""
    return COUNTER_RETENTION_MS if name.end_user is None else END_USER_RETENTION_MS


@dataclass(frozen=True, slots=True)
class Charge:
    """One counter that a request is charged to."""

    name: CounterName
    key: str
    limit: Limit | None
    """None: counted without a limit (the org's total)."""
    cap: Cap | None
    interval: Interval
    since_us: int
    """Since when this limit is counted: a counter that is missing in a window begun earlier must be
    seeded.
    """
    ladder: Ladder | None = None
    """The levels that are announced; None: none."""

    @property
    def text(self) -> str:
        """The limit in words: ``daily limit of user ada (operation image)``."""
        if self.limit is None:
            return f"total of org {self.name.org}"
        return limit_text(self.limit, self.name.end_user)

    @property
    def expiry_ms(self) -> int | None:
        end_us = self.interval.end_us
        return None if end_us is None else end_us // 1000 + retention_ms(self.name)


@dataclass(frozen=True, slots=True)
class Plan:
    subject: Subject
    operation: str
    model: str
    charges: tuple[Charge, ...]
    valid: Interval
    """The instants in which these windows hold."""
    balance_required: bool
    subject_line: str
    """Org, team, user, key, operation and model, encoded and separated by blanks, as hold records keep
    them.
    """
    key_reference: str
    counter_keys: tuple[str, ...]
    balance_key: str
    hold_keys: tuple[str, ...]
    hold_arguments: tuple[str, ...]
    """What the hold script is told after the request's own arguments."""
    resolve_arguments: tuple[str, ...]
    balance_alerts: tuple[str, str, str]
    """What the resolve script is told of the balance's alerts: lowest level, levels, low amount; '' = none."""
    forms: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What a store packed for calls by this plan, so that it does so once."""


class Planner:
    """Plans by the rules of one org, as they were published."""

    def __init__(
        self,
        rules: OrgRules,
        since_us: Mapping[str, int],
        keys: PartitionKeys,
        *,
        edition: str = "",
        hold_ttl_us: int = 0,
        alert_levels: tuple[int, ...] = DEFAULT_LEVELS,
    ) -> None:
        self.rules = rules
        self.keys = keys
        self._edition = edition
        self._since_us = since_us
        self._hold_ttl_us = hold_ttl_us
        levels = rules.alerts.levels
        self.alert_levels = alert_levels if levels is None else levels
        self._plans: dict[tuple[Subject, str, str], Plan] = {}
        self._charges = 0

    def plan(self, subject: Subject, operation: str, model: str, now_us: int) -> Plan:
        """The plan for a request admitted at ``now_us``."""
        if subject.end_user is not None and not self.rules.per_end_user:
            subject = subject._replace(end_user=None)
        known = self._plans.get((subject, operation, model))
        if known is not None and known.valid.start_us <= now_us and now_us < (known.valid.end_us or 0):
            return known
        made = self._make(subject, operation, model, now_us)
        self._charges += len(made.charges) - (len(known.charges) if known is not None else 0)
        if self._charges > CHARGES_MAX:
            self._plans.clear()
            self._charges = len(made.charges)
        self._plans[subject, operation, model] = made
        return made

    def _make(self, subject: Subject, operation: str, model: str, now_us: int) -> Plan:
        windows = self.rules.calendar.around(now_us)
        charges = [
            self._charge(subject, limit, windows.of(limit.window))
            for limit in self.rules.limits_for(subject, operation, model)
        ]
        total = CounterName(subject.org, Scope.ORG, subject.org, None, None, Window.TOTAL, 0)
        totals = [charge for charge in charges if charge.name == total]
        rest = [charge for charge in charges if charge.name != total]
        charges = [*rest, *(totals or [self._total(total, windows.total)])]
        parts = (subject.org, subject.team or "", subject.user or "", subject.key, operation, model)
        reference = key_reference(subject.org, subject.key)
        return Plan(
            subject=subject,
            operation=operation,
            model=model,
            charges=tuple(charges),
            valid=windows.day,
            balance_required=self.rules.balance_required,
            subject_line=" ".join(map(encode, parts)),
            key_reference=reference,
            counter_keys=tuple(charge.key for charge in charges),
            balance_key=self.keys.balance(subject.org),
            hold_keys=self._hold_keys(subject, charges),
            hold_arguments=self._hold_arguments(
                windows.day, reference, " ".join(map(encode, parts)), charges
            ),
            resolve_arguments=resolve_arguments(charges),
            balance_alerts=self._balance_alerts(),
        )

    def _charge(self, subject: Subject, limit: Limit, interval: Interval) -> Charge:
        identity = limit_identity(limit, self.rules.calendar.time_zone, self.rules.calendar.week_start)
        name = CounterName(
            subject.org,
            limit.scope,
            limit.scope_id,
            limit.operation,
            limit.model,
            limit.window,
            interval.start_us,
            subject.end_user if limit.each_end_user else None,
        )
        since_us = self._since_us[ORG_TOTAL_IDENTITY if _is_org_total(limit) else identity]
        ladder = Ladder.of(limit, self.alert_levels)
        return Charge(name, self.keys.counter(name), limit, Cap.of(limit), interval, since_us, ladder)

    def _total(self, name: CounterName, interval: Interval) -> Charge:
        since_us = self._since_us[ORG_TOTAL_IDENTITY]
        return Charge(name, self.keys.counter(name), None, None, interval, since_us)

    def _balance_alerts(self) -> tuple[str, str, str]:
        levels, low = self.alert_levels, self.rules.alerts.low_balance
        return (
            str(min(levels)) if levels else "",
            ",".join(map(str, levels)),
            "" if low is None else str(low),
        )

    def _hold_keys(self, subject: Subject, charges: list[Charge]) -> tuple[str, ...]:
        keys = self.keys
        return (
            keys.holds,
            keys.deadlines,
            keys.rules(subject.org),
            keys.revoked,
            keys.open_calls,
            keys.admissions(subject.org, subject.key),
            keys.balance(subject.org),
            keys.counter_index,
            *(charge.key for charge in charges),
        )

    def _hold_arguments(
        self, valid: Interval, reference: str, subject_line: str, charges: list[Charge]
    ) -> tuple[str, ...]:
        arguments = [
            str(self._hold_ttl_us),
            self._edition,
            str(valid.start_us),
            str(valid.end_us),
            reference,
            "1" if self.rules.balance_required else "0",
            subject_line,
        ]
        for charge in charges:
            cap = charge.cap
            arguments += [str(cap.amount), str(cap.ceiling), str(cap.grace_us)] if cap else ["", "", ""]
            arguments += [
                "1" if cap and cap.enforced else "0",
                str(charge.interval.start_us),
                str(charge.since_us),
                "" if charge.expiry_ms is None else str(charge.expiry_ms),
            ]
        return tuple(arguments)


def identities(rules: OrgRules) -> list[str]:
    """Every identity under which these rules count: one per limit, and the org's total."""
    calendar = rules.calendar
    found = {
        limit_identity(limit, calendar.time_zone, calendar.week_start)
        for limit in rules.limits
        if not _is_org_total(limit)
    }
    return [ORG_TOTAL_IDENTITY, *sorted(found)]


def resolve_arguments(charges: list[Charge] | tuple[Charge, ...]) -> tuple[str, ...]:
    """What the resolve script is told of each counter, to say what remains and which levels are reached."""
    arguments: list[str] = []
    for charge in charges:
        cap, ladder = charge.cap, charge.ladder
        if cap is None:
            arguments += ["", "", ""]
        else:
            arguments += [str(cap.amount), str(cap.ceiling) if cap.enforced else "", str(cap.grace_us)]
        arguments += [ladder.lowest, ladder.text] if ladder else ["", ""]
    return tuple(arguments)


RESOLVE_ARGUMENTS_EACH = 5
"""How many `resolve_arguments` there are for each counter."""


def _is_org_total(limit: Limit) -> bool:
    """Whether a limit caps the org's total itself, which is counted with or without it."""
    return (
        limit.scope is Scope.ORG
        and limit.window is Window.TOTAL
        and limit.operation is None
        and limit.model is None
    )


def counts(charge: Charge, subject: Subject, operation: str, model: str, started_at_us: int) -> bool:
    """Whether a request of ``subject`` admitted at ``started_at_us`` belongs to the counter of ``charge``."""
    name = charge.name
    of_scope = {
        Scope.ORG: subject.org,
        Scope.TEAM: subject.team,
        Scope.USER: subject.user,
        Scope.KEY: subject.key,
    }[name.scope]
    interval = charge.interval
    return (
        subject.org == name.org
        and of_scope == name.scope_id
        and name.end_user in (None, subject.end_user)
        and interval.start_us <= started_at_us
        and (interval.end_us is None or started_at_us < interval.end_us)
        and selects(name.operation, name.model, operation, model)
    )
