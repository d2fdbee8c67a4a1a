"""The simulated provider as a process of its own, and its books as the truth to compare with."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

ANSWER_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
_labels = itertools.count(1)


def new_label(name: str) -> str:
    """A name for one call, never used before in this run; it fixes the ids in the simulator's reply."""
    return f"{name}-{next(_labels)}"


class SimulatorProcess:
    """``python -m gateway.simulator`` on a free loopback port."""

    def __init__(self, *settings: str) -> None:
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        """Start, and wait for the line that says where it listens."""
        flags = [word for setting in self._settings for word in ("--set", setting)]
        command = [sys.executable, "-m", "gateway.simulator", "--port", "0", *flags]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("simulated provider on http://"), f"the simulator did not start: {line!r}"
        self.url = line.split()[-1]

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def openai_base(self) -> str:
        return f"{self.url}/v1"

    # -------------------------------------------------------------- its books

    def requests(
        self, wanted: str | None = None, *, at_least: int = 1, wait_s: float = 10.0
    ) -> list[dict[str, Any]]:
        """Entries by label or reply id (None: all), once there are ``at_least`` so many and none is open."""
        query = {"wait_s": wait_s, "at_least": at_least} | ({} if wanted is None else {"id": wanted})
        found: list[dict[str, Any]] = self._call(f"/_sim/requests?{urllib.parse.urlencode(query)}")
        return found

    def so_far(self, wanted: str | None = None) -> list[dict[str, Any]]:
        """Entries as they stand now, open ones too."""
        return self.requests(wanted, at_least=0, wait_s=0)

    def totals(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call("/_sim/totals")
        return found

    def configure(self, **knobs: object) -> None:
        """Turn knobs for all requests until the next `reset`; None is a knob's default."""
        self._call("/_sim/config", json.dumps(knobs).encode())

    def reset(self) -> None:
        self._call("/_sim/reset", b"{}")

    def _call(self, path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(self.url + path, data=body, timeout=ANSWER_TIMEOUT_S) as answer:
            return json.load(answer)


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[SimulatorProcess]:
    """The simulator shared by the run."""
    process = SimulatorProcess()
    process.start()
    try:
        yield process
    finally:
        process.stop()


@pytest.fixture
def simulator(simulator_process: SimulatorProcess) -> SimulatorProcess:
    """The shared simulator with empty books and all knobs at their defaults."""
    simulator_process.reset()
    return simulator_process
