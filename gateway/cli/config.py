"""`tollgate check-config`: everything that a start would refuse, without starting."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gateway.configuration import load_configuration
from gateway.reload import LiveConfig


def add_commands(commands: Any, _: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "check-config",
        help="validate a configuration",
        description="Validate tollgate.yaml, the files it names and the environment, and tell everything that is "
        "wrong at once. Exit 0 if a gateway would start with them.",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    settings = load_configuration(options.file)
    loaded = LiveConfig(settings).current
    print(
        f"{options.file}: good. {len(settings.providers)} providers, {len(loaded.directory.orgs)} organisations, "
        f"{len(loaded.directory.keys)} keys in {settings.limits.name}."
    )
    return 0
