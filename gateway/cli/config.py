"""`tollgate check-config`: everything that a start would refuse, without starting."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError
from gateway.providers.registry import DIALECTS
from gateway.reload import LiveConfig
from gateway.settings.config import load_settings


def add_commands(commands: Any, _: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "check-config",
        help="validate a configuration",
        description="Validate tollgate.yaml and the files it names. Exit 0 if a gateway would start with them.",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    settings = load_settings(options.file)
    for name, provider in settings.providers.items():
        if provider.kind not in DIALECTS:
            known = ", ".join(sorted(DIALECTS))
            raise ConfigError(
                f"{options.file}: providers.{name}.kind: {provider.kind!r} is not one of {known}"
            )
    loaded = LiveConfig(settings).current
    print(
        f"{options.file}: good. {len(settings.providers)} providers, {len(loaded.directory.orgs)} organisations, "
        f"{len(loaded.directory.keys)} keys in {settings.limits.name}."
    )
    return 0
