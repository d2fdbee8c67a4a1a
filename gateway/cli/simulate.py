"""`tollgate simulate-provider`: a provider that costs nothing, for trying things out and for tests."""

from __future__ import annotations

import argparse
from typing import Any

from gateway.simulator import app


def add_commands(commands: Any, _: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "simulate-provider",
        help="run a simulated provider",
        description="Speak OpenAI's, Anthropic's and Gemini's APIs with made-up replies and exact usage.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument(
        "--port", type=int, default=8790, metavar="P", help="default: 8790; 0: any that is free"
    )
    parser.set_defaults(run=_simulate)


def _simulate(options: argparse.Namespace) -> int:
    app.run(
        host=options.host,
        port=options.port,
        on_ready=lambda url: print(f"simulated provider at {url}", flush=True),
    )
    return 0
