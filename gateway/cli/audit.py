"""`tollgate audit verify|export`: who did what, and whether the log says so unchanged."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from typing import Any

import orjson

from gateway.cli.progress import Bar
from gateway.cli.stores import open_stores
from gateway.errors import BadRequest, StoreUnavailable
from gateway.stores.postgres_audit import AuditEntry, AuditLog
from gateway.stores.redis_witness import AuditWitness

_HEAD = re.compile("[0-9a-fA-F]{64}")


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "audit",
        help="the log of who did what",
        description="The log of who did what. Each entry carries a hash of itself and of the one before it.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    verify = actions.add_parser(
        "verify",
        parents=[with_config],
        help="prove that no entry was changed, removed or put in between",
        description="Follow the chain of hashes and name the first entry that does not fit. Exit 0 if all do. The "
        "newest entry that gateways noted in Redis must be among them: it shows that nothing was cut off the end. Keep "
        "the head that is printed somewhere else: given as --head later, it proves that without Redis.",
    )
    verify.add_argument("--head", metavar="HEX", help="a head printed before, which must still be in the log")
    verify.set_defaults(run=lambda options: asyncio.run(_verify(options)))
    export = actions.add_parser(
        "export", parents=[with_config], help="print every entry, oldest first, one JSON object a line"
    )
    export.add_argument("--org", metavar="ID", help="only this organisation's")
    export.set_defaults(run=lambda options: asyncio.run(_export(options)))


async def _verify(options: argparse.Namespace) -> int:
    if options.head is not None and not _HEAD.fullmatch(options.head):
        raise BadRequest("--head: must be all of the 64 hexadecimal digits that `audit verify` prints")
    head = None if options.head is None else bytes.fromhex(options.head)
    async with open_stores(options.config) as stores:
        noted, compared = await _noted(AuditWitness(stores.postgres, stores.redis))
        heads = [one for one in (head, noted) if one is not None]
        audit = AuditLog(stores.postgres)
        with Bar(await audit.length()) as bar:
            verdict = await audit.verify(*heads, checked=lambda count: bar.show(count, "entries"))
    if verdict.broken is not None:
        print(f"broken after {verdict.entries} good entries: {verdict.broken}")
        return 1
    print(f"the chain holds: {verdict.entries} entries, head {verdict.head.hex()}")
    print(compared)
    return 0


async def _noted(witness: AuditWitness) -> tuple[bytes | None, str]:
    """The hash that must be in the log, and what that proves."""
    try:
        noted = await witness.noted()
    except StoreUnavailable:
        return None, "Redis does not answer: whether its end was cut off is not known"
    if noted is None:
        return None, "no gateway has noted an entry in Redis yet: whether its end was cut off is not known"
    return noted.hash, f"entry {noted.place}, the newest that gateways noted in Redis, is in it"


async def _export(options: argparse.Namespace) -> int:
    async with open_stores(options.config) as stores:
        async for entry in AuditLog(stores.postgres).entries():
            if options.org in (None, entry.org_id):
                sys.stdout.buffer.write(orjson.dumps(_line(entry)) + b"\n")
    sys.stdout.flush()
    return 0


def _line(entry: AuditEntry) -> dict[str, object]:
    """``before`` and ``after`` stay text: that is what was hashed."""
    return {
        "place": entry.place,
        "at": entry.at,
        "actor": entry.actor,
        "action": entry.action,
        "object": entry.object,
        "org": entry.org_id,
        "address": entry.address,
        "request_id": entry.request_id,
        "before": entry.before,
        "after": entry.after,
        "previous_hash": entry.previous_hash.hex(),
        "hash": entry.hash.hex(),
    }
