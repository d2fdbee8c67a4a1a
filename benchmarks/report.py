"""What is told at the end: one table for eyes, one JSON document for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.campaign import CONCURRENCY, INTERVAL_MS, STREAMS, Figures, Findings, Scale

TARGETS = {"unary_cpu_us": 20.0, "streamed_cpu_us": 2.5}
"""What Tollgate may cost at most, in multiples of nginx."""
BUSY = 0.9
"""A provider or load generator that computes for more of the time than this may have been the bottleneck."""
KIB = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One measure. ``values`` by contender or process; ``digits`` behind the point."""

    name: str
    label: str
    values: dict[str, float]
    digits: int = 0


def rows(findings: Findings, scale: Scale) -> list[Row]:
    """All measures, in the order in which they are shown."""
    figures = findings.figures

    def row(name: str, label: str, value_of: Any, digits: int = 0) -> Row:
        return Row(name, label, {who: value_of(found) for who, found in figures.items()}, digits)

    def cpu(name: str, label: str, field: str, digits: int) -> Row:
        values: dict[str, float] = {}
        for found in figures.values():
            values.update(getattr(found, field))
        return Row(name, label, values, digits)

    return [
        cpu("unary_cpu_us", f"unary, {CONCURRENCY} at once: CPU µs a request", "unary_us", 1),
        cpu("streamed_cpu_us", f"streamed, {STREAMS} × {INTERVAL_MS} ms: CPU µs a chunk", "streamed_us", 1),
        row("added_p50_us", "one at a time: added µs, p50", lambda found: found.added_p50_us),
        row("added_p95_us", "one at a time: added µs, p95", lambda found: found.added_p95_us),
        row(
            "stream_kib",
            f"memory, KiB more for each of {scale.memory_streams} open streams",
            lambda found: found.stream_bytes / KIB,
            1,
        ),
        row("rest_mib", "memory at rest, MiB", lambda found: found.at_rest_bytes / KIB / KIB, 1),
        row("requests_per_s", "unary requests a second (see README)", lambda found: found.per_second),
    ]


def text(found: Sequence[Row], findings: Findings, notes: Sequence[str]) -> str:
    """The table, with ratios to nginx and to aiohttp, and whether the targets are met."""
    columns = list(dict.fromkeys(name for row in found for name in row.values))
    columns.sort(key=lambda name: name in ("Redis", "Postgres"))
    header = ["", *columns, "÷ nginx", "÷ aiohttp", "target"]
    lines = [header]
    for row in found:
        shown = [f"{row.values[name]:,.{row.digits}f}" if name in row.values else "" for name in columns]
        lines.append(
            [row.label, *shown, _shown_ratio(row, "nginx"), _shown_ratio(row, "aiohttp"), verdict(row)]
        )
    widths = [max(len(line[index]) for line in lines) for index in range(len(header))]
    table = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    table.insert(1, "-" * max(map(len, table)))
    ending = [
        f"Directly at the provider, one at a time: {findings.direct_p50_us:,.0f} µs p50, "
        f"{findings.direct_p95_us:,.0f} µs p95. Redis and Postgres: what the gateway's calls cost them.",
        *notes,
        *bottlenecks(findings),
    ]
    return "\n".join([*table, "", *ending])


def document(found: Sequence[Row], findings: Findings, scale: Scale, notes: Sequence[str]) -> dict[str, Any]:
    """Everything, every round included."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "scale": {
            **asdict(scale),
            "concurrency": CONCURRENCY,
            "streams": STREAMS,
            "interval_ms": INTERVAL_MS,
        },
        "rows": {
            row.name: {
                "label": row.label,
                "values": row.values,
                "ratios": {other: ratio(row, other) for other in ("nginx", "aiohttp")},
                "target": TARGETS.get(row.name),
                "met": met(row),
            }
            for row in found
        },
        "direct": {"p50_us": findings.direct_p50_us, "p95_us": findings.direct_p95_us},
        "rounds": {name: _rounds(figures) for name, figures in findings.figures.items()},
        "notes": [*notes, *bottlenecks(findings)],
    }


def ratio(row: Row, other: str) -> float | None:
    """Tollgate's own value by another's; None where there is no such value."""
    if other not in row.values or row.values[other] <= 0:
        return None
    return row.values["tollgate"] / row.values[other]


def met(row: Row) -> bool | None:
    """Whether the target is met; None if there is none, or no nginx to compare with."""
    target, found = TARGETS.get(row.name), ratio(row, "nginx")
    return None if target is None or found is None else found <= target


def verdict(row: Row) -> str:
    if row.name not in TARGETS:
        return ""
    judged = {True: "met", False: "MISSED", None: "no nginx"}[met(row)]
    return f"≤ {TARGETS[row.name]:g}× nginx: {judged}"


def bottlenecks(findings: Findings) -> list[str]:
    """Where the provider or the load generator had more to do than the contender could have shown."""
    found = []
    for name, figures in findings.figures.items():
        for what, rounds in (("unary", figures.unary_rounds), ("streamed", figures.streamed_rounds)):
            busiest = max(max(cost.provider_busy, cost.load_busy) for cost in rounds)
            if busiest > BUSY:
                found.append(
                    f"{name}, {what}: provider or load generator computed {busiest:.0%} of the time, so requests a "
                    "second are theirs; CPU time is not affected."
                )
    return found


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _rounds(figures: Figures) -> dict[str, Any]:
    return {
        "unary": [asdict(cost) for cost in figures.unary_rounds],
        "streamed": [asdict(cost) for cost in figures.streamed_rounds],
    }


def _shown_ratio(row: Row, other: str) -> str:
    found = ratio(row, other)
    return "" if found is None or row.name == "requests_per_s" else f"{found:.2f}×"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    last = len(line) - 1
    return [
        cell.ljust(width) if index in (0, last) else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
