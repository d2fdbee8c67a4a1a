"""Where questions about usage are asked: snapshots of Postgres, through a pool of their own.

Reports share no connection with what writes usage, so however many exports run, rows are written. Nor do charts share
any with exports, which last as long as somebody reads them. No organisation takes all connections of either. When
Postgres is down every question raises `PostgresUnavailable`, and so it does when all connections are taken for five
seconds; `RateLimited` when as many as may are taken by the same organisation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime

from gateway.identity.roles import Reach
from gateway.reports.comparison import ModelName
from gateway.reports.consumption import Consumption, Prices, RepeatedInput, bands_of, price_of
from gateway.reports.forecast import BAND_DAYS, Forecast
from gateway.reports.period import DAY, Granularity, OrgCalendar, Period, ReportPeriod
from gateway.reports.postgres_consumption import consumed, repeated
from gateway.reports.postgres_history import Conversations, History
from gateway.reports.postgres_usage_reading import UsageReader, UsageReading
from gateway.reports.prepaid import Prepaid
from gateway.reports.question import Dimension, Filters, Group, Question, Sums
from gateway.reports.turns import Turns
from gateway.reports.usage_report import UsageReport
from gateway.reports.veil import Names, Veil
from gateway.stores.postgres import Postgres

CONNECTIONS_MAX = 4
"""Charts at once, per gateway; more wait."""
CONNECTIONS_OF_ONE_MAX = 3
"""Of one organisation: a chart of a busy year takes seconds, and anybody in it may ask for many."""
EXPORTS_MAX = 6
EXPORTS_OF_ONE_MAX = 2
"""Of one organisation, which may read them as slowly as an export may take."""
TURN_WAIT_S = 5.0
HISTORY_DAYS = BAND_DAYS + 35


BalanceOf = Callable[[str], Awaitable[Prepaid | None]]
"""An org's prepaid balance; None: it is not prepaid."""


class Snapshot:
    """One moment of one org's usage, as far as its reader may see it."""

    def __init__(self, reading: UsageReading, org: str, reach: Reach, calendar: OrgCalendar) -> None:
        self.reading = reading
        self.history = History(reading.session)
        self.org = org
        self.reach = reach
        self.calendar = calendar

    def question(
        self,
        period: Period,
        granularity: Granularity = Granularity.NONE,
        group_by: Sequence[Dimension] = (),
        filters: Filters | None = None,
        tag: str | None = None,
    ) -> Question:
        ordered = tuple(dimension for dimension in Dimension if dimension in group_by)
        return Question(self.org, self.reach, period, filters or Filters(), granularity, ordered, tag)

    async def total(self, period: Period) -> Sums:
        return await self.reading.total(self.question(period), self.calendar)

    async def report(self, kind: ReportPeriod, day: date) -> UsageReport:
        """The report on the day, week or month that ``day`` is in."""
        period = self.calendar.around(kind, day)
        by_model = [Dimension.PROVIDER, Dimension.MODEL]
        ask = self.reading
        return UsageReport(
            org=self.org,
            kind=kind,
            calendar=self.calendar,
            period=period,
            total=await self.total(period),
            operations=tuple(
                await ask.top(self.question(period, group_by=[Dimension.OPERATION]), self.calendar, 100)
            ),
            models=tuple(await ask.top(self.question(period, group_by=by_model), self.calendar, 1000)),
            days=tuple(await ask.groups(self.question(period, Granularity.DAY), self.calendar)),
            previous=await self.total(self.calendar.before(period)),
        )

    async def forecast(self, now: datetime, filters: Filters | None = None) -> Forecast:
        """From the days before today, the first of which is the first that had any usage."""
        today = self.calendar.day_of(now)
        period = self.calendar.days(today - HISTORY_DAYS * DAY, today)
        groups = await self.reading.groups(
            self.question(period, Granularity.DAY, filters=filters), self.calendar
        )
        by_day = {date.fromisoformat(group.step): group.sums.credits_microcredits for group in groups}
        first = min(by_day, default=today)
        return Forecast(
            today, tuple(by_day.get(first + number * DAY, 0) for number in range((today - first).days))
        )

    async def consumed(
        self, period: Period, prices: Prices, others: Sequence[ModelName]
    ) -> list[Consumption]:
        """What was used, in units that can be priced again for the models of the org and for ``others``."""
        bands = await self._bands(period, prices, others)
        return await consumed(self.reading.session, self.org, self.reach, period, bands)

    async def repeated(self, period: Period, prices: Prices) -> list[RepeatedInput]:
        """Input that caches could have served."""
        bands = await self._bands(period, prices, ())
        return await repeated(self.reading.session, self.org, self.reach, period, bands)

    async def models_used(self, period: Period, operation: str) -> list[ModelName]:
        """Dearest first."""
        return [
            (group.names[0] or "", group.names[1] or "")
            for group in await self._models(period, Filters(operations=(operation,)))
        ]

    async def _bands(self, period: Period, prices: Prices, others: Sequence[ModelName]) -> list[int]:
        models = [(group.names[0] or "", group.names[1] or "") for group in await self._models(period)]
        known = [price for name in (*models, *others) if (price := price_of(prices, *name)) is not None]
        return bands_of(known)

    async def _models(self, period: Period, filters: Filters | None = None) -> list[Group]:
        question = self.question(period, group_by=[Dimension.PROVIDER, Dimension.MODEL], filters=filters)
        return await self.reading.top(question, self.calendar, 1000)


class ReportDesk:
    """`start` and `stop` once each."""

    def __init__(self, dsn: str, names: Names, balance_of: BalanceOf) -> None:
        self._postgres = Postgres(dsn, connections_max=CONNECTIONS_MAX, application_name="tollgate reports")
        self._exports = Postgres(dsn, connections_max=EXPORTS_MAX, application_name="tollgate exports")
        self._reader = UsageReader(self._postgres)
        self._exporter = UsageReader(self._exports)
        self._turns = Turns("charts", CONNECTIONS_OF_ONE_MAX, TURN_WAIT_S)
        self._export_turns = Turns("exports", EXPORTS_OF_ONE_MAX, TURN_WAIT_S)
        self._names = names
        self.balance_of = balance_of
        self.conversations = Conversations(self._postgres, self._turns)

    async def start(self) -> None:
        await self._postgres.start()
        await self._exports.start()

    async def stop(self) -> None:
        await self._exports.stop()
        await self._postgres.stop()

    @asynccontextmanager
    async def snapshot(self, org: str, reach: Reach) -> AsyncIterator[Snapshot]:
        """One moment of ``org``, seen as far as ``reach`` goes; takes a connection while it is open."""
        async with self._turns.of(org), self._reader.snapshot() as reading:
            yield Snapshot(reading, org, reach, await reading.calendar(org))

    @asynccontextmanager
    async def export(self, org: str, reach: Reach) -> AsyncIterator[Snapshot]:
        """As `snapshot`, for what is written while somebody reads it."""
        async with self._export_turns.of(org), self._exporter.snapshot() as reading:
            yield Snapshot(reading, org, reach, await reading.calendar(org))

    def veil(self, org: str, sees_people: bool) -> Veil:
        """What stands between usage and a reader who may or may not know people by name."""
        return Veil(org, None if sees_people else self._names)
