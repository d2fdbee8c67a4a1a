"""`tollgate up`: one command to a gateway that answers, and nothing left behind by Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.ports import free_port

TOLLGATE = Path(sys.executable).parent / "tollgate"


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tg-up-") as directory:
        yield Path(directory)


def start(place: Path) -> tuple[subprocess.Popen[str], str]:
    """Run `tollgate up` in ``place`` until it says that it is ready; the process and what it said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
    process = subprocess.Popen(
        [str(TOLLGATE), "up", "--port", str(free_port())],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("Ctrl-C"):
            return process, said
    raise AssertionError(f"it ended with {process.wait()} after saying: {said}")


def stop(process: subprocess.Popen[str], name: signal.Signals) -> int:
    process.send_signal(name)
    with process:
        return process.wait(60)


def run(*words: str | Path, place: Path) -> str:
    return subprocess.run(
        [str(word) for word in words], cwd=place, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_the_printed_curl_line_works_as_it_stands_and_everything_ends_with_ctrl_c(place: Path) -> None:
    process, said = start(place)
    children = psutil.Process(process.pid).children(recursive=True)
    try:
        [command] = re.findall(r"^  (curl .*?-i)$", said, re.MULTILINE | re.DOTALL)
        answer = run("bash", "-c", f"{command} -sS", place=place)
        assert answer.startswith("HTTP/1.1 200")
        assert "x-tollgate-credits" in answer
        config = place / ".tollgate" / "tollgate.yaml"
        assert run(TOLLGATE, "reconcile", "--config", config, place=place).splitlines()[-1] == "drift 0"
        assert "ada-laptop" in run(TOLLGATE, "keys", "list", "--config", config, place=place)
        for secret in ("admin_token", "demo_key", "tollgate.env"):
            assert (place / ".tollgate" / secret).stat().st_mode & 0o077 == 0
        token = (place / ".tollgate" / "admin_token").read_text().strip()
        assert token not in said
    finally:
        code = stop(process, signal.SIGINT)
    assert code == 0
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_what_was_spent_is_still_there_after_a_restart(place: Path) -> None:
    for expected in (1, 2):
        process, said = start(place)
        try:
            [command] = re.findall(r"^  (curl .*?-i)$", said, re.MULTILINE | re.DOTALL)
            run("bash", "-c", f"{command} -sS", place=place)
            config = place / ".tollgate" / "tollgate.yaml"
            listed = run(TOLLGATE, "limits", "list", "--config", config, place=place)
        finally:
            code = stop(process, signal.SIGTERM)
        assert code == 0
        [line] = [line for line in listed.splitlines() if "user ada" in line]
        assert line.split()[6] == f"{0.00066 * expected:.5f}".rstrip("0")
