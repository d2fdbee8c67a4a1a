"""`tollgate keys create|list|rotate|revoke`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.cli.moments import instant
from gateway.cli.registry import registry_of
from gateway.cli.stores import Stores, actor, open_stores
from gateway.errors import BadRequest, NotFound
from gateway.identity.issuing import KeyIssuer, NewKey
from gateway.identity.keys import file_keys
from gateway.identity.postgres_keys import KeyTable
from gateway.identity.redis_keys import SharedKeys
from gateway.identity.roles import Reach
from gateway.settings.limits import load_limits


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "keys",
        help="client keys",
        description="Make, list, rotate and revoke the keys that clients send. Those of limits.yaml are changed there.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", parents=[with_config], help="make a key; it is shown this once")
    create.add_argument(
        "--org", required=True, metavar="ID", help="the organisation that pays, as in limits.yaml"
    )
    create.add_argument(
        "--team", metavar="ID", help="the team whose limits apply; default: the only one of --user"
    )
    create.add_argument(
        "--user", metavar="ID", help="its owner, whose limits apply; default: none (a service key)"
    )
    create.add_argument("--name", required=True, help="what it is for, e.g. 'ada laptop'")
    create.add_argument(
        "--expires", type=instant, metavar="ISO-TIME", help="e.g. 2027-01-01T00:00:00Z; default: never"
    )
    create.add_argument("--model", action="append", help="allow only this model (repeatable, * as wildcard)")
    create.add_argument("--operation", action="append", help="allow only this operation (repeatable)")
    create.add_argument("--requests-per-minute", type=int, metavar="N", help="at most; default: no bound")
    create.add_argument("--open-calls", type=int, metavar="N", help="at most at once; default: no bound")
    create.add_argument(
        "--trusted-attribution",
        action="store_true",
        help="believe the x-tollgate-user of its calls: whom it names is limited as an end user",
    )
    create.add_argument(
        "--access",
        choices=["calls", "role"],
        default="calls",
        help="what it may ask the API for: to see its user's own, or what its user's role allows; default: calls",
    )
    create.set_defaults(run=lambda options: asyncio.run(_create(options)))
    listing = actions.add_parser("list", parents=[with_config], help="all keys, as prefixes")
    listing.add_argument("--org", metavar="ID", help="only this organisation's")
    listing.set_defaults(run=lambda options: asyncio.run(_list(options)))
    rotate = actions.add_parser(
        "rotate", parents=[with_config], help="give a key another secret; it is shown this once"
    )
    rotate.add_argument("key_id", metavar="KEY-ID", help="the first column of `tollgate keys list`")
    rotate.add_argument(
        "--old-valid-until",
        type=instant,
        metavar="ISO-TIME",
        help="how long the old secret goes on working, e.g. 2027-01-01T00:00:00Z; default: it stops now",
    )
    rotate.set_defaults(run=lambda options: asyncio.run(_rotate(options)))
    revoke = actions.add_parser("revoke", parents=[with_config], help="stop a key everywhere within a second")
    revoke.add_argument("key_id", metavar="KEY-ID", help="the first column of `tollgate keys list`")
    revoke.set_defaults(run=lambda options: asyncio.run(_revoke(options)))


def _issuer(stores: Stores) -> KeyIssuer:
    return KeyIssuer(KeyTable(stores.postgres), SharedKeys(stores.redis), stores.holds)


async def _create(options: argparse.Namespace) -> int:
    new = NewKey(
        org_id=options.org,
        name=options.name,
        team_id=options.team,
        user_id=options.user,
        allowed_models=tuple(options.model) if options.model else None,
        allowed_operations=tuple(options.operation) if options.operation else None,
        requests_per_minute=options.requests_per_minute,
        open_calls_max=options.open_calls,
        expires_at=options.expires,
        access=options.access,
        trusted_attribution=options.trusted_attribution,
    )
    async with open_stores(options.config) as stores:
        new = await registry_of(stores).keys.in_own_team(new)
        issued = await _issuer(stores).create(new, actor=actor())
        unknown = await _unknown(stores, new.org_id, new.team_id)
    print(f"{issued.listed.record.key_id}: keep this key, it is not shown again", file=sys.stderr)
    if unknown:
        print(f"warning: {unknown}", file=sys.stderr)
    print(issued.key)
    return 0


async def _unknown(stores: Stores, org: str, team: str | None) -> str | None:
    """What a new key names that is nowhere yet, and what that means."""
    registry = registry_of(stores)
    try:
        await registry.orgs.get(org)
    except NotFound:
        return (
            f"there is no organisation {org!r}, neither in {stores.settings.limits} nor made with "
            "`tollgate orgs create`; until there is, nothing bounds what this key spends"
        )
    try:
        if team is not None:
            await registry.teams.get(org, team)
    except NotFound:
        return (
            f"there is no team {team!r} in {org!r}, neither in {stores.settings.limits} nor made over the API; until "
            "there is, only limits of its organisation, user and key bind this key"
        )
    return None


async def _list(options: argparse.Namespace) -> int:
    async with open_stores(options.config) as stores:
        if options.org is not None:
            await registry_of(stores).known_orgs.check_read(options.org)
        rows = [("ID", "KEY", "ORG", "TEAM", "USER", "STATE", "NAME")]
        for listed in await _issuer(stores).list(Reach(options.org)):
            record = listed.record
            state = "revoked" if record.revoked else "active"
            if not record.revoked and record.expires_at is not None:
                state = (
                    "expired"
                    if record.expires_at <= datetime.now(UTC)
                    else f"until {record.expires_at:%Y-%m-%d}"
                )
            rows.append(
                (record.key_id, f"{listed.prefix}…", record.org_id, record.team_id or "-", record.user_id or "-",
                 state, listed.name)
            )  # fmt: skip
        declared = f"declared in {stores.settings.limits.name}"
        rows += [
            (
                record.key_id,
                "-",
                record.org_id,
                record.team_id or "-",
                record.user_id or "-",
                "active",
                declared,
            )
            for record in file_keys(load_limits(stores.settings.limits)).values()
            if options.org in (None, record.org_id)
        ]
    print_table(rows)
    return 0


async def _rotate(options: argparse.Namespace) -> int:
    old_until = options.old_valid_until
    async with open_stores(options.config) as stores:
        _refuse_declared(stores, options.key_id, "replace its digest there")
        issued = await _issuer(stores).rotate(options.key_id, old_until=old_until, actor=actor())
    until = "stops now" if old_until is None else f"works until {old_until:%Y-%m-%d %H:%M:%S %Z}"
    print(f"{options.key_id}: keep this key, it is not shown again; the old one {until}", file=sys.stderr)
    print(issued.key)
    return 0


def _refuse_declared(stores: Stores, key_id: str, instead: str) -> None:
    declared = {record.key_id for record in file_keys(load_limits(stores.settings.limits)).values()}
    if key_id in declared:
        raise BadRequest(f"{key_id} is declared in {stores.settings.limits}: {instead}.")


async def _revoke(options: argparse.Namespace) -> int:
    async with open_stores(options.config) as stores:
        _refuse_declared(stores, options.key_id, "delete it there, which revokes it")
        listed = await _issuer(stores).revoke(options.key_id, actor=actor())
    print(f"{listed.record.key_id} ({listed.prefix}…) is revoked")
    return 0


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
