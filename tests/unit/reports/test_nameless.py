"""Calls without a model, lists of models say, are named by what there is of them."""

from __future__ import annotations

from decimal import Decimal

from gateway.reports.focus import COLUMNS, charge
from gateway.reports.period import OrgCalendar
from gateway.reports.question import Group, Sums
from gateway.reports.usage_report import called


def test_a_charge_without_a_model_names_none() -> None:
    group = Group("2026-11-22", ("research", "ada", "k", "openai", "", "other"), Sums(requests=1))
    row = dict(zip(COLUMNS, charge("acme", group, OrgCalendar("UTC"), Decimal("0.01")), strict=True))
    assert (row["ChargeDescription"], row["SkuId"]) == ("other without a model of openai", "openai/other")
    with_model = Group("2026-11-22", (None, None, "k", "openai", "gpt-5", "chat"), Sums(requests=1))
    row = dict(zip(COLUMNS, charge("acme", with_model, OrgCalendar("UTC"), Decimal("0.01")), strict=True))
    assert (row["ChargeDescription"], row["SkuId"]) == ("chat with gpt-5 of openai", "openai/gpt-5/chat")


def test_reports_for_people_say_that_there_is_no_model() -> None:
    assert called(Group("", ("openai", None), Sums())) == "openai, without a model"
    assert called(Group("", ("openai", "gpt-5"), Sums())) == "openai/gpt-5"
    assert called(Group("", ("chat",), Sums())) == "chat"
