"""`tollgate migrate`, `reconcile` and `credits`: the schema, the proof, and prepaid balances."""

from __future__ import annotations

import argparse
import asyncio
import secrets
from typing import Any

from gateway.budgets.keyspace import partition_keys
from gateway.cli.stores import Stores, actor, open_stores
from gateway.ledger.migrate import migrate
from gateway.ledger.postgres_grants import CreditGrants
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.ledger.reconcile import reconcile
from gateway.ledger.redis_stream import StreamKeys, UsageStream
from gateway.settings.config import load_settings
from pricing.money import format_credits, parse_credits


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
        help="prove that counters and rows agree",
        description="Compare every counter in Redis with the rows in Postgres. Exit 0 and `drift 0` if they agree.",
    )
    parser.set_defaults(run=lambda options: asyncio.run(_reconcile(options)))
    parser = commands.add_parser(
        "credits", help="prepaid balances", description="Prepaid balances of organisations."
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    grant = actions.add_parser(
        "grant", parents=[with_config], help="add credits to an organisation's balance"
    )
    grant.add_argument("org", metavar="ORG")
    grant.add_argument(
        "credits", metavar="CREDITS", help="e.g. 500 or 0.25; negative corrects an earlier grant"
    )
    grant.add_argument("--reason", default="granted on the command line", help="for the audit log")
    grant.add_argument("--idempotency-key", help="repeat a grant safely: the same key adds nothing twice")
    grant.set_defaults(run=lambda options: asyncio.run(_grant(options)))
    show = actions.add_parser("show", parents=[with_config], help="an organisation's balance")
    show.add_argument("org", metavar="ORG")
    show.set_defaults(run=lambda options: asyncio.run(_show(options)))


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
                UsageStream(client, StreamKeys(number, keys.stream, keys.done), "reconcile")
                for number in range(stores.settings.redis.partitions)
                for keys in (partition_keys(number),)
            ]
            report = await reconcile(
                stores.books.counters, stores.books.open_holds, streams, PostgresLedger(stores.postgres)
            )
        finally:
            await client.aclose()
    for line in report.lines():
        print(line)
    return report.exit_code


async def _grant(options: argparse.Namespace) -> int:
    text = options.credits.strip()
    amount = -parse_credits(text[1:]) if text.startswith("-") else parse_credits(text)
    async with open_stores(options.config) as stores:
        await CreditGrants(stores.postgres, stores.books).grant(
            options.org,
            amount,
            idempotency_key=options.idempotency_key or secrets.token_hex(16),
            reason=options.reason,
            actor=actor(),
        )
        await _print_balance(stores, options.org)
    return 0


async def _show(options: argparse.Namespace) -> int:
    async with open_stores(options.config) as stores:
        await _print_balance(stores, options.org)
    return 0


async def _print_balance(stores: Stores, org: str) -> None:
    balance = await stores.books.balance(org)
    left = balance.granted - balance.spent
    print(
        f"{org}: {format_credits(left)} credits left of {format_credits(balance.granted)} granted, "
        f"{format_credits(balance.held)} of them held by calls in flight"
    )
