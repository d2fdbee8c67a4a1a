"""What summaries and statements say equals what the API says of the same day and month, to the microcredit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.alerts.postgres_book import Alert
from gateway.alerts.service import Alerts
from gateway.api.ledger_entries import StatementParams, StatementView, ledger_operations
from gateway.api.operation import AnyOperation, Call, NoBody
from gateway.api.usage import UsageParams, UsageReply, usage_operations
from gateway.backoffice import UsageDigests
from gateway.budgets.postgres_managed import ManagedLimits
from gateway.budgets.windows import Calendar
from gateway.identity.declared import Declared
from gateway.identity.orgs import Publishing
from gateway.identity.postgres_secrets import OrgSecrets
from gateway.identity.pseudonyms import Pseudonyms
from gateway.identity.roles import ADMIN, Reach
from gateway.jobs.runner import JobRunner
from gateway.ledger.burning import GrantKind
from gateway.ledger.postgres_calendars import Calendars, OrgCalendar
from gateway.ledger.postgres_reading import LedgerReading
from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.row import merge, microseconds
from gateway.reports.desk import ReportDesk
from gateway.settings.limits import LimitsFile
from tests.support.alerting import VAULT, Clock, Town, town
from tests.support.bank import Bank, open_bank
from tests.support.usage_events import ADMISSION, entry

CREDIT = 1_000_000


@dataclass
class Newsroom:
    """Everything that states figures of acme, in one zone."""

    bank: Bank
    zone: ZoneInfo
    desk: ReportDesk
    alerts: Alerts
    clock: Clock

    async def use(self, at: datetime, microcredits: int, model: str) -> None:
        name = f"r{next(self.bank.keys)}"
        row = merge(
            entry(
                name,
                sequence=int(name[1:]),
                charged_microcredits=microcredits,
                started_at_us=microseconds(at),
                admission=replace(ADMISSION, model=model),
            )
        )
        await UsageTable(self.bank.postgres).write([row._replace(from_balance=True)])

    def midnight(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)

    async def told(self, kind: str, at: datetime) -> Alert:
        """What is told at that instant."""
        self.clock.time = at
        await JobRunner(self.bank.postgres, self.alerts.trades(), self.clock).turn()
        found = await self.alerts.book.page("acme", Reach("acme"), "olga", limit=100)
        (alert,) = [one for one in found if one.kind == kind and one.occurred_at == at]
        return alert

    async def usage(self, **params: Any) -> UsageReply:
        asked = UsageParams(group_by=("model",), **params)
        reply = await _operation(usage_operations(self.desk), "get_usage").handler(self._call(asked))
        assert isinstance(reply, UsageReply)
        return reply

    async def statement(self, month: str) -> StatementView:
        operations = ledger_operations(LedgerReading(self.bank.postgres), lambda _: Calendar(self.zone.key))
        call = self._call(StatementParams(month=month))
        reply = await _operation(operations, "get_statement").handler(call)
        assert isinstance(reply, StatementView)
        return reply

    def _call(self, params: Any) -> Call[Any, NoBody]:
        request = make_mocked_request("GET", "/")
        return Call(ADMIN, Reach("acme"), params, NoBody(), request, "r", self.clock.time, "")


def _operation(operations: list[AnyOperation], name: str) -> AnyOperation:
    return next(one for one in operations if one.name == name)


@asynccontextmanager
async def newsroom(bank: Bank, place: Town, zone: str) -> AsyncIterator[Newsroom]:
    calendars = Calendars(bank.postgres)
    await calendars.keep([OrgCalendar("acme", zone, 0)])
    await calendars.recut()

    async def balance_of(org: str) -> None:
        return None

    desk = ReportDesk(place.dsn, Pseudonyms(OrgSecrets(bank.postgres, VAULT)), balance_of)
    await desk.start()
    clock, declared = Clock(), Declared(LimitsFile())

    async def version(org: str) -> int:
        return 0

    alerts = Alerts(
        place.sections, bank.postgres, bank.redis, VAULT, lambda: declared, lambda _: Calendar(zone), clock,
        Publishing(ManagedLimits(bank.postgres, bank.redis), version), digests=UsageDigests(desk),
    )  # fmt: skip
    try:
        yield Newsroom(bank, ZoneInfo(zone), desk, alerts, clock)
    finally:
        await alerts.stop()
        await desk.stop()


@pytest.fixture
async def bank(redis_url: str, postgres_dsn: str) -> AsyncIterator[Bank]:
    async with open_bank(redis_url, postgres_dsn) as opened:
        yield opened


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str, bank: Bank) -> AsyncIterator[Town]:
    async with town(redis_url, postgres_dsn) as found:
        yield found


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("America/St_Johns", date(2026, 3, 8)),  # 23 hours, and offsets of half an hour
        ("America/St_Johns", date(2026, 11, 1)),  # 25 hours
        ("Europe/Paris", date(2026, 10, 25)),
        ("Asia/Kathmandu", date(2026, 11, 20)),  # a quarter of an hour
    ],
)
async def test_a_days_summary_says_what_usage_says_of_that_day(
    bank: Bank, place: Town, zone: str, day: date
) -> None:
    async with newsroom(bank, place, zone) as room:
        start, end = room.midnight(day), room.midnight(day + timedelta(days=1))
        blink = timedelta(milliseconds=1)
        for number, at in enumerate((start - blink, start, start + timedelta(hours=2), end - blink, end)):
            await room.use(at, 1_000_003 * 10**number, "gpt-4o" if number % 2 else "gemini-2.5-flash")
        local_eight = datetime(day.year, day.month, day.day, 8, tzinfo=room.zone) + timedelta(days=1)
        alert = await room.told("daily_summary", local_eight.astimezone(UTC))
        said = await room.usage(start=day.isoformat(), end=(day + timedelta(days=1)).isoformat())
        before = await room.usage(start=(day - timedelta(days=1)).isoformat(), end=day.isoformat())
        assert alert.data["spent"]["microcredits"] == said.total.cost.microcredits == 1_110 * 1_000_003
        assert alert.data["requests"] == said.total.requests == 3
        assert alert.data["spent_before"]["microcredits"] == before.total.cost.microcredits == 1_000_003
        assert {row["name"]: row["spent"]["microcredits"] for row in alert.data["models"]} == {
            item.model: item.cost.microcredits for item in said.items
        }


async def test_a_months_statement_says_what_the_statement_of_the_api_says(bank: Bank, place: Town) -> None:
    async with newsroom(bank, place, "America/St_Johns") as room:
        start, end = room.midnight(date(2026, 3, 1)), room.midnight(date(2026, 4, 1))
        bank.now = start - timedelta(days=2)
        await bank.grant(500 * CREDIT)
        blink = timedelta(milliseconds=1)
        for number, at in enumerate((start - blink, start, end - blink, end)):
            await room.use(at, 1_000_003 * 10**number, "gpt-4o")
        bank.now = start + timedelta(days=10)
        await bank.grant(2 * CREDIT, kind=GrantKind.PROMOTION)
        await bank.grant(3 * CREDIT)
        await bank.ledger.adjust("acme", -7, reason="x", actor="admin", idempotency_key="a")
        bank.now = end + timedelta(hours=1)
        await bank.poster.post("acme", bank.now)
        alert = await room.told("monthly_statement", end + timedelta(hours=8))
        said = await room.statement("2026-03")
        lines = {line["name"]: line["amount"]["microcredits"] for line in alert.data["lines"]}
        assert lines == {
            "opening balance": said.opening.microcredits,
            "purchases": said.purchases.microcredits,
            "credits given": said.grants.microcredits,
            "adjustments": said.adjustments.microcredits,
            "usage": -said.usage.microcredits,
            "closing balance": said.closing.microcredits,
        }
        assert said.usage.microcredits == 110 * 1_000_003
        assert said.not_posted.microcredits == 0
        usage = await room.usage(start="2026-03-01", end="2026-04-01")
        assert alert.data["spent"]["microcredits"] == usage.total.cost.microcredits == said.usage.microcredits


async def test_a_summary_at_midnight_waits_for_what_is_still_being_written(bank: Bank, place: Town) -> None:
    async with newsroom(bank, place, "America/St_Johns") as room:
        await place.postgres.execute(
            "INSERT INTO alert_settings (org_id, summary_hour, changed_at, changed_by) VALUES ('acme', 0, now(), 'x')"
        )
        end = room.midnight(date(2026, 11, 21))
        await room.use(end - timedelta(hours=1), CREDIT, "gpt-4o")
        alert = await room.told("daily_summary", end + timedelta(minutes=10))
        assert alert.data["day"] == "2026-11-20"
