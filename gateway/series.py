"""Series of metrics that cost next to nothing to count in: numbers are added up here and told to the Prometheus library
when somebody asks for them.

Not for threads: everything is counted on the event loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import prometheus_client


class Counter:
    """One series. What is counted waits here until it is told to the library, which takes a lock for each number."""

    __slots__ = ("_told_to", "_untold")

    def __init__(self, told_to: prometheus_client.Counter) -> None:
        self._told_to = told_to
        self._untold = 0

    def inc(self, amount: int = 1) -> None:
        self._untold += amount

    def tell(self) -> None:
        if self._untold:
            untold, self._untold = self._untold, 0
            self._told_to.inc(untold)


class Histogram:
    """One series, likewise. ``bounds``: of its buckets, but for the last, which has none."""

    __slots__ = ("_bounds", "_sum", "_told_to", "_untold")

    def __init__(self, told_to: prometheus_client.Histogram, bounds: Sequence[float]) -> None:
        self._told_to = told_to
        self._bounds = bounds
        self._untold = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, amount: float) -> None:
        self._sum += amount
        self._untold[bisect_left(self._bounds, amount)] += 1

    def tell(self) -> None:
        if not any(self._untold):
            return
        untold, self._untold = self._untold, [0] * len(self._untold)
        total, self._sum = self._sum, 0.0
        # The library has no public way to tell of many at once.
        self._told_to._sum.inc(total)
        for bucket, count in zip(self._told_to._buckets, untold, strict=True):
            if count:
                bucket.inc(count)


class CounterFamily:
    """A series for each set of labels."""

    def __init__(self, told_to: prometheus_client.Counter) -> None:
        self._told_to = told_to
        self._by_labels: dict[tuple[str, ...], Counter] = {}

    def of(self, *labels: str) -> Counter:
        series = self._by_labels.get(labels)
        if series is None:
            series = self._by_labels[labels] = Counter(self._told_to.labels(*labels))
        return series

    def tell(self) -> None:
        for series in self._by_labels.values():
            series.tell()


class HistogramFamily:
    """A series for each set of labels."""

    def __init__(self, told_to: prometheus_client.Histogram, bounds: Sequence[float]) -> None:
        self._told_to = told_to
        self._bounds = bounds
        self._by_labels: dict[tuple[str, ...], Histogram] = {}

    def of(self, *labels: str) -> Histogram:
        series = self._by_labels.get(labels)
        if series is None:
            series = self._by_labels[labels] = Histogram(self._told_to.labels(*labels), self._bounds)
        return series

    def tell(self) -> None:
        for series in self._by_labels.values():
            series.tell()
