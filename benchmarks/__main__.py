"""``make bench``: starts everything, measures, prints the table, writes the JSON, ends everything."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.campaign import FULL, QUICK, Campaign, Findings, Scale
from benchmarks.child import BenchmarkError, Child
from benchmarks.contender import START_TIMEOUT_S, Contender, find_nginx, start_aiohttp, start_nginx
from benchmarks.measurement import Laboratory
from benchmarks.report import document, machine, rows, text
from benchmarks.tollgate import Tollgate
from gateway.embedded import EmbeddedError

RESULTS = Path(__file__).with_name("results")
BUSY_LOAD_PER_CORE = 0.4
NO_NGINX = "No nginx on this machine (apt install nginx-light): its column and the targets are left out."


def main() -> int:
    options = _options()
    if not Path("/proc/self/stat").exists():
        print("bench: CPU time and memory are read from /proc, so this needs Linux.", file=sys.stderr)
        return 2
    scale = QUICK if options.quick else FULL
    try:
        findings, notes = _measure(scale)
    except (BenchmarkError, EmbeddedError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    found = rows(findings, scale)
    now = datetime.now(UTC)
    where = machine()
    print(f"\n{now:%Y-%m-%d %H:%M} UTC, {where['cores']} × {where['cpu']}, Python {where['python']}", end="")
    print(", quick run: coarse figures\n" if options.quick else "\n")
    print(text(found, findings, notes), flush=True)
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(document(found, findings, scale, notes), indent=1, ensure_ascii=False) + "\n")
    print(f"\nWritten to {path}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description="Tollgate beside nginx and a plain aiohttp proxy, in one run."
    )
    parser.add_argument("--quick", action="store_true", help="about 25 s instead of 3 min, coarse figures")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR", help=f"default: {RESULTS.parent.name}/results"
    )
    return parser.parse_args()


def _measure(scale: Scale) -> tuple[Findings, list[str]]:
    notes = _busy_machine()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tg-bench-")))
        directory.chmod(0o755)  # Postgres runs as another account when this runs as root
        _say("starting the provider, the proxies, Redis, Postgres and the gateway")
        provider = Child.of_module("provider", log=directory / "provider.log")
        stack.callback(provider.stop)
        port = int(provider.line(START_TIMEOUT_S))
        contenders: list[Contender] = []
        program = find_nginx()
        if program is None:
            notes.append(NO_NGINX)
        else:
            contenders.append(_kept(stack, start_nginx(program, port, directory / "nginx")))
        contenders.append(_kept(stack, start_aiohttp(port, directory)))
        tollgate = Tollgate(directory / "tollgate")
        stack.callback(tollgate.stop)
        contenders.append(tollgate.start(port))
        findings = Campaign(Laboratory(provider.pid, directory), port, contenders, scale, _say).run()
        notes.append(_books(tollgate, findings.through_tollgate))
        _say("stopping")
    return findings, notes


def _busy_machine() -> list[str]:
    """A remark if others compute here: they evict caches, which costs interpreters more than it costs nginx."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < cores * BUSY_LOAD_PER_CORE:
        return []
    return [
        f"The machine was busy before this began (load {load:.1f} on {cores} cores): take no ratio from it."
    ]


def _kept(stack: ExitStack, started: tuple[Contender, Child]) -> Contender:
    contender, child = started
    stack.callback(child.stop)
    return contender


def _books(tollgate: Tollgate, calls: int) -> str:
    """That the gateway did what it is measured at: a row for each call, and counters that equal the rows."""
    tollgate.settle()
    written = tollgate.rows()
    if written != {"provider ok": calls}:
        raise BenchmarkError(f"{calls} calls went through the gateway, and its rows say {written}")
    drift = [line for line in tollgate.command("reconcile").splitlines() if "drift" in line]
    return f"Tollgate's books: {calls:,} calls, {written['provider ok']:,} rows, {'; '.join(drift)}."


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
