"""Processes that the benchmark starts, and ends by their pid whatever happens."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

PROJECT = Path(__file__).parents[1]
STOP_TIMEOUT_S = 40.0
"""A gateway drains for up to 30 s; it has nothing to drain when it is stopped here."""


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message says why and what to do."""


class Child:
    """One process in a session of its own. Its output goes to ``log``, unless ``talks``: then it is read here."""

    def __init__(self, command: Sequence[str], log: Path, *, talks: bool = False) -> None:
        self._log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env={name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")},
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else file,
                stderr=file,
                start_new_session=True,
            )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        if talks:
            threading.Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True).start()

    @classmethod
    def of_module(cls, module: str, *arguments: str, log: Path) -> Child:
        """``python -m benchmarks.MODULE``, talked to."""
        return cls([sys.executable, "-m", f"benchmarks.{module}", *arguments], log, talks=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def line(self, timeout_s: float) -> str:
        """The next line that it prints. Raises `BenchmarkError` when none comes."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            line = b""
        if not line:
            raise BenchmarkError(f"{self._process.args!r} said nothing.\n{self.log_tail()}")
        return line.decode().strip()

    def log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for it and its children. Safe to call twice."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _read(output: IO[bytes] | None, lines: queue.SimpleQueue[bytes]) -> None:
    assert output is not None
    try:
        for line in output:
            lines.put(line)
    except ValueError:
        pass  # closed by `stop`
    lines.put(b"")
