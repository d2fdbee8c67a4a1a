"""`tollgate migrate` and `reconcile`: the schema, and the proof."""

from __future__ import annotations

import argparse
import asyncio
from itertools import count
from typing import Any

from gateway.budgets.keyspace import partition_keys
from gateway.cli.progress import Bar
from gateway.cli.stores import open_stores
from gateway.ledger.migrate import migrate
from gateway.ledger.postgres_spent import STAGES, PostgresLedger
from gateway.ledger.reconcile import reconcile
from gateway.ledger.reconcile_balances import reconcile_balances
from gateway.ledger.redis_stream import StreamKeys, UsageStream
from gateway.settings.config import load_settings


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "migrate",
        parents=[with_config],
        help="bring the database schema up to date",
        description="Create or update the tables. Safe to repeat, and to run from several machines at once.",
    )
    parser.set_defaults(run=_migrate)
    parser = commands.add_parser(
        "reconcile",
        parents=[with_config],
        help="prove that counters, balances, ledger and rows agree",
        description="Compare every counter and balance in Redis with the rows and the ledger in Postgres. "
        "Exit 0 and `drift 0` if they agree.",
    )
    parser.set_defaults(run=lambda options: asyncio.run(_reconcile(options)))


def _migrate(options: argparse.Namespace) -> int:
    settings = load_settings(options.config, weak_admin_token_ok=True)
    applied = asyncio.run(migrate(settings.postgres.dsn.get_secret_value()))
    print("\n".join(f"applied {name}" for name in applied) or "nothing to do: the schema is up to date")
    return 0


async def _reconcile(options: argparse.Namespace) -> int:
    async with open_stores(options.config) as stores:
        client = stores.redis.client()
        try:
            streams = [
                UsageStream(client, stores.redis, StreamKeys(number, keys.stream, keys.done), "reconcile")
                for number in range(stores.settings.redis.partitions)
                for keys in (partition_keys(number),)
            ]
            with Bar(STAGES) as bar:
                done = count()
                ledger = PostgresLedger(stores.postgres, lambda what: bar.show(next(done), what))
                report = await reconcile(
                    stores.books.counters,
                    stores.books.open_holds,
                    streams,
                    ledger,
                    open_calls_off=stores.books.open_calls_off,
                )
                report = await reconcile_balances(report, stores.holds.balances, ledger)
        finally:
            await client.aclose()
    for line in report.lines():
        print(line)
    return report.exit_code
