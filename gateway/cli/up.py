"""`tollgate up`: everything on one machine, with a provider that costs nothing."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop

from gateway.app import Gateway
from gateway.cli import quickstart
from gateway.configuration import load_configuration
from gateway.embedded import Embedded
from gateway.ledger.migrate import migrate
from gateway.logs import set_up_logging
from gateway.simulator import app as simulator

ADMIN_TOKEN = "TOLLGATE_ADMIN_TOKEN"  # noqa: S105 - the variable's name
ENCRYPTION_KEY = "TOLLGATE_ENCRYPTION_KEY"


def add_commands(commands: Any, _: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "up",
        help="run everything on this machine",
        description="Run a gateway with a private Redis and Postgres and a simulated provider. Ctrl-C stops it.",
    )
    parser.add_argument(
        "--port", type=int, default=8787, help="on 127.0.0.1; default: 8787; 0: any that is free"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(".tollgate"),
        metavar="DIR",
        help="where everything is kept; default: .tollgate",
    )
    parser.set_defaults(run=_up)


def _up(options: argparse.Namespace) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(options.data, options.port))


async def _run(data: Path, port: int) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    token_file = _secret(data / "admin_token", secrets.token_urlsafe(32))
    encryption_key_file = _secret(data / "encryption_key", secrets.token_hex(32))
    embedded = Embedded(data, progress=_say)
    endpoints = await embedded.start()
    simulated = gateway = None
    try:
        _say("bringing the database up to date")
        await migrate(endpoints.postgres_dsn)
        simulated, provider_url = await simulator.start("127.0.0.1", 0)
        environment = {
            ADMIN_TOKEN: token_file.read_text().strip(),
            ENCRYPTION_KEY: encryption_key_file.read_text().strip(),
            "TOLLGATE_SERVER__PORT": str(port),
            "TOLLGATE_REDIS__URL": endpoints.redis_url,
            "TOLLGATE_POSTGRES__DSN": endpoints.postgres_dsn,
            "SIMULATED_PROVIDER": provider_url,
        }
        os.environ.update(environment)
        files = quickstart.write(data, environment)
        settings = load_configuration(files.config, weak_admin_token_ok=True)  # bound to loopback
        set_up_logging("warning")
        gateway = Gateway(settings)
        await gateway.start()
        print(quickstart.welcome(gateway.port, files, token_file), flush=True)
        ended = asyncio.ensure_future(embedded.failed())
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if ended.done():
            print(f"tollgate: {ended.result()}", file=sys.stderr)
            return 1
        ended.cancel()
        _say("stopping")
        return 0
    finally:
        if gateway is not None:
            await gateway.stop()
        if simulated is not None:
            await simulated.cleanup()
        await embedded.stop()


def _secret(path: Path, made: str) -> Path:
    """A secret's file; ``made`` is what it holds from the first start on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        quickstart.write_secret(path, made)
    return path


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)
