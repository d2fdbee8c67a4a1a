"""Loopback ports that are this process's own.

Servers in tests are killed and come back on the port that they had. What is free for a moment must not be given to
anybody else then, so each process takes a range for itself, below those that the kernel gives to outgoing connections.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

FIRST = 10_000
RANGE = 500
"""As many as a run has in use at once, many times over."""
RANGES = 44


def free_port() -> int:
    """A port of this process's own that nobody listens on, the one given out longest ago."""
    for port in itertools.islice(_ports, RANGE):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError(f"no port is free from {_first + 1} to {_first + RANGE - 1}")


def _claim() -> tuple[int, socket.socket]:
    """A range is that of the process which listens on its first port."""
    for number in range(RANGES):
        guard = socket.socket()
        try:
            guard.bind(("127.0.0.1", FIRST + number * RANGE))
            guard.listen(1)
        except OSError:
            guard.close()
        else:
            return FIRST + number * RANGE, guard
    raise RuntimeError("too many test runs at once: no range of ports is left")


_first, _guard = _claim()
_ports: Iterator[int] = itertools.cycle(range(_first + 1, _first + RANGE))
