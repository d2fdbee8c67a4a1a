"""`tollgate generate-usage`: a made-up past, to try reports on and to measure them by."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateway.cli.moments import day
from gateway.cli.progress import Bar
from gateway.cli.registry import registry_of
from gateway.cli.stores import actor, open_stores
from gateway.errors import NotFound
from gateway.identity.orgs import OrgProfile
from gateway.ledger.generated_usage import MadeOrg, made_orgs, plan
from gateway.ledger.postgres_generated import GeneratedUsage
from gateway.reload import LiveConfig
from gateway.settings.config import load_settings
from gateway.stores.postgres import Postgres


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "generate-usage",
        parents=[with_config],
        help="a made-up past of made-up organisations; not for an installation that is in use",
        description="Write made-up usage of made-up organisations, which it makes unless they are there. For trials "
        "and measurements only: it fills the tables that real usage is written to. Repeating it with the same numbers "
        "adds nothing.",
    )
    parser.add_argument("--org", type=int, default=4, metavar="N", help="how many organisations (default: 4)")
    parser.add_argument("--rows", type=int, default=100_000, metavar="N", help="requests (default: 100000)")
    parser.add_argument("--days", type=int, default=365, metavar="N", help="over so many days (default: 365)")
    parser.add_argument("--until", type=day, metavar="DATE", help="the day after the last (default: today)")
    parser.add_argument("--prefix", default="org", help="what the organisations are called, before a number")
    parser.add_argument(
        "--writers", type=int, default=2, metavar="N", help="connections that write (default: 2)"
    )
    parser.add_argument(
        "--prepaid",
        action="store_true",
        help="what is used is paid from prepaid balances: grant credits, or they end below zero",
    )
    parser.set_defaults(run=lambda options: asyncio.run(_generate(options)))


async def _generate(options: argparse.Namespace) -> int:
    settings = load_settings(options.config, weak_admin_token_ok=True)
    wanted = made_orgs(options.org, options.prefix)
    orgs = await _there(options, wanted)
    until = options.until or datetime.now(UTC).date()
    prices = LiveConfig(settings).current.prices
    postgres = Postgres(settings.postgres.dsn.get_secret_value(), connections_max=options.writers + 1)
    await postgres.start()
    try:
        usage = GeneratedUsage(postgres, prices, datetime.now(UTC), prepaid=options.prepaid)
        await usage.prepare(orgs)
        with Bar(options.rows) as bar:
            done, new = await usage.write_all(
                plan(orgs, options.rows, until, options.days),
                options.writers,
                lambda done, last: bar.show(done, str(last.day)),
            )
    finally:
        await postgres.stop()
    print(f"{new:,} requests written, {done - new:,} were there")
    print(f"of {', '.join(org.org_id for org in orgs)}: see `tollgate report {orgs[0].org_id}`")
    print(f"over the API with the admin token: GET /api/credits/usage?org={orgs[0].org_id}")
    return 0


async def _there(options: argparse.Namespace, wanted: Sequence[MadeOrg]) -> list[MadeOrg]:
    """The organisations, made unless they are there, in which case their own time zone counts: what cuts days has to
    be one for reports, balances and statements."""
    found = []
    async with open_stores(options.config) as stores:
        orgs = registry_of(stores).orgs
        for org in wanted:
            try:
                there = await orgs.get(org.org_id)
            except NotFound:
                profile = OrgProfile(org.org_id, org.time_zone, balance_required=options.prepaid)
                there = await orgs.create(org.org_id, profile, actor=actor())
            found.append(replace(org, time_zone=there.profile.time_zone))
    return found
