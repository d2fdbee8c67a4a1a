"""`tollgate limits list`: every limit, and how much of it is spent and held."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from gateway.cli.keys import print_table
from gateway.cli.stores import open_stores
from gateway.reload import LiveConfig
from pricing.money import format_credits


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("limits", help="spending limits")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", parents=[with_config], help="what is limited, spent, held and left")
    listing.add_argument("--org")
    listing.set_defaults(run=lambda options: asyncio.run(_list(options)))


async def _list(options: argparse.Namespace) -> int:
    rows = [("ORG", "SCOPE", "WINDOW", "FOR", "LIMIT", "SPENT", "HELD", "LEFT", "")]
    async with open_stores(options.config) as stores:
        directory = LiveConfig(stores.settings).current.directory
        for org, rules in directory.orgs.items():
            if options.org not in (None, org):
                continue
            readings = [reading async for reading in stores.books.counters(org)]
            for limit in rules.limits:
                newest = max(
                    (
                        reading
                        for reading in readings
                        if (reading.scope, reading.scope_id, reading.window, reading.operation, reading.model)
                        == (limit.scope, limit.scope_id, limit.window, limit.operation, limit.model)
                    ),
                    key=lambda reading: reading.start_us,
                    default=None,
                )
                spent, held = (newest.settled, newest.held) if newest is not None else (0, 0)
                rows.append(
                    (org, f"{limit.scope} {limit.scope_id}", limit.window, limit.operation or limit.model or "all",
                     format_credits(limit.amount), format_credits(spent), format_credits(held),
                     format_credits(limit.amount - spent - held), "" if limit.enforce else "shadow")
                )  # fmt: skip
    print_table(rows)
    return 0
