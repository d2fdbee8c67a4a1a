"""`python -m benchmarks.reports DSN`: how long the questions of a first screen take, over whatever usage there is.

Make a year first, in a database of its own: `tollgate generate-usage --org 6 --rows 10000000`.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from gateway.identity.roles import Reach
from gateway.reports.comparison import compare
from gateway.reports.desk import ReportDesk, Snapshot
from gateway.reports.exports import line_csv
from gateway.reports.json_report import report_json
from gateway.reports.period import DAY, Granularity, ReportPeriod
from gateway.reports.prepaid import Prepaid
from gateway.reports.prices import CurrentPrices
from gateway.reports.question import Dimension, Filters
from gateway.reports.streams import report_csv, report_focus, report_page
from gateway.reports.tips import tips
from gateway.reports.veil import Veil
from gateway.settings.providers import ProviderSettings
from pricing.book import PriceBook

TARGET_MS = 150.0
Ask = Callable[[Snapshot, datetime], Awaitable[Any]]
KINDS = ("openai", "anthropic", "gemini")


def split(days: int, granularity: Granularity, *group_by: Dimension, filters: Filters | None = None) -> Ask:
    async def ask(snapshot: Snapshot, now: datetime) -> Any:
        today = snapshot.calendar.day_of(now)
        period = snapshot.calendar.days(today - (days - 1) * DAY, today + DAY)
        question = snapshot.question(period, granularity, group_by, filters)
        if granularity is Granularity.NONE and group_by:
            return await snapshot.reading.top(question, snapshot.calendar, 10)
        return await snapshot.reading.groups(question, snapshot.calendar)

    return ask


async def hours(snapshot: Snapshot, now: datetime) -> Any:
    end = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    period = snapshot.calendar.between(end - timedelta(hours=24), end)
    return await snapshot.reading.groups(
        snapshot.question(period, Granularity.HOUR, [Dimension.MODEL]), snapshot.calendar
    )


async def month_change(snapshot: Snapshot, now: datetime) -> Any:
    period = snapshot.calendar.around(ReportPeriod.MONTHLY, snapshot.calendar.day_of(now))
    return await snapshot.total(period), await snapshot.total(snapshot.calendar.before(period))


async def forecast(snapshot: Snapshot, now: datetime) -> Any:
    return (await snapshot.forecast(now)).of_days(snapshot.calendar.day_of(now) + DAY, 30)


def lines(filters: Filters | None = None) -> Ask:
    async def ask(snapshot: Snapshot, now: datetime) -> Any:
        today = snapshot.calendar.day_of(now)
        period = snapshot.calendar.days(today - 29 * DAY, today + DAY)
        return await snapshot.history.lines(snapshot.org, snapshot.reach, period, filters or Filters(), 51)

    return ask


FIRST_SCREEN: dict[str, Ask] = {
    "month and its change": month_change,
    "30 days by day and model": split(30, Granularity.DAY, Dimension.MODEL),
    "7 days by day and model": split(7, Granularity.DAY, Dimension.MODEL),
    "24 hours by hour and model": hours,
    "top models, 30 days": split(30, Granularity.NONE, Dimension.MODEL),
    "top users, 30 days": split(30, Granularity.NONE, Dimension.USER),
    "top keys, 30 days": split(30, Granularity.NONE, Dimension.KEY),
    "top teams, 30 days": split(30, Granularity.NONE, Dimension.TEAM),
    "operations, 30 days": split(30, Granularity.NONE, Dimension.OPERATION),
    "forecast": forecast,
    "history, first page": lines(),
    "history of a user": lines(Filters(users=("user-5",))),
    "history of a key": lines(Filters(keys=("key-5-1",))),
}
FURTHER: dict[str, Ask] = {
    "a year by month and team": split(365, Granularity.MONTH, Dimension.TEAM),
    "a year by week and model": split(365, Granularity.WEEK, Dimension.MODEL),
    "30 days by hour": split(30, Granularity.HOUR),
    "30 days by tag": split(30, Granularity.NONE, Dimension.TAG),
    "30 days by conversation": split(30, Granularity.NONE, Dimension.CONVERSATION),
    "history of a rare model": lines(Filters(models=("gpt-image-1",))),
}


class _NoNames:
    async def of(self, org: str, users: Any) -> dict[str, str]:
        return {user: user for user in users}


async def _not_prepaid(_: str) -> Prepaid | None:
    return None


async def measure(options: argparse.Namespace) -> bool:
    desk = ReportDesk(options.dsn, _NoNames(), _not_prepaid)
    await desk.start()
    now = datetime.combine(options.now, datetime.min.time(), UTC) + timedelta(hours=15)
    good = True
    try:
        print(f"{'':34} {'p50 ms':>8} {'p95 ms':>8} {'worst':>8}")
        for reach in (Reach(options.org), Reach(options.org, users=frozenset({"user-5"}))):
            print("the whole organisation" if reach.whole else "one member's own usage")
            for name, ask in FIRST_SCREEN.items():
                good &= await _timed(desk, reach, name, ask, now, options.times) <= TARGET_MS
        print("beyond the first screen")
        for name, ask in FURTHER.items():
            await _timed(desk, Reach(options.org), name, ask, now, max(3, options.times // 10))
        await _savings(desk, options.org, now)
        await _exports(desk, options.org, now)
    finally:
        await desk.stop()
    print(f"first screen within {TARGET_MS:.0f} ms at p95: {'yes' if good else 'NO'}")
    return good


async def _timed(desk: ReportDesk, reach: Reach, name: str, ask: Ask, now: datetime, times: int) -> float:
    assert reach.org_id is not None
    took_ms = []
    for number in range(times + 1):
        began_s = time.perf_counter()
        async with desk.snapshot(reach.org_id, reach) as snapshot:
            await ask(snapshot, now)
        if number:  # the first one connects
            took_ms.append(1000 * (time.perf_counter() - began_s))
    p95 = statistics.quantiles(took_ms, n=20)[-1]
    print(f"  {name:32} {statistics.median(took_ms):8.1f} {p95:8.1f} {max(took_ms):8.1f}", flush=True)
    return p95


async def _savings(desk: ReportDesk, org: str, now: datetime) -> None:
    providers = {kind: ProviderSettings(kind=kind, base_url="http://unused.invalid") for kind in KINDS}
    book = PriceBook.parse(None, Decimal("0.01"))
    prices = CurrentPrices(providers, lambda: book)
    began_s = time.perf_counter()
    async with desk.snapshot(org, Reach(org)) as snapshot:
        today = snapshot.calendar.day_of(now)
        period = snapshot.calendar.days(today - 29 * DAY, today + DAY)
        consumed = await snapshot.consumed(period, prices, [])
        compared_s = time.perf_counter() - began_s
        repeated = await snapshot.repeated(period, prices)
    compare(consumed, prices)
    tips(consumed, repeated, prices)
    print(f"  {'comparison of 30 days':32} {1000 * compared_s:8.1f}")
    print(f"  {'tips on 30 days':32} {1000 * (time.perf_counter() - began_s):8.1f}")


async def _exports(desk: ReportDesk, org: str, now: datetime) -> None:
    print(f"{'exports of a month':34} {'seconds':>8} {'MB':>8} {'peak MB':>8}")
    day: date = now.date().replace(day=1) - DAY

    async def every_line(snapshot: Snapshot) -> AsyncGenerator[str]:
        period = snapshot.calendar.around(ReportPeriod.MONTHLY, day)
        async with aclosing(snapshot.history.all_lines(org, snapshot.reach, period, Filters())) as found:
            async for line in found:
                yield line_csv(line)

    async def page(snapshot: Snapshot) -> AsyncGenerator[bytes]:
        yield await report_page(snapshot, ReportPeriod.MONTHLY, day, now)

    async def document(snapshot: Snapshot) -> AsyncGenerator[bytes]:
        report = await snapshot.report(ReportPeriod.MONTHLY, day)
        async with aclosing(report_json(snapshot, report)) as parts:
            async for part in parts:
                yield part

    monthly, veil = ReportPeriod.MONTHLY, Veil(org, None)
    exports: dict[str, Callable[[Snapshot], AsyncGenerator[Any]]] = {
        "report as CSV": lambda snapshot: report_csv(snapshot, monthly, day, veil),
        "report as FOCUS": lambda snapshot: report_focus(snapshot, monthly, day, veil, Decimal("0.01")),
        "report as JSON": document,
        "report as PDF": page,
        "every request as CSV": every_line,
    }
    for name, export in exports.items():
        began_s, size = time.perf_counter(), 0
        async with desk.snapshot(org, Reach(org)) as snapshot, aclosing(export(snapshot)) as parts:
            async for part in parts:
                size += len(part)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"  {name:32} {time.perf_counter() - began_s:8.2f} {size / 1e6:8.1f} {peak_mb:8.0f}", flush=True
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reports", description=__doc__)
    parser.add_argument("dsn", metavar="DSN")
    parser.add_argument("--org", default="org-1", metavar="ID")
    parser.add_argument("--now", type=date.fromisoformat, default=datetime.now(UTC).date(), metavar="DATE")
    parser.add_argument("--times", type=int, default=50, metavar="N", help="how often each question is asked")
    return 0 if asyncio.run(measure(parser.parse_args())) else 1


if __name__ == "__main__":
    raise SystemExit(main())
