"""`tollgate dead-letters list|retry`: usage that was charged and could not be written."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from gateway.cli.keys import print_table
from gateway.cli.stores import actor, open_stores
from gateway.errors import NotFound
from gateway.ledger.postgres_dead_letters import BuriedLetter, DeadLetters
from pricing.money import format_credits


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "dead-letters",
        help="usage that could not be written",
        description="Usage that was charged and that no row could be made of. Until it is put back, `reconcile` shows "
        "it as drift.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser(
        "list", parents=[with_config], help="oldest first, and why each was put aside"
    )
    listing.set_defaults(run=lambda options: asyncio.run(_list(options)))
    retry = actions.add_parser(
        "retry",
        parents=[with_config],
        help="write them after all",
        description="Try to write them again, after an upgrade or a repair of the database. Safe to repeat; audited. "
        "Exit 1 if some still cannot be written.",
    )
    retry.add_argument(
        "entry_id", nargs="?", metavar="ENTRY", help="the first column of the list; default: all of them"
    )
    retry.set_defaults(run=lambda options: asyncio.run(_retry(options)))


async def _list(options: argparse.Namespace) -> int:
    async with open_stores(options.config) as stores:
        letters = await DeadLetters(stores.postgres).list()
    if not letters:
        print("no dead letters")
        return 0
    rows = [("ENTRY", "REQUEST", "ORG", "CREDITS", "SINCE", "REASON")]
    rows += [
        (
            letter.entry.entry_id,
            letter.request_id,
            letter.org or "?",
            _credits(letter),
            f"{letter.recorded_at:%Y-%m-%d %H:%M}",
            " ".join(letter.reason.split())[:120],
        )
        for letter in letters
    ]
    print_table(rows)
    return 0


async def _retry(options: argparse.Namespace) -> int:
    async with open_stores(options.config) as stores:
        dead = DeadLetters(stores.postgres)
        letters = [
            letter for letter in await dead.list() if options.entry_id in (None, letter.entry.entry_id)
        ]
        if options.entry_id is not None and not letters:
            raise NotFound(f"There is no dead letter {options.entry_id}.")
        refused = 0
        for letter in letters:
            reason = await dead.retry(letter, actor=actor())
            refused += reason is not None
            print(f"{letter.entry.entry_id} {letter.request_id}: {reason or 'written'}")
    print(f"{len(letters) - refused} written, {refused} left")
    return 1 if refused else 0


def _credits(letter: BuriedLetter) -> str:
    return "?" if letter.microcredits is None else format_credits(letter.microcredits)
