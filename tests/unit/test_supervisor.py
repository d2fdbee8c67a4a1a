"""Whoever supervises workers ends them all, whenever it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.serve import supervise


class Worker:
    """Stands in for a process: the first one has died, and the third is started in its place."""

    def __init__(self, number: int) -> None:
        self.pid = 2**22 + number  # beyond what Linux gives out
        self.returncode: int | None = 1 if number == 1 else None
        self.told = False

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        assert not self.told, "a second signal kills a worker that is on its way out"
        self.told = True
        self.returncode = 0 if self.returncode is None else self.returncode

    def wait(self) -> int:
        assert self.returncode is not None, "it was never told to end, and is waited for for ever"
        return self.returncode


@pytest.fixture
def handlers() -> Iterator[None]:
    kept = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}
    yield
    for name, handler in kept.items():
        signal.signal(name, handler)


@pytest.mark.usefixtures("handlers")
def test_a_worker_that_is_started_while_all_are_told_to_end_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    workers: list[Worker] = []

    def start(*_: object, **__: object) -> Worker:
        workers.append(Worker(len(workers) + 1))
        if len(workers) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return workers[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    assert supervise(2, Path("tollgate.yaml")) == 0
    assert all(worker.returncode is not None for worker in workers)
    assert len(workers) == 3
