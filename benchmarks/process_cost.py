"""What a process and its children have used: CPU time by the kernel's clock of each, memory by their pages."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

TICKS_S = os.sysconf("SC_CLK_TCK")
CUTIME = 13
"""Its place in /proc/PID/stat behind the command, see proc(5)."""


def family(pid: int) -> list[int]:
    """``pid`` and all of its living descendants."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of ``pid`` and its descendants, those included that have ended.

    For the living the kernel's CPU clock of each process is read: the time that /proc/PID/stat shows as utime and
    stime, in nanoseconds and not in ticks of 10 ms. The dead are in cutime and cstime of whoever waited for them.
    """
    total_s = 0.0
    for member in family(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total_s += (int(fields[CUTIME]) + int(fields[CUTIME + 1])) / TICKS_S
            total_s += time.clock_gettime(_cpu_clock(member))
        except OSError:
            continue  # a child that ended just now
    return total_s


def pss_bytes(pid: int) -> int:
    """Proportional set size of ``pid`` and its descendants: what is shared counts in shares."""
    total = 0
    for member in family(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def _cpu_clock(pid: int) -> int:
    """The clock of a process, as clock_getcpuclockid(3) makes it on Linux (CPUCLOCK_SCHED of the whole process)."""
    return ~pid << 3 | 2
