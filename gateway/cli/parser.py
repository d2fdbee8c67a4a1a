"""`tollgate`: what operators do without a browser."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.cli import (
    alerts,
    audit,
    books,
    config,
    credits,
    dead_letters,
    encryption,
    generate,
    holds,
    keys,
    limits,
    orgs,
    people,
    prices,
    reports,
    serve,
    simulate,
    up,
    webhooks,
)
from gateway.embedded import EmbeddedError
from gateway.errors import ConfigError, TollgateError
from pricing.errors import PricingError

CONFIG_DEFAULT = Path("config/tollgate.yaml")
CONFIG_OF_UP = Path(".tollgate/tollgate.yaml")
"""What `tollgate up` makes unless it is told another place."""


def run(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code: 0 done, 1 the answer is no, 2 it could not be done."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ConfigError as error:
        problems = error.message.splitlines()
        several = len(problems) > 1
        print("tollgate: " + (f"{len(problems)} problems" if several else problems[0]), file=sys.stderr)
        for problem in problems if several else ():
            print(f"  {problem}", file=sys.stderr)
        if (
            getattr(options, "config", None) == CONFIG_DEFAULT
            and not CONFIG_DEFAULT.exists()
            and CONFIG_OF_UP.exists()
        ):
            print(f"tollgate: did you mean --config {CONFIG_OF_UP}?", file=sys.stderr)
        return 2
    except (TollgateError, PricingError, EmbeddedError) as error:
        print(f"tollgate: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        hint = "; give another port" if error.errno == errno.EADDRINUSE else ""
        print(f"tollgate: {error.strerror or error}{hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tollgate", description="A metering gateway for AI APIs.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    with_config = argparse.ArgumentParser(add_help=False)
    with_config.add_argument(
        "--config", type=Path, default=CONFIG_DEFAULT, metavar="FILE", help=f"default: {CONFIG_DEFAULT}"
    )
    for module in (
        up,
        serve,
        config,
        books,
        credits,
        orgs,
        people,
        keys,
        limits,
        alerts,
        webhooks,
        holds,
        dead_letters,
        audit,
        encryption,
        prices,
        reports,
        simulate,
        generate,
    ):
        module.add_commands(commands, with_config)
    return parser
