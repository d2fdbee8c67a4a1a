"""The benchmark runs, measures every contender at every measure, and counts CPU time as the kernel does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contender import find_nginx
from benchmarks.process_cost import cpu_s
from tests.support.servers import pids_below

PROJECT = Path(__file__).parents[2]
CPU = ("unary_cpu_us", "streamed_cpu_us")
OTHERS = ("added_p50_us", "added_p95_us", "stream_kib", "rest_mib", "requests_per_s")
PROXIES = {"aiohttp", "tollgate"} | ({"nginx"} if find_nginx() else set())
BURN = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\nsys.stdin.read()"
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("living", flush=True)
sys.stdin.readline()
child.communicate()
print("dead", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class QuickRun:
    """What ``make bench ARGS=--quick`` printed, the JSON that it left, and who still has files open below its
    temporary directory."""

    table: str
    found: dict[str, Any]
    left_running: list[int]


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickRun]:
    results = tmp_path_factory.mktemp("results")
    with tempfile.TemporaryDirectory(prefix="tgb-") as temporary:
        Path(temporary).chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", "--quick", "--results", str(results)],
            cwd=PROJECT,
            env={**os.environ, "TMPDIR": temporary},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        (written,) = results.iterdir()
        yield QuickRun(done.stdout, json.loads(written.read_text()), pids_below(Path(temporary)))


@pytest.mark.slow
@pytest.mark.timeout(240)
class TestQuickRun:
    def test_every_measure_has_a_figure_of_every_proxy(self, quick_run: QuickRun) -> None:
        rows = quick_run.found["rows"]
        assert set(rows) == {*CPU, *OTHERS}
        for name in OTHERS:
            assert set(rows[name]["values"]) == PROXIES, name
        for name in CPU:
            assert set(rows[name]["values"]) == {*PROXIES, "Redis", "Postgres"}, name
            assert all(value > 0 for value in rows[name]["values"].values()), name

    def test_the_table_shows_what_the_json_says(self, quick_run: QuickRun) -> None:
        table, found = quick_run.table, quick_run.found
        for row in found["rows"].values():
            (line,) = [line for line in table.splitlines() if line.startswith(row["label"])]
            assert f"{row['values']['tollgate']:,.0f}" in line or f"{row['values']['tollgate']:,.1f}" in line

    def test_ratios_and_targets_are_judged_where_there_is_an_nginx(self, quick_run: QuickRun) -> None:
        table, found = quick_run.table, quick_run.found
        for name, target in zip(CPU, (20.0, 2.5), strict=True):
            row = found["rows"][name]
            assert row["target"] == target
            if "nginx" in PROXIES:
                ratio = row["values"]["tollgate"] / row["values"]["nginx"]
                assert row["ratios"]["nginx"] == pytest.approx(ratio)
                assert row["met"] is (ratio <= target)
            else:
                assert row["met"] is None
                assert "No nginx on this machine" in table

    def test_every_call_through_the_gateway_has_its_row_and_the_books_agree(
        self, quick_run: QuickRun
    ) -> None:
        (books,) = [note for note in quick_run.found["notes"] if note.startswith("Tollgate's books")]
        assert books.endswith("drift 0.")

    def test_nothing_is_left_running(self, quick_run: QuickRun) -> None:
        assert quick_run.left_running == []


def test_cpu_time_counts_children_living_and_dead() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"living\n"
        living_s = cpu_s(parent.pid)
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == b"dead\n"
        dead_s = cpu_s(parent.pid)
        parent.stdin.close()
    assert 0.3 <= living_s < 1.0, "the child burns 0.3 s"
    assert living_s - 0.02 <= dead_s < living_s + 0.2, "the same once its parent has buried it"
