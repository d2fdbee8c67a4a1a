"""`tollgate prices show MODEL`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from gateway.reload import LiveConfig
from gateway.settings.config import load_settings
from pricing.book import PriceBook
from pricing.file import PricingFile
from pricing.money import decimal
from pricing.show import show


def add_commands(commands: Any, _: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "prices",
        help="what models cost",
        description="What models cost: the bundled catalogue, and pricing.yaml over it.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    showing = actions.add_parser("show", help="all prices of a model: past, present and announced")
    showing.add_argument("model", metavar="MODEL")
    showing.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="with its pricing.yaml and for its providers; default: the catalogue",
    )
    showing.set_defaults(run=_show)


def _show(options: argparse.Namespace) -> int:
    now_s = int(time.time())
    if options.config is None:
        print(show(PriceBook(PricingFile.parse(None, "none"), decimal("0.01")), options.model, now_s))
        return 0
    settings = load_settings(options.config, weak_admin_token_ok=True)
    providers = [(name, provider.kind, provider.catalogue) for name, provider in settings.providers.items()]
    print(show(LiveConfig(settings).current.prices, options.model, now_s, providers))
    return 0
