"""`tollgate webhooks list|deliveries|replay`: who is told of alerts, what became of it, and telling it again."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime
from typing import Any

from gateway.alerts.postgres_deliveries import DeliveryTable
from gateway.alerts.postgres_webhooks import WebhookReading
from gateway.cli.keys import print_table
from gateway.cli.moments import instant
from gateway.cli.registry import registry_of
from gateway.cli.stores import actor, open_stores
from gateway.errors import BadRequest


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "webhooks",
        help="endpoints that are told of alerts",
        description="Endpoints that are told of alerts, and what became of each message.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    of_org = argparse.ArgumentParser(add_help=False)
    of_org.add_argument("--org", metavar="ID", required=True, help="of this organisation")
    listing = actions.add_parser("list", parents=[with_config, of_org], help="all endpoints")
    listing.set_defaults(run=lambda options: asyncio.run(_list(options)))
    deliveries = actions.add_parser(
        "deliveries", parents=[with_config, of_org], help="what was sent to one, the newest first"
    )
    deliveries.add_argument("webhook_id", metavar="WEBHOOK-ID")
    deliveries.add_argument("--state", choices=["pending", "delivered", "failed", "cancelled"])
    deliveries.add_argument(
        "--limit", type=int, default=50, metavar="N", help="at most so many (default: 50)"
    )
    deliveries.set_defaults(run=lambda options: asyncio.run(_deliveries(options)))
    replay = actions.add_parser(
        "replay",
        parents=[with_config, of_org],
        help="send messages again",
        description="Send messages again under their message ids: one delivery, or those since a time. Audited.",
    )
    replay.add_argument("webhook_id", metavar="WEBHOOK-ID")
    replay.add_argument("--delivery", metavar="ID", help="this one")
    replay.add_argument("--since", metavar="TIME", type=instant, help="e.g. 2026-11-22T08:00:00Z")
    replay.add_argument("--until", metavar="TIME", type=instant)
    replay.add_argument("--state", choices=["delivered", "failed", "cancelled"], help="only those")
    replay.set_defaults(run=lambda options: asyncio.run(_replay(options)))


async def _list(options: argparse.Namespace) -> int:
    rows = [("WEBHOOK", "URL", "KINDS", "STATE")]
    async with open_stores(options.config) as stores:
        await registry_of(stores).known_orgs.check_read(options.org)
        for one in await WebhookReading(stores.postgres).page(options.org, None, 1000):
            kinds = "all" if one.kinds is None else ", ".join(one.kinds)
            rows.append((one.endpoint_id, one.url, kinds, one.disabled_reason or "in use"))
    if len(rows) == 1:
        print(f"{options.org} has no webhooks")
    else:
        print_table(rows)
    return 0


async def _deliveries(options: argparse.Namespace) -> int:
    rows = [("DELIVERY", "KIND", "STATE", "ATTEMPTS", "MADE", "NEXT ATTEMPT", "LAST ANSWER")]
    async with open_stores(options.config) as stores:
        endpoint = await WebhookReading(stores.postgres).get(options.org, options.webhook_id)
        table = DeliveryTable(stores.postgres)
        found = await table.page(
            options.org, target=endpoint.target, state=options.state, before=None, limit=max(1, options.limit)
        )
        for row in found:
            attempts = await table.attempts(options.org, endpoint.target, row.delivery_id)
            last = attempts[-1] if attempts else None
            said = "" if last is None else f"{last.status or ''} {last.reason}".strip()
            following = f"{row.due_at:%Y-%m-%d %H:%M:%SZ}" if row.state == "pending" else ""
            rows.append(
                (row.delivery_id, row.kind or "test", row.state, str(row.attempts),
                 f"{row.created_at:%Y-%m-%d %H:%M:%SZ}", following, said)
            )  # fmt: skip
    if len(rows) == 1:
        print("nothing was sent to this webhook")
    else:
        print_table(rows)
    return 0


async def _replay(options: argparse.Namespace) -> int:
    if (options.delivery is None) == (options.since is None):
        raise BadRequest("name either --delivery or --since")
    async with open_stores(options.config) as stores:
        endpoint = await WebhookReading(stores.postgres).get(options.org, options.webhook_id)
        made = await DeliveryTable(stores.postgres).replay(
            options.org, endpoint.target, datetime.now(UTC), actor=actor(), delivery_id=options.delivery,
            since=options.since, until=options.until, state=options.state,
        )  # fmt: skip
    print(f"{len(made)} messages will be sent again")
    return 0
