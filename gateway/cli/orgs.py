"""`tollgate orgs list|create|change` and `tollgate teams list|create`."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from gateway.cli.keys import print_table
from gateway.cli.registry import registry_of, valid
from gateway.cli.stores import actor, open_stores
from gateway.errors import BadRequest
from gateway.identity.orgs import Org, OrgProfile
from gateway.identity.roles import Reach
from gateway.identity.teams import TeamProfile
from gateway.settings.limits import Id, TimeZone

_ALL = 1_000_000


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "orgs",
        help="organisations",
        description="Organisations: those of limits.yaml, and those made here, which count beside them.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", parents=[with_config], help="all of them")
    listing.set_defaults(run=lambda options: asyncio.run(_list(options)))
    create = actions.add_parser("create", parents=[with_config], help="make one, in force everywhere at once")
    change = actions.add_parser("change", parents=[with_config], help="change one that was made here")
    for action in (create, change):
        action.add_argument("org", metavar="ORG")
        action.add_argument("--name", help="as people call it; default: its id")
        action.add_argument("--time-zone", metavar="ZONE", help="e.g. Europe/Paris; default: UTC")
        action.add_argument("--week-start", metavar="DAY", help="e.g. sunday; default: monday")
        action.add_argument(
            "--prepaid", choices=["yes", "no"], help="yes: nothing runs without credits; default: no"
        )
        action.add_argument(
            "--events-kept-months",
            type=int,
            metavar="N",
            help="remove single requests after so many; 0: never",
        )
    create.set_defaults(run=lambda options: asyncio.run(_create(options)))
    change.set_defaults(run=lambda options: asyncio.run(_change(options)))
    parser = commands.add_parser("teams", help="teams", description="Teams of an organisation.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", parents=[with_config], help="all of an organisation's")
    listing.add_argument("--org", required=True, metavar="ID")
    listing.set_defaults(run=lambda options: asyncio.run(_list_teams(options)))
    create = actions.add_parser("create", parents=[with_config], help="make one, in force everywhere at once")
    create.add_argument("team", metavar="TEAM")
    create.add_argument("--org", required=True, metavar="ID")
    create.add_argument("--name", help="as people call it; default: its id")
    create.add_argument("--model", action="append", help="allow only this model (repeatable, * as wildcard)")
    create.add_argument("--operation", action="append", help="allow only this operation (repeatable)")
    create.set_defaults(run=lambda options: asyncio.run(_create_team(options)))


async def _list(options: argparse.Namespace) -> int:
    rows: list[tuple[str, ...]] = [("ID", "NAME", "TIME ZONE", "WEEK", "PREPAID", "KEEPS", "DECLARED")]
    async with open_stores(options.config) as stores:
        rows += [
            _row(org, stores.settings.limits.name) for org in await registry_of(stores).orgs.page(None, _ALL)
        ]
    print_table(rows)
    return 0


def _row(org: Org, file: str) -> tuple[str, ...]:
    said = org.profile
    kept = "all" if said.events_kept_months is None else f"{said.events_kept_months} months"
    prepaid = "yes" if said.balance_required else "no"
    declared = f"in {file}" if org.source == "file" else "here"
    return org.org_id, said.name, said.time_zone, said.week_start, prepaid, kept, declared


async def _create(options: argparse.Namespace) -> int:
    profile = OrgProfile(**{"name": options.org, **_said(options)})
    valid(Id, options.org, "ORG")
    async with open_stores(options.config) as stores:
        await registry_of(stores).orgs.create(options.org, profile, actor=actor())
    print(f"{options.org} is made")
    return 0


async def _change(options: argparse.Namespace) -> int:
    changes = _said(options)
    if not changes:
        raise BadRequest("say what to change, e.g. --time-zone Europe/Paris")
    async with open_stores(options.config) as stores:
        await registry_of(stores).orgs.change(options.org, changes, actor=actor())
    print(f"{options.org} is changed")
    return 0


def _said(options: argparse.Namespace) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if options.name is not None:
        said["name"] = options.name
    if options.time_zone is not None:
        said["time_zone"] = valid(TimeZone, options.time_zone, "--time-zone")
    if options.week_start is not None:
        days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
        if options.week_start.lower() not in days:
            raise BadRequest(f"--week-start: one of {', '.join(days)}")
        said["week_start"] = options.week_start.lower()
    if options.prepaid is not None:
        said["balance_required"] = options.prepaid == "yes"
    if options.events_kept_months is not None:
        if not 0 <= options.events_kept_months <= 1200:
            raise BadRequest("--events-kept-months: from 1 to 1200; 0: never")
        said["events_kept_months"] = options.events_kept_months or None
    return said


async def _list_teams(options: argparse.Namespace) -> int:
    rows = [("ID", "NAME", "MODELS", "OPERATIONS", "DECLARED")]
    async with open_stores(options.config) as stores:
        registry = registry_of(stores)
        await registry.known_orgs.check_read(options.org)
        for team in await registry.teams.page(options.org, Reach(options.org), None, _ALL):
            said = team.profile
            models = "all" if said.allowed_models is None else ",".join(said.allowed_models)
            operations = "all" if said.allowed_operations is None else ",".join(said.allowed_operations)
            declared = f"in {stores.settings.limits.name}" if team.source == "file" else "here"
            rows.append((team.team_id, said.name, models, operations, declared))
    print_table(rows)
    return 0


async def _create_team(options: argparse.Namespace) -> int:
    models = tuple(options.model) if options.model else None
    operations = tuple(options.operation) if options.operation else None
    profile = TeamProfile(options.name or options.team, models, operations)
    valid(Id, options.team, "TEAM")
    async with open_stores(options.config) as stores:
        await registry_of(stores).teams.create(options.org, options.team, profile, actor=actor())
    print(f"{options.team} is made in {options.org}")
    return 0
