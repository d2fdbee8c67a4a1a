"""Those who stand between the load and the provider."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.child import BenchmarkError, Child

START_TIMEOUT_S = 60.0
POLL_S = 0.02


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Contender:
    """``pids``: processes whose cost is told, each under its name; the first is the contender's own."""

    name: str
    port: int
    pids: Mapping[str, int]
    key: str = "sk-benchmark"
    settle: Callable[[], None] = field(default=_nothing)
    """Returns when all work that earlier requests left behind is done, so that it is counted."""


def find_nginx() -> str | None:
    """nginx on the PATH, or where Debian puts it, which is not on everybody's PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_nginx(program: str, upstream_port: int, directory: Path) -> tuple[Contender, Child]:
    """A bare proxy of one worker, with keep-alive on both sides and nothing written or buffered."""
    directory.mkdir()
    port = free_port()
    temporary = "\n".join(
        f"  {kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = Path(__file__).with_name("nginx.conf").read_text()
    for name, value in {
        "@directory@": str(directory),
        "@temporary@": temporary,
        "@port@": str(port),
        "@upstream_port@": str(upstream_port),
    }.items():
        text = text.replace(name, value)
    config = directory / "nginx.conf"
    config.write_text(text)
    child = Child(
        [program, "-p", str(directory), "-c", str(config), "-e", str(directory / "error.log")],
        directory / "output.log",
    )
    wait_for_port(port, child)
    return Contender("nginx", port, {"nginx": child.pid}), child


def start_aiohttp(upstream_port: int, directory: Path) -> tuple[Contender, Child]:
    child = Child.of_module(
        "plain_aiohttp", f"http://127.0.0.1:{upstream_port}", log=directory / "plain_aiohttp.log"
    )
    port = int(child.line(START_TIMEOUT_S))
    return Contender("aiohttp", port, {"aiohttp": child.pid}), child


def wait_for_port(port: int, child: Child) -> None:
    """Until it takes connections. Raises `BenchmarkError` when it ends instead."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if not child.alive or time.monotonic() > deadline:
                raise BenchmarkError(f"it does not listen on {port}:\n{child.log_tail()}") from None
            time.sleep(POLL_S)
        else:
            return
