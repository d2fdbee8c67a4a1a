"""What was counted is told to the library whole, once, and as the library itself would have counted it."""

from __future__ import annotations

from pathlib import Path

import prometheus_client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from gateway.metrics import Metrics
from gateway.series import Counter, Histogram, HistogramFamily

BOUNDS = (0.5, 1, 2.5)
amounts = st.floats(0, 5) | st.sampled_from(BOUNDS)


def _said(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(st.lists(st.integers(1, 10**9)), st.integers(0, 3))
def test_a_counter_is_told_each_amount_once(counted: list[int], told_after: int) -> None:
    told_to = prometheus_client.Counter("a", "b", registry=None)
    counter = Counter(told_to)
    for number, amount in enumerate(counted):
        counter.inc(amount)
        if number == told_after:
            counter.tell()
    counter.tell()
    counter.tell()
    assert told_to._value.get() == sum(counted)


@given(st.lists(amounts), st.lists(amounts))
def test_a_histogram_says_what_the_library_would_have_said(earlier: list[float], later: list[float]) -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    plain = prometheus_client.Histogram("a", "b", ["c"], buckets=BOUNDS, registry=theirs)
    told_to = prometheus_client.Histogram("a", "b", ["c"], buckets=BOUNDS, registry=ours)
    family = HistogramFamily(told_to, BOUNDS)
    for batch in (earlier, later):
        for amount in batch:
            plain.labels("d").observe(amount)
            family.of("d").observe(amount)
        family.tell()
    said = [line for line in _said(ours) if "_sum" not in line]
    assert said == [line for line in _said(theirs) if "_sum" not in line]


def test_the_sum_of_a_histogram_is_that_of_all_amounts() -> None:
    told_to = prometheus_client.Histogram("a", "b", buckets=BOUNDS, registry=None)
    histogram = Histogram(told_to, BOUNDS)
    for amount in (0.25, 0.5, 4):
        histogram.observe(amount)
    histogram.tell()
    histogram.tell()
    assert told_to._sum.get() == 4.75


def test_each_series_is_explained_to_operators() -> None:
    explained = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    told = [(family.name, family.type) for family in Metrics().registry.collect()]
    names = [name + "_total" if kind == "counter" else name for name, kind in told]
    assert len(names) > 10
    assert [name for name in names if f"`{name}" not in explained] == []


def test_what_is_measured_is_measured_whenever_somebody_asks() -> None:
    metrics = Metrics()
    metrics.requests.of("openai", "chat.completions", "200").inc()
    assert b'tollgate_requests_total{provider="openai",route="chat.completions",status="200"} 1.0' in (
        metrics.exposition()
    )
    metrics.start(lambda: metrics.holds_open.set(7))
    assert b"tollgate_holds_open 7.0" in metrics.exposition()
