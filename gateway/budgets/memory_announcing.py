"""What `gateway.budgets.memory` announces: the same as the scripts in Redis do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gateway.budgets.crossing import Crossing, CrossingKind
from gateway.budgets.levels import Told, balance_reached
from gateway.budgets.plan import Charge, Plan, Planner
from gateway.budgets.rules import Balance, Cap, Refusal, Shortage, Standing


class Announcements:
    """What was announced so far, in order."""

    def __init__(self) -> None:
        self.made: list[Crossing] = []
        self._told: dict[str, Told] = {}
        self._marked: set[tuple[CrossingKind, str, int]] = set()

    def settled(self, standings: Iterable[tuple[Charge, Standing]], admission: bytes, now_us: int) -> None:
        """Sums have grown to these."""
        for charge, standing in standings:
            self._levels(charge, standing, admission, now_us)
            cap, grace_us = charge.cap, standing.grace_start_us
            if cap is None or charge.ladder is None or not cap.enforced or grace_us is None:
                continue
            if self._mark(CrossingKind.GRACE, charge.key, 0):
                said = _said(CrossingKind.GRACE, charge, cap, standing, admission, now_us)
                self.made.append(replace(said, grace_until_us=grace_us + cap.grace_us))

    def balance_settled(self, planner: Planner, balance: Balance, admission: bytes, now_us: int) -> None:
        """A balance has shrunk to this."""
        reference, low = balance.granted, planner.rules.alerts.low_balance
        left, key = balance.granted - balance.spent, planner.keys.balance(planner.rules.org)
        levels = balance_reached(reference, left, planner.alert_levels, self._told.get(key, Told()))
        said = _said_of_balance(CrossingKind.LEVEL, planner.rules.org, balance, admission, now_us)
        if levels:
            self._told[key] = Told(levels[-1], reference)
            self.made.append(replace(said, levels=levels))
        if low is not None and left <= low and reference > 0 and self._mark(CrossingKind.LOW, key, reference):
            self.made.append(replace(said, kind=CrossingKind.LOW, low=low))

    def refused(
        self,
        refusal: Refusal,
        plan: Plan,
        standing: Standing,
        balance: Balance,
        admission: bytes,
        now_us: int,
    ) -> None:
        """A call found no room. ``standing``: of the counter that refused."""
        if refusal.shortage is not Shortage.EXHAUSTED:
            return
        if refusal.index is None:
            if self._mark(CrossingKind.STOP, plan.balance_key, balance.granted):
                org = plan.subject.org
                self.made.append(_said_of_balance(CrossingKind.STOP, org, balance, admission, now_us))
            return
        charge = plan.charges[refusal.index]
        if charge.name.end_user is not None:
            return
        self._levels(charge, standing, admission, now_us)
        assert charge.cap is not None
        if self._mark(CrossingKind.STOP, charge.key, charge.cap.amount):
            self.made.append(_said(CrossingKind.STOP, charge, charge.cap, standing, admission, now_us))

    def _levels(self, charge: Charge, standing: Standing, admission: bytes, now_us: int) -> None:
        ladder, cap = charge.ladder, charge.cap
        if ladder is None or cap is None:
            return
        levels = ladder.reached(standing.settled, self._told.get(charge.key, Told()))
        if levels:
            self._told[charge.key] = Told(levels[-1], ladder.limit)
            said = _said(CrossingKind.LEVEL, charge, cap, standing, admission, now_us)
            self.made.append(replace(said, levels=levels))

    def _mark(self, kind: CrossingKind, key: str, limit: int) -> bool:
        """Whether this is the first time."""
        new = (kind, key, limit) not in self._marked
        self._marked.add((kind, key, limit))
        return new


def _said(
    kind: CrossingKind, charge: Charge, cap: Cap, standing: Standing, admission: bytes, now_us: int
) -> Crossing:
    return Crossing(
        kind,
        charge.name.org,
        charge.name,
        cap.amount,
        standing.settled,
        now_us,
        enforced=cap.enforced,
        admission=admission,
    )


def _said_of_balance(
    kind: CrossingKind, org: str, balance: Balance, admission: bytes, now_us: int
) -> Crossing:
    left = balance.granted - balance.spent
    return Crossing(
        kind, org, None, balance.granted, left, now_us, granted=balance.granted, admission=admission
    )
