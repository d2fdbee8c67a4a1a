"""`tollgate alerts list`: what happened to limits and balances."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from gateway.alerts.postgres_book import AlertReading
from gateway.alerts.wording import message
from gateway.budgets.windows import Calendar
from gateway.cli.keys import print_table
from gateway.cli.registry import registry_of
from gateway.cli.stores import actor, open_stores
from gateway.identity.roles import Reach


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "alerts",
        help="what happened to limits and balances",
        description="Alerts as they were recorded: levels reached, calls refused, credits about to expire.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", parents=[with_config], help="the newest first")
    listing.add_argument("--org", metavar="ID", required=True, help="of this organisation")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default: 50)")
    listing.set_defaults(run=lambda options: asyncio.run(_list(options)))


async def _list(options: argparse.Namespace) -> int:
    rows = [("WHEN", "SEVERITY", "KIND", "WHAT", "ANNOUNCED")]
    async with open_stores(options.config) as stores:
        await registry_of(stores).known_orgs.check_read(options.org)
        calendar: Calendar = (await stores.holds.limits(options.org)).calendar
        found = await AlertReading(stores.postgres).page(
            options.org, Reach(options.org), actor(), limit=max(1, options.limit)
        )
        for alert in found:
            when = calendar.local(int(alert.occurred_at.timestamp() * 1_000_000))
            announced = "by itself" if alert.sent else "with a higher level"
            rows.append((when, alert.severity, alert.kind, message(alert, calendar).title, announced))
    if len(rows) == 1:
        print(f"nothing happened in {options.org}")
    else:
        print_table(rows)
    return 0
