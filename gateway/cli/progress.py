"""How far a long command is: a bar on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

WIDTH = 30
LINE = 100
REDRAWN_EVERY_S = 0.1
QUIET_S = 5.0
"""Where the output is kept rather than watched, a command that ends within seconds leaves no lines."""


class Bar:
    """Drawn over itself on a terminal, and gone at the end. Elsewhere (a log, a pipe) each tenth is a line.

    ``total``: how much there is to do, in whatever unit `show` counts.
    """

    def __init__(
        self, total: int, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = max(1, total)
        self._out = sys.stderr if out is None else out
        self._clock = clock
        self._began_s = clock()
        self._drawn_s: float | None = None
        self._tenth = 0
        self._live = self._out.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def show(self, done: int, what: str = "") -> None:
        """So much of the total is ``done``; ``what`` says what it is at, in a few words."""
        done = min(done, self._total)
        now_s = self._clock()
        if not self._live:
            self._log(done, what, now_s)
        elif self._drawn_s is None or now_s - self._drawn_s >= REDRAWN_EVERY_S or done == self._total:
            self._drawn_s = now_s
            filled = WIDTH * done // self._total
            line = f"[{'#' * filled}{'.' * (WIDTH - filled)}] {100 * done / self._total:5.1f} %  {what}"
            self._write(f"\r{line[:LINE]:{LINE}}")

    def close(self) -> None:
        """Take the bar away. Safe to call twice."""
        if self._drawn_s is not None:
            self._drawn_s = None
            self._write(f"\r{'':{LINE}}\r")

    def _log(self, done: int, what: str, now_s: float) -> None:
        tenth = 10 * done // self._total
        if tenth > self._tenth and now_s - self._began_s >= QUIET_S:
            self._tenth = tenth
            self._write(f"{10 * tenth:3} %  {what}\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
