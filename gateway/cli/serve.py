"""`tollgate serve`: one gateway, in one process or several."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop
from prometheus_client.multiprocess import mark_process_dead

from gateway.app import Gateway
from gateway.cli.migrations import require_current_schema
from gateway.configuration import load_configuration
from gateway.logs import set_up_logging
from gateway.settings.config import Settings

log = logging.getLogger("tollgate")

ORPHAN_S = 1.0
"""How soon a worker notices that its supervisor was killed."""
RESTART_S = 1.0
"""A worker that died is started again after this long, so that one that cannot start does not spin."""


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "serve",
        parents=[with_config],
        help="run a gateway",
        description="Run a gateway until SIGTERM or Ctrl-C.",
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    settings = load_configuration(options.config)
    set_up_logging(settings.log_level)
    if settings.server.workers > 1 and not options.worker:
        return supervise(settings.server.workers, options.config)
    run_gateway(settings, parent=os.getppid() if options.worker else None)
    return 0


def run_gateway(settings: Settings, *, parent: int | None = None) -> None:
    """Run until SIGTERM or SIGINT, or until the process ``parent`` is gone; then stop cleanly."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop.set)
        await require_current_schema(settings)
        gateway = Gateway(settings)
        try:
            await gateway.start()
            while not stop.is_set() and parent in (None, os.getppid()):
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), None if parent is None else ORPHAN_S)
        finally:
            await gateway.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def supervise(count: int, config: Path) -> int:
    """Run ``count`` workers on one port until SIGTERM; returns the highest exit code.

    They share nothing but the stores; the kernel spreads connections.
    """
    with tempfile.TemporaryDirectory(prefix="tollgate-metrics-") as metrics:
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": metrics}
        command = [sys.executable, "-m", "gateway", "serve", "--worker", "--config", str(config)]
        stopping = False
        told: set[subprocess.Popen[bytes]] = set()

        def stop(*_: object) -> None:
            """Tell each worker once: a second signal would kill one that is on its way out."""
            nonlocal stopping
            stopping = True
            for worker in workers:
                if worker not in told:
                    told.add(worker)
                    worker.terminate()

        workers = [subprocess.Popen(command, env=environment) for _ in range(count)]  # noqa: S603
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        while not stopping:
            for index, worker in enumerate(workers):
                if worker.poll() is not None and not stopping:
                    log.error("a worker ended, starting another", extra={"exit_code": worker.returncode})
                    mark_process_dead(worker.pid, metrics)  # type: ignore[no-untyped-call]  # what it held is over
                    workers[index] = subprocess.Popen(command, env=environment)  # noqa: S603
            time.sleep(RESTART_S)
        stop()  # once more: one may have been started in the place of another while that was done
        return max(abs(worker.wait()) for worker in workers)
