"""One private server as a process: started under a lock, watched until ready, stopped, or cleared away.

The lock file is held by the server and its children (see ``launch``), not by the gateway. So after the
gateway was killed, a held lock means that an orphan still runs, and the pid written in the file is its pid.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.embedded.account import Account
from gateway.embedded.failure import ServerFailed

LAUNCH = Path(__file__).with_name("launch.py")
POLL_S = 0.02
SETUP_TIMEOUT_S = 300.0  # initdb writes 40 MB and waits for the disk
WATCH_S = 0.25
STOP_TIMEOUT_S = 30.0  # a checkpoint or the last write of an append-only file on a slow disk
KILL_TIMEOUT_S = 10.0
LOG_BYTES_MAX = 10_000_000
LOG_TAIL_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a server lives: its working directory, its lock and its log, and the account that it runs as."""

    directory: Path
    lock: Path
    log: Path
    account: Account


class ServerProcess:
    """A server run in the foreground, in a session of its own so that Ctrl-C reaches the gateway only.

    Start it from a thread that lives as long as the server should: on Linux the end of that thread ends the
    server.
    """

    def __init__(
        self, name: str, placement: Placement, *, stop_signal: signal.Signals, kill_signal: signal.Signals
    ) -> None:
        self.name = name
        self.placement = placement
        self._stop_signal = stop_signal
        self._kill_signal = kill_signal
        self._child: subprocess.Popen[bytes] | None = None
        self._log_offset_bytes = 0  # where this run's lines begin

    @property
    def pid(self) -> int | None:
        """The server's pid while it runs."""
        return self._child.pid if self._child and self._child.poll() is None else None

    @property
    def is_running(self) -> bool:
        """Whether the server was started and has not ended."""
        return self.pid is not None

    async def start(
        self, command: Sequence[str], is_ready: Callable[[], Awaitable[bool]], timeout_s: float
    ) -> None:
        """Run ``command``; return once ``is_ready``. Raises ServerFailed with the end of its log."""
        if self.is_running:
            return
        child = self._child = self._spawn(command)
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            while not await is_ready():
                if child.poll() is not None:
                    raise ServerFailed(self._describe(f"ended with status {child.returncode} while starting"))
                if asyncio.get_running_loop().time() > deadline:
                    raise ServerFailed(self._describe(f"was not ready within {timeout_s:.0f} s"))
                await asyncio.sleep(POLL_S)
        except BaseException:
            await self.stop()
            raise

    async def run_once(self, command: Sequence[str], standard_input: bytes = b"") -> None:
        """Run ``command`` to its end in the same place and account. Raises ServerFailed if it fails."""
        child = self._spawn(command, subprocess.PIPE)
        try:
            if child.stdin:
                child.stdin.write(standard_input)
                child.stdin.close()
            await _until(lambda: child.poll() is not None, SETUP_TIMEOUT_S)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if child.returncode != 0:
            raise ServerFailed(self._describe(f"could not be set up ({Path(command[0]).name} failed)"))

    async def stop(self) -> None:
        """Ask the server to end, wait for it, and insist if it does not. Safe to call at any time."""
        child = self._child
        if child is None:
            return
        for wish, timeout_s in ((self._stop_signal, STOP_TIMEOUT_S), (self._kill_signal, KILL_TIMEOUT_S)):
            if child.poll() is None:
                child.send_signal(wish)
                await _until(lambda: child.poll() is not None, timeout_s)
        if child.poll() is None:
            child.kill()
            child.wait()
        self._child = None

    def kill(self) -> None:
        """End the server at once, as a crash would, and wait until it is gone."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    async def ended(self) -> str:
        """Wait until a running server ends without being asked to; a sentence that says so."""
        # A process is no asyncio event: it can only be asked.
        while (child := self._child) is None or child.poll() is None:  # noqa: ASYNC110
            await asyncio.sleep(WATCH_S)
        return self._describe(f"ended with status {child.returncode}")

    async def clear_orphan(self) -> bool:
        """End a server that outlived its gateway on this data. True if there was one. Raises ServerFailed."""
        lock = self.placement.lock
        if _is_free(lock):
            return False
        for wish, timeout_s in (
            (self._stop_signal, STOP_TIMEOUT_S),
            (self._kill_signal, KILL_TIMEOUT_S),
            (signal.SIGKILL, KILL_TIMEOUT_S),
        ):
            _signal_holder(self.placement, wish)
            if await _until(lambda: _is_free(lock), timeout_s):
                return True
        raise ServerFailed(f"A {self.name} of an earlier run still holds {lock} and cannot be stopped.")

    def _spawn(
        self, command: Sequence[str], standard_input: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        place = self.placement
        account = place.account
        arguments = ["--lock", str(place.lock), "--parent", str(os.getpid())]
        arguments += ["--death-signal", str(int(self._stop_signal))]
        if account.uid is not None:
            arguments += ["--uid", str(account.uid), "--gid", str(account.gid)]
            if account.is_kept_out(Path(command[0]), place.directory):
                arguments += ["--pass-closed-directories"]
        _bound_log(place.log)
        with place.log.open("ab") as log:
            self._log_offset_bytes = log.tell()
            return subprocess.Popen(  # noqa: S603 - programs that we located, no shell
                [sys.executable, "-I", "-S", str(LAUNCH), *arguments, "--", *command],
                cwd=place.directory,
                env=_environment(),
                stdin=standard_input,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _describe(self, what: str) -> str:
        log = self.placement.log
        return f"The private {self.name} {what}. The end of {log}:\n{_tail(log, self._log_offset_bytes)}"


async def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True


def _is_free(lock: Path) -> bool:
    if not lock.exists():
        return True
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _signal_holder(place: Placement, wish: signal.Signals) -> None:
    written = place.lock.read_text().strip()
    if written.isdigit() and _may_run_in(place.directory, int(written)):
        try:
            os.kill(int(written), wish)
        except ProcessLookupError:
            pass  # it ended meanwhile, and its children follow


def _may_run_in(directory: Path, pid: int) -> bool:
    """False if the pid is a stranger's: the lock may be held in another container, where pids mean others."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == directory.resolve()
    except OSError:
        return not Path("/proc/self/cwd").exists()


def _environment() -> dict[str, str]:
    """Little, so that provider keys in the gateway's environment do not sit in its servers' as well."""
    passed_on = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
    kept = {name: os.environ[name] for name in passed_on if name in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _bound_log(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))


def _tail(log: Path, start_bytes: int) -> str:
    with log.open("rb") as file:
        file.seek(max(start_bytes, log.stat().st_size - LOG_TAIL_BYTES))
        return file.read().decode(errors="replace").strip()
