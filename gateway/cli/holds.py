"""`tollgate holds list|release`: calls in flight, and giving back a hold that should not be there."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from gateway.cli.keys import print_table
from gateway.cli.stores import actor, open_stores
from gateway.errors import NotFound
from gateway.stores import postgres_audit
from pricing.money import format_credits


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "holds",
        help="calls in flight and what is held for them",
        description="Calls in flight, and the credits set aside for each until it is settled.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", parents=[with_config], help="nearest deadline first")
    listing.add_argument("--org", metavar="ID", help="only this organisation's")
    listing.set_defaults(run=lambda options: asyncio.run(_list(options)))
    release = actions.add_parser(
        "release",
        parents=[with_config],
        help="give a hold back without charging it",
        description="Give a hold back without charging it. Its call, if it still runs, is then not charged either: "
        "use it only for calls that are known not to have reached their provider. Audited.",
    )
    release.add_argument("request_id", metavar="REQUEST-ID", help="the first column of `tollgate holds list`")
    release.add_argument("--reason", required=True, help="for the audit log")
    release.set_defaults(run=lambda options: asyncio.run(_release(options)))


async def _list(options: argparse.Namespace) -> int:
    rows = [("REQUEST", "ORG", "KEY", "OPERATION", "MODEL", "CREDITS HELD", "AGE", "DEADLINE IN")]
    async with open_stores(options.config) as stores:
        async for hold in stores.books.open_holds(options.org):
            left_s = (hold.deadline_us - hold.started_at_us) // 1_000_000 - hold.age_s
            rows.append(
                (hold.request_id, hold.subject.org, hold.subject.key, hold.operation, hold.model,
                 format_credits(hold.amount), f"{hold.age_s} s", f"{left_s} s")
            )  # fmt: skip
    if len(rows) == 1:
        print("no calls in flight")
    else:
        print_table(rows)
    return 0


async def _release(options: argparse.Namespace) -> int:
    async with open_stores(options.config) as stores:
        found = [hold async for hold in stores.books.open_holds() if hold.request_id == options.request_id]
        if not found:
            raise NotFound(f"There is no open hold {options.request_id}.")
        async with stores.postgres.transaction() as session:
            await postgres_audit.record(
                session,
                actor=actor(),
                action="hold.release",
                object=f"hold:{options.request_id}",
                org=found[0].subject.org,
                before={"held_microcredits": found[0].amount, "org": found[0].subject.org},
                after={"reason": options.reason},
            )
        outcome = await stores.holds.release(options.request_id, found[0].subject.org)
    print(f"{options.request_id}: {outcome.value}, {format_credits(found[0].amount)} credits given back")
    return 0
