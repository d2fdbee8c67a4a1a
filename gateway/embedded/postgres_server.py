"""A private Postgres: made once with initdb, reached through a socket file in a closed directory."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from gateway.embedded.binaries import PostgresPrograms, find_postgres
from gateway.embedded.process import Placement, ServerProcess

ROLE = "tollgate"
DATABASE = "tollgate"
READY_TIMEOUT_S = 120.0  # recovery after a crash replays the log
_STATUS_LINE = 7  # of postmaster.pid, counted from 0: what pg_ctl waits for too


class PostgresServer:
    """A Postgres on the placement's directory, listening in ``socket_directory``, with extra ``settings``."""

    def __init__(
        self, placement: Placement, socket_directory: Path, *, settings: Mapping[str, str] | None = None
    ) -> None:
        self.socket_directory = socket_directory
        self._settings = dict(settings or {})
        self.process = ServerProcess(
            "Postgres", placement, stop_signal=signal.SIGINT, kill_signal=signal.SIGQUIT
        )

    def dsn(self, database: str = DATABASE) -> str:
        """What asyncpg connects to. It needs no password: the socket's directory admits its owner only."""
        return f"postgresql://{ROLE}@/{quote(database)}?host={quote(str(self.socket_directory), safe='')}"

    @property
    def exists(self) -> bool:
        """Whether the data was made already."""
        return (self._directory / "PG_VERSION").exists()

    @property
    def _directory(self) -> Path:
        return self.process.placement.directory

    async def start(self) -> None:
        """Make the data if there is none, start, wait until it takes connections. Raises EmbeddedError."""
        programs = await asyncio.to_thread(find_postgres, self._data_major())
        if not self.exists:
            await self._create(programs)
        # The lock that all its processes share was free, so no Postgres runs here; a pid file left by a crash
        # could name a pid that another program has today, and Postgres would refuse to start.
        (self._directory / "postmaster.pid").unlink(missing_ok=True)
        await self.process.start(self._command(programs), self._takes_connections, READY_TIMEOUT_S)

    async def stop(self) -> None:
        """Disconnect clients, write a checkpoint and end."""
        await self.process.stop()

    def _data_major(self) -> int | None:
        return int((self._directory / "PG_VERSION").read_text()) if self.exists else None

    async def _create(self, programs: PostgresPrograms) -> None:
        """Build beside the final place and rename, so that a start cut short leaves nothing half made."""
        account = self.process.placement.account
        draft = self._directory.with_name(self._directory.name + ".new")
        if draft.exists():
            await asyncio.to_thread(shutil.rmtree, draft)
        account.make_directory(self._directory)
        account.make_directory(draft)
        await self.process.run_once(
            [
                str(programs.directory / "initdb"),
                *("--pgdata", str(draft), "--username", ROLE, "--encoding", "UTF8", "--no-locale"),
                *("--auth-local", "trust", "--auth-host", "reject"),
            ]
        )
        await self.process.run_once(
            [str(programs.directory / "postgres"), "--single", "-j", "-D", str(draft), "postgres"],
            f"CREATE DATABASE {DATABASE};\n\n".encode(),
        )
        os.rmdir(self._directory)
        draft.rename(self._directory)

    def _command(self, programs: PostgresPrograms) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": _quoted(self.socket_directory),
            "unix_socket_permissions": "0700",
            "port": "5432",
            "log_checkpoints": "off",
            **self._settings,
        }
        command = [str(programs.directory / "postgres"), "-D", str(self._directory)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    async def _takes_connections(self) -> bool:
        try:
            lines = (self._directory / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready"


def _quoted(directory: Path) -> str:
    """The setting is a list: a path with a comma in it is one element only in double quotes."""
    doubled = str(directory).replace('"', '""')
    return f'"{doubled}"'
