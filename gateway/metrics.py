"""What the gateway measures of itself, as Prometheus metrics. Labels are of low cardinality: never a key or user.

With several workers each process writes its own files (``PROMETHEUS_MULTIPROC_DIR``) and any of them answers for
all.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from typing import Any, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD_BUCKETS_S = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 1)


M = TypeVar("M", "Counter", "Histogram")


class Counter(prometheus_client.Counter):
    """Counts without looking each time whether it may: it has its labels, and nothing here is negative."""

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
        self._value.inc(amount)


class Histogram(prometheus_client.Histogram):
    """Likewise; and finds the bucket without trying one after the other."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        self._sum.inc(amount)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(1)


class Metrics:
    """One set per process; pass it to whoever has something to count."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._children: dict[tuple[object, tuple[str, ...]], Any] = {}
        self._define_traffic(self.registry)
        self._define_upstream(self.registry)
        self._define_books(self.registry)

    def _define_traffic(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "tollgate_requests", "Requests that ended, by provider, route and status.", ["provider", "route", "status"],
            registry=registry,
        )  # fmt: skip
        self.refusals = Counter(
            "tollgate_refusals",
            "Requests that the gateway refused, by reason.",
            ["reason"],
            registry=registry,
        )
        self.holds = Counter("tollgate_holds", "Holds taken.", registry=registry)
        self.holds_open = Gauge(
            "tollgate_holds_open", "Holds of this gateway not yet resolved.", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self.live_listeners = Gauge(
            "tollgate_live_listeners", "Clients that follow live events here.", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self.settles = Counter(
            "tollgate_settles",
            "Settlements, by usage source and outcome.",
            ["source", "outcome"],
            registry=registry,
        )
        self.late_settles = Counter(
            "tollgate_late_settles",
            "Settlements without effect, as the hold had been ended by somebody else.",
            registry=registry,
        )
        self.reaped = Counter(
            "tollgate_reaped_holds", "Orphaned holds settled by this gateway.", registry=registry
        )
        self.shadow_refusals = Counter(
            "tollgate_shadow_refusals",
            "Requests that a limit in shadow mode would have refused.",
            registry=registry,
        )
        self.flagged = Counter(
            "tollgate_flagged_rows", "Usage rows with a remark, by remark.", ["flag"], registry=registry
        )
        self.credits = Counter(
            "tollgate_charged_microcredits",
            "Microcredits charged, by provider.",
            ["provider"],
            registry=registry,
        )

    def _define_upstream(self, registry: CollectorRegistry) -> None:
        self.upstream_latency = Histogram(
            "tollgate_upstream_seconds", "From the request written to the reply's end.", ["provider"],
            buckets=LATENCY_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self.first_byte = Histogram(
            "tollgate_upstream_first_byte_seconds", "From the request written to the reply's first byte.", ["provider"],
            buckets=LATENCY_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self.overhead = Histogram(
            "tollgate_overhead_seconds", "Time that the gateway itself took, from the request's head to forwarding it.",
            buckets=OVERHEAD_BUCKETS_S, registry=registry,
        )  # fmt: skip

    def _define_books(self, registry: CollectorRegistry) -> None:
        self.rows_written = Counter(
            "tollgate_rows_written", "Usage rows committed to Postgres.", registry=registry
        )
        self.batch_rows = Histogram(
            "tollgate_batch_rows", "Usage rows per committed batch.", buckets=(1, 4, 16, 64, 256, 1024, 4096),
            registry=registry,
        )  # fmt: skip
        self.stream_lag = Gauge(
            "tollgate_stream_lag_entries", "Usage events in Redis that are not yet in Postgres.", registry=registry,
            multiprocess_mode="livemax",
        )  # fmt: skip
        self.dead_letters = Counter(
            "tollgate_dead_letters",
            "Usage events that could not be written and were set aside.",
            registry=registry,
        )
        self.drift = Gauge(
            "tollgate_drift_microcredits", "Difference between counters and rows at the last reconciliation.",
            registry=registry, multiprocess_mode="livemostrecent",
        )  # fmt: skip
        self.config_errors = Gauge(
            "tollgate_config_rejected", "1 while a changed configuration file is refused.", ["file"], registry=registry,
            multiprocess_mode="livemax",
        )  # fmt: skip

    def of(self, metric: M, *labels: str) -> M:
        """``metric.labels(*labels)``, a fifth as dear: requests ask for the same few over and over."""
        key = (metric, labels)
        child: M | None = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def exposition(self) -> bytes:
        """The text format, for all workers of this machine."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            return generate_latest(registry)
        return generate_latest(self.registry)
