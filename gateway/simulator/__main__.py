"""``python -m gateway.simulator``: the simulated provider on its own, without the ``tollgate`` command."""

from __future__ import annotations

import argparse
import sys

from gateway.simulator.app import run


def _announce(url: str) -> None:
    sys.stdout.write(f"simulated provider on {url}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description="A simulated AI provider (OpenAI, Anthropic, Gemini).")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (default) takes a free one")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KNOB=VALUE",
        help="a knob for all requests, e.g. chunk-ms=20",
    )
    chosen = parser.parse_args()
    settings = dict(pair.partition("=")[::2] for pair in chosen.set)
    run(host=chosen.host, port=chosen.port, settings=settings, on_ready=_announce)


if __name__ == "__main__":
    main()
