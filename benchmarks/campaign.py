"""All measurements of one run: which, how often, in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.contender import Contender
from benchmarks.measurement import Cost, Laboratory

CONCURRENCY = 64
STREAMS = 200
INTERVAL_MS = 20


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of each. Contenders take turns in every round, so that what else the machine does hits them all."""

    rounds: int
    requests: Mapping[str, int]
    """Unary requests a round, by contender: the cheap ones need more for the same precision."""
    chunks: int
    latency_requests: int
    memory_streams: int
    memory_chunks: int
    memory_interval_ms: int


FULL = Scale(3, {"nginx": 20_000, "aiohttp": 8_000, "tollgate": 6_000}, 250, 600, 500, 60, 60)
QUICK = Scale(1, {"nginx": 5_000, "aiohttp": 2_000, "tollgate": 1_500}, 60, 150, 100, 30, 60)
WARM_UP_REQUESTS = 300


@dataclass(frozen=True, slots=True)
class Figures:
    """What one contender cost: medians of the rounds, and every round. CPU by process, in microseconds."""

    unary_us: Mapping[str, float]
    streamed_us: Mapping[str, float]
    unary_rounds: Sequence[Cost]
    streamed_rounds: Sequence[Cost]
    at_rest_bytes: int
    stream_bytes: float
    added_p50_us: float
    added_p95_us: float

    @property
    def per_second(self) -> float:
        """Unary requests a second, by the wall clock: of interest beside the busy shares only."""
        return median(cost.per_second for cost in self.unary_rounds)


@dataclass(frozen=True, slots=True)
class Findings:
    figures: Mapping[str, Figures]
    direct_p50_us: float
    direct_p95_us: float
    through_tollgate: int
    """How many calls went through the gateway: it must have as many rows."""


class Campaign:
    """Runs a scale over the contenders. ``say`` hears what is being done."""

    def __init__(
        self,
        laboratory: Laboratory,
        provider_port: int,
        contenders: Sequence[Contender],
        scale: Scale,
        say: Callable[[str], None],
    ) -> None:
        self._laboratory = laboratory
        self._provider_port = provider_port
        self._contenders = contenders
        self._scale = scale
        self._say = say

    def run(self) -> Findings:
        memory = self._memory()
        self._say(f"warm-up, {WARM_UP_REQUESTS} requests and {STREAMS} streams each")
        for contender in self._contenders:
            self._laboratory.unary(contender, CONCURRENCY, WARM_UP_REQUESTS)
            self._laboratory.streamed(contender, STREAMS, 10, INTERVAL_MS)
        unary: dict[str, list[Cost]] = {contender.name: [] for contender in self._contenders}
        streamed: dict[str, list[Cost]] = {contender.name: [] for contender in self._contenders}
        latency: dict[str, list[tuple[float, float]]] = {}
        for number in range(1, self._scale.rounds + 1):
            self._say(f"round {number} of {self._scale.rounds}: unary, streamed, latency")
            for contender in self._contenders:
                requests = self._scale.requests[contender.name]
                unary[contender.name].append(self._laboratory.unary(contender, CONCURRENCY, requests))
            for contender in self._contenders:
                cost = self._laboratory.streamed(contender, STREAMS, self._scale.chunks, INTERVAL_MS)
                streamed[contender.name].append(cost)
            self._latencies(latency)
        p50s, p95s = (
            {name: median(pair[index] for pair in pairs) for name, pairs in latency.items()}
            for index in (0, 1)
        )
        figures = {
            name: Figures(
                unary_us=_medians(unary[name]),
                streamed_us=_medians(streamed[name]),
                unary_rounds=unary[name],
                streamed_rounds=streamed[name],
                at_rest_bytes=memory[name][0],
                stream_bytes=memory[name][1],
                added_p50_us=p50s[name] - p50s["direct"],
                added_p95_us=p95s[name] - p95s["direct"],
            )
            for name in unary
        }
        return Findings(figures, p50s["direct"], p95s["direct"], self._expected_rows())

    def _memory(self) -> dict[str, tuple[int, float]]:
        """First of all, on fresh processes: later, streams would live in memory that earlier loads had freed."""
        scale = self._scale
        self._say(f"memory, {scale.memory_streams} open streams each")
        found = {}
        for contender in self._contenders:
            self._laboratory.streamed(contender, 8, 10, INTERVAL_MS)
            found[contender.name] = self._laboratory.memory(
                contender, scale.memory_streams, scale.memory_chunks, scale.memory_interval_ms
            )
        return found

    def _latencies(self, latency: dict[str, list[tuple[float, float]]]) -> None:
        places = [("direct", self._provider_port, "none")]
        places += [(contender.name, contender.port, contender.key) for contender in self._contenders]
        for name, port, key in places:
            result = self._laboratory.latency(port, key, self._scale.latency_requests)
            latency.setdefault(name, []).append((result.p50_us, result.p95_us))

    def _expected_rows(self) -> int:
        scale = self._scale
        each_round = scale.requests["tollgate"] + STREAMS + scale.latency_requests
        return 8 + scale.memory_streams + WARM_UP_REQUESTS + STREAMS + scale.rounds * each_round


def _medians(costs: Sequence[Cost]) -> dict[str, float]:
    return {name: median(cost.cpu_us[name] for cost in costs) for name in costs[0].cpu_us}
