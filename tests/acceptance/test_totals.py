"""Every place that shows a total shows the same one: the proof runs, on fewer rows than by hand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PLACES = (
    "live: session",
    "live: usage events",
    "live: balance",
    "balance: left",
    "balance: this_month, its operations",
    "limit: org total",
    "limit: team month",
    "usage_rollups",
    "ledger: usage_revenue",
    "usage by model",
    "usage by conversation, CSV",
    "usage request by request, CSV",
    "report, JSON: conversations",
    "report, CSV",
    "report, FOCUS: BilledCost",
    "report, PDF: table 1",
    "statement",
)
"""Some of each kind."""


@pytest.mark.slow
def test_balance_usage_reports_live_stream_redis_and_ledger_agree_to_the_microcredit() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.totals",
            "--org",
            "2",
            "--rows",
            "12000",
            "--days",
            "40",
            "--calls",
            "4",
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"\d+ totals of 12,000 generated rows compared: all agree", lines[-1])
    assert "drift 0" in lines
    for place in PLACES:
        (line,) = (line for line in lines if line[:48].rstrip() == place)
        assert line.endswith("agree")
        assert not re.search(r" 0  agree$", line), "nothing is shown, so nothing is compared"
