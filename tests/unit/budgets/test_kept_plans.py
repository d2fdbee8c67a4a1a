"""Clients name models and end users: however many they name, what is kept of them is bounded."""

from __future__ import annotations

import pytest

from gateway.budgets import plan
from gateway.budgets.directory import OrgRules
from gateway.budgets.keyspace import partition_keys
from gateway.budgets.model import Scope, Window
from gateway.budgets.plan import Planner, identities
from tests.unit.budgets.making import ADA, limit_on

NOW_US = 1_800_000_000_000_000
EACH = [
    limit_on(Scope.TEAM, "research", 100, window, each_end_user=True)
    for window in (Window.DAY, Window.WEEK, Window.MONTH)
]
CHARGES_EACH = len(EACH) + 1  # and the org's total


def planner() -> Planner:
    rules = OrgRules("acme", limits=EACH)
    return Planner(rules, dict.fromkeys(identities(rules), 0), partition_keys(0))


def test_plans_are_kept_by_what_they_take_not_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHARGES_MAX", 10 * CHARGES_EACH)
    kept = planner()
    subjects = [ADA._replace(end_user=f"user-{number}") for number in range(11)]
    first = [kept.plan(subject, "chat", "gpt-4o", NOW_US) for subject in subjects[:10]]
    again = [kept.plan(subject, "chat", "gpt-4o", NOW_US) for subject in subjects[:10]]
    assert all(new is old for new, old in zip(again, first, strict=True))
    kept.plan(subjects[10], "chat", "gpt-4o", NOW_US)
    assert kept.plan(subjects[0], "chat", "gpt-4o", NOW_US) is not first[0], "all were let go of"


def test_a_plan_that_a_new_window_replaces_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHARGES_MAX", 2 * CHARGES_EACH)
    kept = planner()
    other = kept.plan(ADA._replace(end_user="yan"), "chat", "gpt-4o", NOW_US)
    for day in range(5):
        kept.plan(ADA, "chat", "gpt-4o", NOW_US + day * 86_400_000_000)
    assert kept.plan(ADA._replace(end_user="yan"), "chat", "gpt-4o", NOW_US) is other
