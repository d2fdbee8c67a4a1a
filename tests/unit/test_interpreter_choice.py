"""Which Python `make setup` takes: tools/venv.sh over interpreters that only say how fast they are."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


class Machine:
    """A checkout with nothing but the tools, and a PATH with nothing but what is installed here."""

    def __init__(self, place: Path) -> None:
        self.checkout = place / "checkout"
        self.programs = place / "bin"
        self.programs.mkdir()
        self.checkout.mkdir()
        for name in ("venv.sh", "interpreter.py"):
            (self.checkout / "tools").mkdir(exist_ok=True)
            shutil.copy(TOOLS / name, self.checkout / "tools" / name)
        for name in ("awk", "cat", "dirname", "mkdir", "rm", "sh"):
            found = shutil.which(name)
            assert found is not None
            (self.programs / name).symlink_to(found)

    def install(self, name: str, version: str, time_ms: float, *, makes_venvs: bool = True) -> str:
        """A Python that answers `tools/interpreter.py` like this; its path."""
        path = self.programs / name
        ending = f"mkdir .venv && echo {name} > .venv/made-by" if makes_venvs else "exit 1"
        path.write_text(
            f'#!/bin/sh\nif [ "$1" = -m ]; then {ending}; '
            f"else printf '%s\\t%s\\t%s\\n' {time_ms} {version} {path}; fi\n"
        )
        path.chmod(0o755)
        return str(path)

    def setup(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.programs / "sh", "tools/venv.sh"],
            cwd=self.checkout,
            env={"PATH": str(self.programs), "PYTHON_PLACES": "", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @property
    def maker(self) -> str:
        """Which interpreter made .venv; empty when none did."""
        made_by = self.checkout / ".venv" / "made-by"
        return made_by.read_text().strip() if made_by.exists() else ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_faster_build_is_taken_and_the_reason_said_in_a_line(machine: Machine) -> None:
    slow = machine.install("python3.12", "3.12.1", 9.0)
    fast = machine.install("python3.11", "3.11.2", 6.0)
    done = machine.setup()
    assert machine.maker == "python3.11"
    assert done.stdout == (
        f"creating .venv with Python 3.11.2 ({fast}): 3.12.1 ({slow}) takes 1.5 times as long\n"
    )


def test_the_newer_version_is_taken_when_both_are_about_as_fast(machine: Machine) -> None:
    machine.install("python3.12", "3.12.1", 6.5)
    machine.install("python3.11", "3.11.2", 6.0)
    done = machine.setup()
    assert (machine.maker, "times as long" in done.stdout) == ("python3.12", False)


def test_python_given_by_name_wins_over_a_faster_one(machine: Machine) -> None:
    slow = machine.install("python3.12", "3.12.1", 9.0)
    machine.install("python3.11", "3.11.2", 6.0)
    machine.setup(PYTHON=slow)
    assert machine.maker == "python3.12"


def test_the_next_is_taken_when_the_fastest_cannot_make_an_environment(machine: Machine) -> None:
    machine.install("python3.12", "3.12.1", 9.0)
    machine.install("python3.11", "3.11.2", 6.0, makes_venvs=False)
    done = machine.setup()
    assert (done.returncode, machine.maker) == (0, "python3.12")


def test_an_environment_is_kept_when_there_is_nothing_to_make_another_with(machine: Machine) -> None:
    (machine.checkout / ".venv").mkdir()
    done = machine.setup()
    assert (done.returncode, (machine.checkout / ".venv").exists()) == (1, True)
    assert "apt install python3 python3-venv" in done.stderr


@pytest.mark.parametrize(("newest", "usable"), [("3.14", True), ("3.10", False)])
def test_an_interpreter_tells_its_speed_if_its_version_is_supported(newest: str, usable: bool) -> None:
    done = subprocess.run(
        [sys.executable, TOOLS / "interpreter.py", newest], capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) is usable
    if usable:
        time_ms, version, path = done.stdout.rstrip("\n").split("\t")
        assert float(time_ms) > 0
        assert (version, path) == (".".join(map(str, sys.version_info[:3])), sys.executable)
