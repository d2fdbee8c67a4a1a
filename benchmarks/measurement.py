"""One measurement of one contender: a load is run against it, and what that cost is read before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.child import BenchmarkError, Child
from benchmarks.contender import Contender
from benchmarks.load import Load, Result
from benchmarks.process_cost import cpu_s, pss_bytes

LINE_MARGIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Cost:
    """``cpu_us``: microseconds of CPU by process, for each request or chunk of the load."""

    cpu_us: Mapping[str, float]
    result: Result
    provider_busy: float
    """The provider's CPU time by wall time, and below the load generator's: near 1 it was the bottleneck."""
    load_busy: float

    @property
    def per_second(self) -> float:
        return self.result.requests / self.result.seconds


class Laboratory:
    """Runs loads. ``provider_pid`` is watched only to tell whether it kept up."""

    def __init__(self, provider_pid: int, directory: Path) -> None:
        self._provider_pid = provider_pid
        self._log = directory / "load.log"

    def unary(self, contender: Contender, connections: int, requests: int) -> Cost:
        """CPU by request."""
        load = Load(contender.port, contender.key, connections, requests)
        return self._cost(contender, load, requests)

    def streamed(self, contender: Contender, streams: int, chunks: int, interval_ms: int) -> Cost:
        """CPU by chunk; the opening and the end of each stream count too, spread over its chunks."""
        load = Load(contender.port, contender.key, streams, streams, chunks, interval_ms)
        return self._cost(contender, load, streams * chunks)

    def latency(self, port: int, key: str, requests: int) -> Result:
        """One request at a time."""
        return self._run(Load(port, key, 1, requests))

    def memory(self, contender: Contender, streams: int, chunks: int, interval_ms: int) -> tuple[int, float]:
        """(bytes at rest, bytes more for each open stream that has delivered half of its chunks)."""
        load = Load(contender.port, contender.key, streams, streams, chunks, interval_ms, chunks // 2)
        pid = next(iter(contender.pids.values()))
        at_rest = pss_bytes(pid)
        child = self._child(load)
        try:
            if child.line(load.timeout_s + LINE_MARGIN_S) != "paused":
                raise BenchmarkError("the streams ended before memory was read")
            with_streams = pss_bytes(pid)
            self._result(child, load)
        finally:
            child.stop()
        contender.settle()
        return at_rest, (with_streams - at_rest) / streams

    # ------------------------------------------------------------------ inside

    def _cost(self, contender: Contender, load: Load, units: int) -> Cost:
        provider_s = cpu_s(self._provider_pid)
        before_s = {name: cpu_s(pid) for name, pid in contender.pids.items()}
        result = self._run(load)
        contender.settle()
        used_us = {name: (cpu_s(pid) - before_s[name]) / units * 1e6 for name, pid in contender.pids.items()}
        return Cost(
            used_us,
            result,
            (cpu_s(self._provider_pid) - provider_s) / result.seconds,
            result.own_cpu_s / result.seconds,
        )

    def _run(self, load: Load) -> Result:
        child = self._child(load)
        try:
            return self._result(child, load)
        finally:
            child.stop()

    def _child(self, load: Load) -> Child:
        return Child.of_module("load", json.dumps(asdict(load)), log=self._log)

    def _result(self, child: Child, load: Load) -> Result:
        result = Result(**json.loads(child.line(load.timeout_s + LINE_MARGIN_S)))
        if result.failures:
            raise BenchmarkError(
                f"{result.failures} of {result.requests} requests failed at port {load.port}: {result.first_failure}"
            )
        return result
