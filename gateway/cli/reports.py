"""`tollgate report`, `forecast backtest` and `usage rebuild`: usage for people, on the command line."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.cli.moments import day
from gateway.cli.progress import Bar
from gateway.cli.registry import known_orgs
from gateway.errors import NotFound
from gateway.identity.roles import Reach
from gateway.ledger.postgres_calendars import Calendars
from gateway.reload import LiveConfig
from gateway.reports.backtest import backtest, table
from gateway.reports.desk import Snapshot
from gateway.reports.forecast import HISTORY_DAYS_MIN
from gateway.reports.json_report import report_json
from gateway.reports.period import DAY, Granularity, ReportPeriod
from gateway.reports.postgres_usage_reading import UsageReader
from gateway.reports.streams import report_csv, report_focus, report_page
from gateway.reports.usage_report import UsageReport, called
from gateway.reports.veil import Veil
from gateway.settings.config import Settings, load_settings
from gateway.stores.postgres import Postgres
from pricing.money import format_credits

LISTED_MAX = 15


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "report",
        parents=[with_config],
        help="what an organisation used in a day, a week or a month",
        description="What an organisation used, in its own calendar. To the screen, or to a file.",
    )
    parser.add_argument("org", metavar="ORG")
    parser.add_argument(
        "--period", choices=[kind.value for kind in ReportPeriod], default=ReportPeriod.MONTHLY.value
    )
    parser.add_argument("--day", type=day, metavar="DATE", help="any date in it (default: today)")
    parser.add_argument("--format", choices=["text", "json", "csv", "focus", "pdf"], default="text")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    parser.set_defaults(run=lambda options: asyncio.run(_report(options)))
    parser = commands.add_parser("forecast", help="how good forecasts are", description="Forecasts of usage.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    trying = actions.add_parser(
        "backtest",
        parents=[with_config],
        help="forecasts made again for the past, next to a plain mean",
        description="Make the forecast of every day of the past, and say how far it was off.",
    )
    trying.add_argument("org", metavar="ORG")
    trying.add_argument("--days", type=int, default=365, metavar="N", help="of the past (default: 365)")
    trying.set_defaults(run=lambda options: asyncio.run(_backtest(options)))
    parser = commands.add_parser("usage", help="sums of usage", description="The sums that usage is kept in.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    rebuilding = actions.add_parser(
        "rebuild",
        parents=[with_config],
        help="cut days and hours anew, e.g. after an update while older gateways were still writing",
        description="Make the sums by the local day and hour anew from those by the quarter of an hour.",
    )
    rebuilding.add_argument("orgs", metavar="ORG", nargs="*", help="default: all")
    rebuilding.set_defaults(run=lambda options: asyncio.run(_rebuild(options)))


@asynccontextmanager
async def _postgres(settings: Settings) -> AsyncIterator[Postgres]:
    postgres = Postgres(settings.postgres.dsn.get_secret_value(), connections_max=2, command_timeout_s=600)
    await postgres.start()
    try:
        yield postgres
    finally:
        await postgres.stop()


@asynccontextmanager
async def _snapshot(settings: Settings, org: str) -> AsyncIterator[Snapshot]:
    async with _postgres(settings) as postgres, UsageReader(postgres).snapshot() as reading:
        await known_orgs(postgres, settings).check_read(org)
        yield Snapshot(reading, org, Reach(org), await reading.calendar(org))


async def _report(options: argparse.Namespace) -> int:
    settings = load_settings(options.config, weak_admin_token_ok=True)
    kind, now = ReportPeriod(options.period), datetime.now(UTC)
    out = options.output.open("wb") if options.output else sys.stdout.buffer
    try:
        async with _snapshot(settings, options.org) as snapshot:
            day = options.day or snapshot.calendar.day_of(now)
            async for part in _parts(options.format, snapshot, kind, day, now, settings):
                out.write(part if isinstance(part, bytes) else part.encode())
    finally:
        if options.output:
            out.close()
    return 0


async def _parts(
    written_as: str, snapshot: Snapshot, kind: ReportPeriod, day: date, now: datetime, settings: Settings
) -> AsyncIterator[str | bytes]:
    everybody = Veil(snapshot.org, None)
    if written_as == "pdf":
        yield await report_page(snapshot, kind, day, now)
    elif written_as == "csv":
        async for line in report_csv(snapshot, kind, day, everybody):
            yield line
    elif written_as == "focus":
        credit_usd = LiveConfig(settings).current.directory.credit_usd
        async for line in report_focus(snapshot, kind, day, everybody, credit_usd):
            yield line
    elif written_as == "json":
        async for part in report_json(snapshot, await snapshot.report(kind, day)):
            yield part
        yield "\n"
    else:
        for line in _lines(await snapshot.report(kind, day)):
            yield f"{line}\n"


def _lines(report: UsageReport) -> list[str]:
    total = report.total
    lines = [
        report.title,
        f"{report.calendar.label(report.period.start)} until before {report.calendar.label(report.period.end)}",
        "",
        f"{format_credits(total.credits_microcredits)} credits for {total.requests:,} requests, "
        f"{total.errors:,} failed; {total.input_tokens:,} tokens in, {total.output_tokens:,} out",
    ]
    for title, groups in (("OPERATION", report.operations), ("MODEL", report.models[:LISTED_MAX])):
        lines += ["", f"{title:40} {'REQUESTS':>12} {'CREDITS':>20}"]
        lines += [
            f"{called(group):40} {group.sums.requests:>12,} "
            f"{format_credits(group.sums.credits_microcredits):>20}"
            for group in groups
        ]
    return lines


async def _backtest(options: argparse.Namespace) -> int:
    settings = load_settings(options.config, weak_admin_token_ok=True)
    async with _snapshot(settings, options.org) as snapshot:
        today = snapshot.calendar.day_of(datetime.now(UTC))
        period = snapshot.calendar.days(today - timedelta(days=options.days), today)
        question = snapshot.question(period, Granularity.DAY)
        groups = await snapshot.reading.groups(question, snapshot.calendar)
    by_day = {date.fromisoformat(group.step): group.sums.credits_microcredits for group in groups}
    first = min(by_day, default=today)
    history = [by_day.get(first + number * DAY, 0) for number in range((today - first).days)]
    scores = list(backtest(history))
    if not scores:
        raise NotFound(
            f"{options.org}: {len(history)} days of usage are too few to try forecasts on (they begin at "
            f"{HISTORY_DAYS_MIN}, trials need five weeks)."
        )
    print(f"{options.org}: {len(history)} days of usage")
    for line in table(scores):
        print(line)
    return 0


async def _rebuild(options: argparse.Namespace) -> int:
    settings = load_settings(options.config, weak_admin_token_ok=True)
    async with _postgres(settings) as postgres:
        calendars = Calendars(postgres)
        for org in options.orgs:
            await known_orgs(postgres, settings).check_read(org)
        orgs = options.orgs or await calendars.orgs()
        with Bar(len(orgs)) as bar:
            for number, org in enumerate(orgs):
                bar.show(number, org)
                await calendars.rebuild(org)
    for org in orgs:
        print(f"{org}: days and hours cut anew")
    return 0
