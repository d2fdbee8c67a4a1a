"""Holds in memory: the same behaviour as in Redis, for tests and for trying things out.

It keeps nothing but requests, and works every counter out from them each time; what the scripts in Redis keep
up to date piece by piece is here its own definition.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from gateway.budgets.balances import BalanceChange, gone, parse_rungs
from gateway.budgets.crossing import Crossing
from gateway.budgets.directory import Directory, OrgRules
from gateway.budgets.keyspace import partition_keys
from gateway.budgets.memory_announcing import Announcements
from gateway.budgets.model import Ask, Grant, Limit, Outcome, Settled, State, Subject
from gateway.budgets.plan import Charge, Plan, Planner, counts, identities
from gateway.budgets.ports import CounterReading
from gateway.budgets.refusals import (
    AlreadyResolved,
    balance_refusal,
    budget_refusal,
    open_calls_refusal,
    rate_refusal,
)
from gateway.budgets.rules import (
    MINUTE_US,
    Balance,
    Cap,
    Refusal,
    Standing,
    check_amounts,
    check_cost,
    decide,
    remaining,
)
from gateway.errors import RevokedKey, TollgateError
from gateway.settings.limits import MICROCREDITS_MAX


@dataclass(frozen=True, slots=True)
class Event:
    """A request that was charged. ``result`` is empty when the reaper did it."""

    request_id: str
    subject: Subject
    operation: str
    model: str
    started_at_us: int
    cost: int
    balance_charged: bool
    admission: bytes
    result: bytes


@dataclass(frozen=True, slots=True)
class _Hold:
    ask: Ask
    amount: int
    started_at_us: int
    deadline_us: int
    balance_charged: bool


def _wall_clock_us() -> int:
    return time.time_ns() // 1000


class MemoryHolds:
    """The `gateway.budgets.model.Holds` of one process, gone with it. ``now_us`` is its clock."""

    def __init__(
        self,
        directory: Directory,
        *,
        hold_ttl_s: float = 60.0,
        now_us: Callable[[], int] = _wall_clock_us,
    ) -> None:
        self._directory = directory
        self._hold_ttl_us = int(hold_ttl_s * 1_000_000)
        self._now_us = now_us
        self._planners: dict[str, Planner] = {}
        self._open: dict[str, _Hold] = {}
        self._ended: dict[str, State] = {}
        self._grace_start_us: dict[str, int] = {}
        self._admissions_us: dict[tuple[str, str], list[int]] = {}
        self._revoked: set[tuple[str, str]] = set()
        self._changes: dict[str, list[BalanceChange]] = {}
        self._announcements = Announcements()
        self.events: list[Event] = []

    async def start(self) -> None:
        """Nothing to do; here for the sake of sameness."""

    async def close(self) -> None:
        """Nothing to do; here for the sake of sameness."""

    async def set_directory(self, directory: Directory) -> None:
        self._directory = directory
        self._planners.clear()

    # -------------------------------------------------------------- Holds

    async def hold(self, ask: Ask) -> Grant:
        check_amounts(ask)
        ended, known = self._ended.get(ask.request_id), self._open.get(ask.request_id)
        if ended is not None:
            raise AlreadyResolved()
        if known is not None:
            return Grant(ask.request_id, known.amount, known.started_at_us, None)
        now_us = self._now_us()
        self._check_key(ask, now_us)
        planner = self._planner(ask.subject.org)
        plan = planner.plan(ask.subject, ask.operation, ask.model, now_us)
        balance = self._balance(ask.subject.org) if plan.balance_required else None
        decision = decide(ask.fixed, ask.least, ask.most, self._counters(plan), balance, now_us)
        if isinstance(decision, Refusal):
            self._announce_refusal(decision, plan, ask)
            raise _refused(decision, plan, planner, ask)
        for index in decision.grace_starts:
            self._grace_start_us[plan.charges[index].key] = now_us
        self._open[ask.request_id] = _Hold(
            ask, decision.amount, now_us, now_us + self._hold_ttl_us, plan.balance_required
        )
        if ask.requests_per_minute:
            log = self._admissions_us.setdefault((ask.subject.org, ask.subject.key), [])
            log.append(now_us)
            del log[: -ask.requests_per_minute]
        return Grant(
            ask.request_id,
            decision.amount,
            now_us,
            decision.remaining,
            tuple(plan.charges[index].text for index in decision.grace),
            tuple(plan.charges[index].text for index in decision.shadow),
        )

    async def settle(self, grant: Grant, ask: Ask, cost: int, result: bytes) -> Settled:
        check_cost(cost)
        if ask.request_id in self._ended:
            return Settled(Outcome.DUPLICATE, None, self._ended[ask.request_id])
        known = self._open.pop(ask.request_id, None)
        planner = self._planner(ask.subject.org)
        plan = planner.plan(ask.subject, ask.operation, ask.model, grant.started_at_us)
        prepaid = plan.balance_required if known is None else known.balance_charged
        self._charge(ask, grant.started_at_us, cost, prepaid, result, State.SETTLED)
        balance = self._balance(ask.subject.org) if prepaid else None
        return Settled(Outcome.DONE, remaining(self._counters(plan), balance, self._now_us()))

    async def release(self, request_id: str, org: str) -> Outcome:
        if request_id in self._ended:
            return Outcome.DUPLICATE
        self._open.pop(request_id, None)
        self._ended[request_id] = State.RELEASED
        return Outcome.DONE

    async def renew(self, holds: Sequence[tuple[str, str]]) -> set[str]:
        deadline_us = self._now_us() + self._hold_ttl_us
        gone = set()
        for _org, request_id in holds:
            known = self._open.get(request_id)
            if known is None:
                gone.add(request_id)
            else:
                self._open[request_id] = replace(known, deadline_us=deadline_us)
        return gone

    async def reap(self, limit: int = 100) -> int:
        now_us = self._now_us()
        due = [known for known in self._open.values() if known.deadline_us <= now_us]
        due = sorted(due, key=lambda known: known.deadline_us)[:limit]
        for known in due:
            del self._open[known.ask.request_id]
            self._charge(
                known.ask, known.started_at_us, known.amount, known.balance_charged, b"", State.REAPED
            )
        return len(due)

    async def extend(self, grant: Grant, ask: Ask, amount: int, least: int) -> int | None:
        """As `RedisHolds.extend`."""
        known = self._open.get(grant.request_id)
        if known is None:
            raise AlreadyResolved("This hold has ended; it cannot be extended.")
        plan = self._planner(ask.subject.org).plan(ask.subject, ask.operation, ask.model, known.started_at_us)
        balance = self._balance(ask.subject.org) if known.balance_charged else None
        now_us = self._now_us()
        room = remaining(self._counters(plan), balance, now_us)
        added = min(amount, MICROCREDITS_MAX - known.amount)
        if room is not None:
            added = min(added, room)
        if added < least:
            return None
        deadline_us = now_us + self._hold_ttl_us
        self._open[grant.request_id] = replace(known, amount=known.amount + added, deadline_us=deadline_us)
        return added

    # -------------------------------------------------------------- keys, limits, balances

    async def revoke(self, org: str, key: str) -> None:
        self._revoked.add((org, key))

    async def reinstate(self, org: str, key: str) -> None:
        self._revoked.discard((org, key))

    async def limits(self, org: str) -> OrgRules:
        return self._planner(org).rules

    async def set_limits(self, org: str, limits: Sequence[Limit]) -> OrgRules:
        rules = (await self.limits(org)).with_limits(limits, self._now_us() // 1000)
        self._planners[org] = _planner_of(rules)
        return rules

    async def change_balance(self, org: str, change: BalanceChange) -> bool:
        """As `RedisBalances.change`."""
        changes = self._changes.setdefault(org, [])
        if changes and changes[-1].id >= change.id:
            return False
        changes.append(change)
        return True

    async def counters(self, org: str) -> AsyncIterator[CounterReading]:
        """The counters that requests of ``org`` have met so far, as they stand now."""
        planner = self._planner(org)
        met = [(e.subject, e.operation, e.model, e.started_at_us) for e in self.events]
        met += [(h.ask.subject, h.ask.operation, h.ask.model, h.started_at_us) for h in self._open.values()]
        charges = {
            charge.key: charge
            for subject, operation, model, started_at_us in met
            if subject.org == org
            for charge in planner.plan(subject, operation, model, started_at_us).charges
        }
        for charge in charges.values():
            yield self._reading(charge)

    # -------------------------------------------------------------- inside

    def _reading(self, charge: Charge) -> CounterReading:
        standing, name = self._standing(charge), charge.name
        return CounterReading(
            org=name.org,
            scope=name.scope,
            scope_id=name.scope_id,
            operation=name.operation,
            model=name.model,
            window=name.window,
            start_us=name.start_us,
            end_us=charge.interval.end_us,
            settled=standing.settled,
            held=standing.held,
            open_holds=standing.open_holds,
            grace_start_us=standing.grace_start_us,
            unseeded=False,
            partition=0,
            sequence=len(self.events),
            end_user=name.end_user,
        )

    def _planner(self, org: str) -> Planner:
        planner = self._planners.get(org)
        if planner is None:
            planner = self._planners[org] = _planner_of(self._directory.rules(org))
        return planner

    def _check_key(self, ask: Ask, now_us: int) -> None:
        key = (ask.subject.org, ask.subject.key)
        if key in self._revoked:
            raise RevokedKey()
        if ask.open_calls_max is not None:
            calls = sum((h.ask.subject.org, h.ask.subject.key) == key for h in self._open.values())
            if calls >= ask.open_calls_max:
                raise open_calls_refusal(calls, ask.open_calls_max)
        if ask.requests_per_minute is not None:
            log = self._admissions_us.get(key, [])
            if len(log) >= ask.requests_per_minute:
                free_us = log[-ask.requests_per_minute] + MINUTE_US
                if now_us < free_us:
                    raise rate_refusal(free_us - now_us, ask.requests_per_minute)

    def _counters(self, plan: Plan) -> list[tuple[Cap | None, Standing]]:
        return [(charge.cap, self._standing(charge)) for charge in plan.charges]

    def _standing(self, charge: Charge) -> Standing:
        held = [
            known.amount
            for known in self._open.values()
            if counts(charge, known.ask.subject, known.ask.operation, known.ask.model, known.started_at_us)
        ]
        settled = sum(
            event.cost
            for event in self.events
            if counts(charge, event.subject, event.operation, event.model, event.started_at_us)
        )
        return Standing(settled, sum(held), len(held), self._grace_start_us.get(charge.key))

    def _balance(self, org: str) -> Balance:
        events = (event for event in self.events if event.balance_charged and event.subject.org == org)
        holds = (h for h in self._open.values() if h.balance_charged and h.ask.subject.org == org)
        changes = self._changes.get(org, [])
        granted = sum(change.granted for change in changes)
        rungs = parse_rungs(changes[-1].rungs) if changes else ()
        return Balance(
            granted - gone(rungs, self._now_us()),
            sum(event.cost for event in events),
            sum(known.amount for known in holds),
        )

    def _charge(
        self, ask: Ask, started_at_us: int, cost: int, prepaid: bool, result: bytes, state: State
    ) -> None:
        self._ended[ask.request_id] = state
        self.events.append(
            Event(
                request_id=ask.request_id,
                subject=ask.subject,
                operation=ask.operation,
                model=ask.model,
                started_at_us=started_at_us,
                cost=cost,
                balance_charged=prepaid,
                admission=ask.admission,
                result=result,
            )
        )
        planner = self._planner(ask.subject.org)
        plan = planner.plan(ask.subject, ask.operation, ask.model, started_at_us)
        now_us = self._now_us()
        standings = [(charge, self._standing(charge)) for charge in plan.charges]
        self._announcements.settled(standings, ask.admission, now_us)
        if prepaid:
            balance = self._balance(ask.subject.org)
            self._announcements.balance_settled(planner, balance, ask.admission, now_us)

    @property
    def crossings(self) -> list[Crossing]:
        """What was announced, in order."""
        return self._announcements.made

    def _announce_refusal(self, refusal: Refusal, plan: Plan, ask: Ask) -> None:
        charge = plan.charges[refusal.index or 0]
        balance = self._balance(ask.subject.org)
        self._announcements.refused(
            refusal, plan, self._standing(charge), balance, ask.admission, self._now_us()
        )


def _planner_of(rules: OrgRules) -> Planner:
    return Planner(rules, dict.fromkeys(identities(rules), 0), partition_keys(0))


def _refused(refusal: Refusal, plan: Plan, planner: Planner, ask: Ask) -> TollgateError:
    need = ask.fixed + ask.least
    if refusal.index is None:
        return balance_refusal(refusal, ask.subject.org, need)
    return budget_refusal(refusal, plan.charges[refusal.index], planner.rules.calendar, need)
