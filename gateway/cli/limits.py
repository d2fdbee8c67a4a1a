"""`tollgate limits list|set|remove`: what is limited, and limits beside those of limits.yaml."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from gateway.budgets.model import Grace, Limit, Scope, Window
from gateway.budgets.postgres_managed import ManagedLimits
from gateway.budgets.wording import limit_text
from gateway.cli.keys import print_table
from gateway.cli.limits_table import TITLES, limit_rows
from gateway.cli.registry import registry_of
from gateway.cli.stores import Stores, actor, open_stores
from gateway.errors import BadRequest, NotFound
from gateway.identity.issuing import check_model
from gateway.reload import LiveConfig
from pricing.money import format_credits, parse_credits


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "limits",
        help="spending limits",
        description="What may be spent: the limits of limits.yaml, and those set here, which count beside them.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", parents=[with_config], help="what is limited, spent, held and left")
    listing.add_argument("--org", metavar="ID", help="only this organisation's")
    listing.add_argument(
        "--end-users", action="store_true", help="also each end user who has spent in the window"
    )
    listing.set_defaults(run=lambda options: asyncio.run(_list(options)))
    identity = argparse.ArgumentParser(add_help=False)
    identity.add_argument("org", metavar="ORG")
    scope = identity.add_mutually_exclusive_group()
    for name in ("team", "user", "key"):
        scope.add_argument(f"--{name}", metavar="ID", help=f"of one {name}; default: the whole organisation")
    identity.add_argument(
        "--end-users",
        action="store_true",
        help="for each end user within it apart, whom x-tollgate-user names on keys with trusted_attribution",
    )
    identity.add_argument("--window", required=True, choices=[window.value for window in Window])
    identity.add_argument("--operation", help="count only this operation")
    identity.add_argument("--model", help="count only this model (* as wildcard)")
    setting = actions.add_parser(
        "set",
        parents=[with_config, identity],
        help="add a limit or change its amount, on all gateways at once",
    )
    setting.add_argument("--credits", required=True, help="e.g. 500 or 0.25")
    setting.add_argument("--grace-percent", type=int, metavar="N", help="may be passed by this much")
    setting.add_argument("--grace-minutes", type=int, metavar="N", help="and for so long, once per window")
    setting.add_argument(
        "--shadow", action="store_true", help="refuse nothing, only count what it would refuse"
    )
    setting.set_defaults(run=lambda options: asyncio.run(_set(options)))
    removing = actions.add_parser("remove", parents=[with_config, identity], help="take such a limit away")
    removing.set_defaults(run=lambda options: asyncio.run(_remove(options)))


async def _list(options: argparse.Namespace) -> int:
    rows: list[tuple[str, ...]] = [TITLES]
    async with open_stores(options.config) as stores:
        managed = await ManagedLimits(stores.postgres, stores.redis).all()
        declared = LiveConfig(stores.settings).current.directory
        for org, rules in sorted(declared.with_managed(managed).orgs.items()):
            if options.org in (None, org):
                rows += await limit_rows(stores, rules, declared.rules(org), end_users=options.end_users)
    print_table(rows)
    return 0


async def _set(options: argparse.Namespace) -> int:
    if (options.grace_percent is None) != (options.grace_minutes is None):
        raise BadRequest("--grace-percent and --grace-minutes go together")
    grace = None if options.grace_percent is None else Grace(options.grace_percent, options.grace_minutes)
    if grace is not None and not (1 <= grace.percent <= 100 and 1 <= grace.minutes <= 7 * 24 * 60):
        raise BadRequest("--grace-percent: from 1 to 100; --grace-minutes: from 1 to 10080 (a week)")
    if options.end_users and options.window == Window.TOTAL:
        raise BadRequest(
            "--end-users: an end user has no total limit, since it would have to be kept for ever; use another window"
        )
    if options.model is not None:
        check_model("--model", options.model)
    limit = _named(options, parse_credits(options.credits), grace, enforce=not options.shadow)
    async with open_stores(options.config) as stores:
        await registry_of(stores).known_orgs.check(options.org)
        newer_than = await _version(stores, options.org, limit)
        before = await ManagedLimits(stores.postgres, stores.redis).set(
            options.org, limit, newer_than=newer_than, actor=actor()
        )
    was = "new" if before is None else f"was {format_credits(before.amount)}"
    print(f"{_said(options.org, limit)}: {format_credits(limit.amount)} credits ({was})")
    return 0


async def _remove(options: argparse.Namespace) -> int:
    limit = _named(options, 0, None, enforce=True)
    async with open_stores(options.config) as stores:
        newer_than = await _version(stores, options.org, limit)
        before = await ManagedLimits(stores.postgres, stores.redis).remove(
            options.org, limit, newer_than=newer_than, actor=actor()
        )
    if before is None:
        raise NotFound(f"{_said(options.org, limit)}: no such limit was set")
    print(f"{_said(options.org, limit)}: removed (was {format_credits(before.amount)} credits)")
    return 0


def _named(options: argparse.Namespace, amount: int, grace: Grace | None, *, enforce: bool) -> Limit:
    scope, scope_id = Scope.ORG, options.org
    for candidate in (Scope.TEAM, Scope.USER, Scope.KEY):
        if (given := getattr(options, candidate.value)) is not None:
            scope, scope_id = candidate, given
    return Limit(
        scope,
        scope_id,
        Window(options.window),
        amount,
        options.operation,
        options.model,
        grace,
        enforce,
        each_end_user=options.end_users,
    )


async def _version(stores: Stores, org: str, limit: Limit) -> int:
    """The published version of the org's rules. Raises `BadRequest` for a limit that the file declares."""
    rules = LiveConfig(stores.settings).current.directory.rules(org)
    if any(declared.identity == limit.identity for declared in rules.limits):
        raise BadRequest(f"{_said(org, limit)} is declared in {stores.settings.limits}: change it there")
    return max(rules.version, await stores.holds.published_version(org))


def _said(org: str, limit: Limit) -> str:
    return f"{org}: {limit_text(limit)}"
