"""What the gateway measures of itself, as Prometheus metrics. Labels are of low cardinality: never a key or user.

With several workers each process writes its own files (``PROMETHEUS_MULTIPROC_DIR``) and any of them answers for
all.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.series import Counter, CounterFamily, Histogram, HistogramFamily

TELL_EVERY_S = 1.0
"""How old what other workers tell of this one may be, and what is not told any more of one that is killed."""

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD_BUCKETS_S = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 1)
BATCH_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096)
PREFIX = "tollgate_"
SEVERAL = "PROMETHEUS_MULTIPROC_DIR" in os.environ
"""Whether other workers answer for this one too."""

GaugeMode = Literal["livesum", "livemax", "livemostrecent"]
Series = TypeVar("Series", Counter, CounterFamily, Histogram, HistogramFamily)


def _nothing() -> None:
    """Nothing is measured before the gateway is up."""


class Metrics:
    """One set per process; pass it to whoever has something to count."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._series: list[Counter | CounterFamily | Histogram | HistogramFamily] = []
        self._measure: Callable[[], None] = _nothing
        self._timer: asyncio.TimerHandle | None = None
        self._define_traffic()
        self._define_upstream()
        self._define_books()

    def _define_traffic(self) -> None:
        self.requests = self._counters(
            "requests", "Requests that ended, by provider, route and status.", "provider", "route", "status"
        )
        self.refusals = self._counters("refusals", "Requests that the gateway refused, by reason.", "reason")
        self.holds = self._counter("holds", "Holds taken.")
        self.holds_open = self._gauge("holds_open", "Holds of this gateway not yet resolved.", "livesum")
        self.live_listeners = self._gauge(
            "live_listeners", "Clients that follow live events here.", "livesum"
        )
        self.settles = self._counters(
            "settles", "Settlements, by usage source and outcome.", "source", "outcome"
        )
        self.late_settles = self._counter(
            "late_settles", "Settlements without effect, as the hold had been ended by somebody else."
        )
        self.reaped = self._counter("reaped_holds", "Orphaned holds settled by this gateway.")
        self.shadow_refusals = self._counter(
            "shadow_refusals", "Requests that a limit in shadow mode would have refused."
        )
        self.flagged = self._counters("flagged_rows", "Usage rows with a remark, by remark.", "flag")
        self.credits = self._counters(
            "charged_microcredits", "Microcredits charged, by provider.", "provider"
        )

    def _define_upstream(self) -> None:
        self.upstream_latency = self._histograms(
            "upstream_seconds", "From the request written to the reply's end.", LATENCY_BUCKETS_S, "provider"
        )
        self.first_byte = self._histograms(
            "upstream_first_byte_seconds", "From the request written to the reply's first byte.", LATENCY_BUCKETS_S,
            "provider",
        )  # fmt: skip
        self.overhead = self._histogram(
            "overhead_seconds", "Time that the gateway itself took, from the request's head to forwarding it.",
            OVERHEAD_BUCKETS_S,
        )  # fmt: skip

    def _define_books(self) -> None:
        self.rows_written = self._counter("rows_written", "Usage rows committed to Postgres.")
        self.batch_rows = self._histogram("batch_rows", "Usage rows per committed batch.", BATCH_BUCKETS)
        self.stream_lag = self._gauge(
            "stream_lag_entries", "Usage events in Redis that are not yet in Postgres.", "livemax"
        )
        self.dead_letters = self._counter(
            "dead_letters", "Usage events that could not be written and were set aside."
        )
        self.drift = self._gauge(
            "drift_microcredits", "Difference between counters and rows at the last reconciliation.",
            "livemostrecent",
        )  # fmt: skip
        self.config_errors = self._gauge(
            "config_rejected", "1 while a changed configuration file is refused.", "livemax"
        )

    # ---------------------------------------------------------------- kinds of series

    def _counter(self, name: str, what: str) -> Counter:
        return self._kept(Counter(prometheus_client.Counter(PREFIX + name, what, registry=self.registry)))

    def _counters(self, name: str, what: str, *labels: str) -> CounterFamily:
        told_to = prometheus_client.Counter(PREFIX + name, what, labels, registry=self.registry)
        return self._kept(CounterFamily(told_to))

    def _histogram(self, name: str, what: str, bounds: Sequence[float]) -> Histogram:
        told_to = prometheus_client.Histogram(PREFIX + name, what, buckets=bounds, registry=self.registry)
        return self._kept(Histogram(told_to, bounds))

    def _histograms(self, name: str, what: str, bounds: Sequence[float], *labels: str) -> HistogramFamily:
        told_to = prometheus_client.Histogram(
            PREFIX + name, what, labels, buckets=bounds, registry=self.registry
        )
        return self._kept(HistogramFamily(told_to, bounds))

    def _gauge(self, name: str, what: str, of_several: GaugeMode) -> Gauge:
        return Gauge(PREFIX + name, what, registry=self.registry, multiprocess_mode=of_several)

    def _kept(self, series: Series) -> Series:
        self._series.append(series)
        return series

    # ---------------------------------------------------------------- what they say

    def start(self, measure: Callable[[], None]) -> None:
        """``measure`` sets what is not counted, whenever somebody asks. Of several workers any may be asked for all, so
        each of them tells the others about itself from now on.
        """
        self._measure = measure
        if SEVERAL:
            self._tell_on(asyncio.get_running_loop())

    def stop(self) -> None:
        """Tell the rest. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell()

    def _tell_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tell()
        self._timer = loop.call_later(TELL_EVERY_S, self._tell_on, loop)

    def _tell(self) -> None:
        self._measure()
        for series in self._series:
            series.tell()

    def exposition(self) -> bytes:
        """The text format, for all workers of this machine."""
        self._tell()
        if SEVERAL:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            return generate_latest(registry)
        return generate_latest(self.registry)
