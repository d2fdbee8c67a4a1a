"""`tollgate people list|create|profile|suspend|resume|grant|withdraw|export|erase`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from gateway.cli.keys import print_table
from gateway.cli.registry import operator, registry_of, valid
from gateway.cli.stores import open_stores
from gateway.errors import BadRequest
from gateway.identity.people import NewPerson, Wanted
from gateway.identity.postgres_people import Membership
from gateway.identity.profile import Profile
from gateway.identity.registry import Registry
from gateway.identity.roles import Reach, Role
from gateway.identity.standing import OF_ORG, OF_TEAM
from gateway.settings.limits import Id

_ALL = 1_000_000
_ROLES = [role.value for role in Role if role in OF_ORG | OF_TEAM]
Step = Callable[[Registry, argparse.Namespace], Awaitable[str]]


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "people",
        help="people, service accounts and their roles",
        description="People and service accounts: those of limits.yaml, and those made here.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    in_org = argparse.ArgumentParser(add_help=False)
    in_org.add_argument("--org", required=True, metavar="ID")

    def action(name: str, help: str, run: Callable[[argparse.Namespace], Any]) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = actions.add_parser(name, parents=[with_config, in_org], help=help)
        made.set_defaults(run=lambda options: asyncio.run(run(options)))
        return made

    action("list", "everybody, with their roles; names are not shown", _list)
    create = action("create", "make a person or a service account", _done(_create))
    create.add_argument("user", metavar="USER", help="an id that says nothing: it stays in usage")
    create.add_argument("--service", action="store_true", help="an account that programs use")
    _add_profile(create)
    create.add_argument("--role", choices=_ROLES, help="default: member")
    create.add_argument("--team", metavar="ID", help="for the roles lead and member")
    profile = action("profile", "replace a profile; it is stored encrypted", _done(_profile))
    profile.add_argument("user", metavar="USER")
    _add_profile(profile)
    for name, help, step in (
        ("suspend", "stop all keys of somebody within a second", _suspend),
        ("resume", "let them work again", _resume),
        ("erase", "erase somebody; sums stay as they are. It cannot be undone", _erase),
    ):
        action(name, help, _done(step)).add_argument("user", metavar="USER")
    for name, help, step in (
        ("grant", "give a role", _grant),
        ("withdraw", "take a role away", _withdraw),
    ):
        made = action(name, help, _done(step))
        made.add_argument("user", metavar="USER")
        made.add_argument("role", choices=_ROLES)
        made.add_argument("--team", metavar="ID", help="for the roles lead and member")
    action("export", "print everything that is kept of somebody, as JSON", _export).add_argument(
        "user", metavar="USER"
    )


def _add_profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="as people call them")
    parser.add_argument("--email", help="for alerts and invitations")
    parser.add_argument("--phone", help="e.g. +33612345678")


def _done(step: Step) -> Callable[[argparse.Namespace], Awaitable[int]]:
    """A command that does one thing and says what it did."""

    async def run(options: argparse.Namespace) -> int:
        async with open_stores(options.config) as stores:
            print(await step(registry_of(stores), options))
        return 0

    return run


async def _list(options: argparse.Namespace) -> int:
    rows = [("ID", "KIND", "STATE", "ROLES", "PROFILE", "DECLARED")]
    async with open_stores(options.config) as stores:
        registry = registry_of(stores)
        await registry.known_orgs.check_read(options.org)
        for person in await registry.people.page(options.org, Reach(options.org), Wanted(), None, _ALL):
            roles = ", ".join(
                held.role.value if held.team_id is None else f"{held.role.value} of {held.team_id}"
                for held in person.memberships
            )
            declared = f"in {stores.settings.limits.name}" if person.source == "file" else "here"
            given = ", ".join(person.profile.given) or "-"
            rows.append((person.user_id, person.kind, person.state, roles or "member", given, declared))
    print_table(rows)
    return 0


async def _create(registry: Registry, options: argparse.Namespace) -> str:
    valid(Id, options.user, "USER")
    memberships: tuple[Membership, ...] = ()
    if options.role is not None or options.team is not None:
        memberships = (Membership(options.team, Role(options.role or "member")),)
    kind = "service" if options.service else "person"
    new = NewPerson(options.user, kind, _given(options), memberships)  # type: ignore[arg-type]
    person = await registry.people.create(options.org, new, by=operator())
    key = f"tollgate keys create --org {options.org} --user {person.user_id} --name laptop --config {options.config}"
    return f"{person.user_id} is made; `{key}` gives a key"


def _given(options: argparse.Namespace) -> Profile:
    return Profile(options.name, options.email, options.phone)


async def _profile(registry: Registry, options: argparse.Namespace) -> str:
    if _given(options) == Profile():
        raise BadRequest("say what the profile is: --name, --email, --phone")
    await registry.people.set_profile(options.org, options.user, _given(options), by=operator())
    return f"the profile of {options.user} is stored, encrypted under {registry.vault.active}"


async def _suspend(registry: Registry, options: argparse.Namespace) -> str:
    await registry.people.set_state(options.org, options.user, "suspended", by=operator())
    return f"{options.user} is suspended"


async def _resume(registry: Registry, options: argparse.Namespace) -> str:
    await registry.people.set_state(options.org, options.user, "active", by=operator())
    return f"{options.user} is active"


async def _grant(registry: Registry, options: argparse.Namespace) -> str:
    membership = Membership(options.team, Role(options.role))
    await registry.people.grant(options.org, options.user, membership, by=operator())
    return f"{options.user} is {_said(options)}"


async def _withdraw(registry: Registry, options: argparse.Namespace) -> str:
    membership = Membership(options.team, Role(options.role))
    await registry.people.withdraw(options.org, options.user, membership, by=operator())
    return f"{options.user} is no longer {_said(options)}"


def _said(options: argparse.Namespace) -> str:
    return f"{options.role} of {options.team or options.org}"


async def _erase(registry: Registry, options: argparse.Namespace) -> str:
    now = datetime.now(UTC)
    erasure = await registry.erasures.request(options.org, options.user, by=operator(), now=now)
    erasure = await registry.erasures.proceed(erasure, now)
    if erasure.completed_at is None:
        return (
            f"{options.user}: profile, roles and keys are gone; usage follows when the calls that are open have ended "
            "(a running gateway sees to it, or repeat this)"
        )
    return f"{options.user} is erased; sums are as they were"


async def _export(options: argparse.Namespace) -> int:
    async with open_stores(options.config) as stores:
        registry = registry_of(stores)
        person = await registry.people.get(options.org, options.user, Reach(options.org))
        async for piece in registry.subject_export.document(person, datetime.now(UTC)):
            sys.stdout.buffer.write(piece)
    sys.stdout.flush()
    return 0
