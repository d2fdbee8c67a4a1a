"""`tollgate encryption rotate`: replace the key that personal fields and secrets are stored under."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from gateway.cli.stores import open_stores
from gateway.identity.postgres_rotation import Progress, Rotation
from gateway.identity.vault import Vault


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "encryption",
        help="the keys that personal fields and secrets are stored under",
        description="Personal fields and secrets are stored encrypted, under `encryption.keys` of tollgate.yaml.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    rotate = actions.add_parser(
        "rotate",
        parents=[with_config],
        help="encrypt everything again with the active key",
        description="Encrypt everything again with the active key, while gateways run. Safe to repeat. Afterwards the "
        "other keys may be taken out of tollgate.yaml.",
    )
    rotate.set_defaults(run=lambda options: asyncio.run(_rotate(options)))


async def _rotate(options: argparse.Namespace) -> int:
    last: dict[str, Progress] = {}
    async with open_stores(options.config) as stores:
        vault = Vault(stores.settings.encryption)
        async for progress in Rotation(stores.postgres, vault).run():
            last[progress.column] = progress
            print(f"{progress.column}: {progress.replaced} of {progress.total}", file=sys.stderr, flush=True)
    unsealable = [where for progress in last.values() for where in progress.unsealable]
    for where in unsealable:
        print(f"cannot be decrypted, left as it is: {where}", file=sys.stderr)
    replaced = sum(progress.replaced for progress in last.values())
    left = sum(progress.left for progress in last.values()) - len(unsealable)
    if left:
        print(
            f"{left} values were written meanwhile under another key: see that every gateway has the new one active, "
            "and run this again",
            file=sys.stderr,
        )
        return 1
    if unsealable:
        print(f"{replaced} values are under {vault.active} now, {len(unsealable)} could not be decrypted")
        return 1
    print(f"{replaced} values were moved; everything is under {vault.active}")
    return 0
