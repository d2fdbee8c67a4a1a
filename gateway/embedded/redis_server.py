"""A private Redis: append-only file on, nothing evicted, reached through a socket file (or a port too)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from gateway.embedded.binaries import RedisProgram, find_redis
from gateway.embedded.failure import EmbeddedError
from gateway.embedded.process import Placement, ServerProcess

READY_TIMEOUT_S = 120.0  # loading a large append-only file
ANSWER_TIMEOUT_S = 2.0


class RedisServer:
    """A Redis on the placement's directory. ``port`` 0 means the socket file alone."""

    def __init__(
        self, placement: Placement, socket: Path, *, port: int = 0, settings: Mapping[str, str] | None = None
    ) -> None:
        """``settings`` come after the ones given here."""
        self.socket = socket
        self.port = port
        self._settings = settings or {}
        self.process = ServerProcess(
            "Redis", placement, stop_signal=signal.SIGTERM, kill_signal=signal.SIGKILL
        )

    @property
    def url(self) -> str:
        """What a client connects to: the port if there is one, else the socket file."""
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"unix://{quote(str(self.socket))}?db=0"

    async def start(self) -> None:
        """Start and wait until the data is loaded. Raises EmbeddedError."""
        program = await asyncio.to_thread(find_redis)
        directory = self.process.placement.directory
        self.process.placement.account.make_directory(directory)
        _check_readable(directory, program)
        self.socket.unlink(missing_ok=True)
        await self.process.start(self._command(program.server), self._answers, READY_TIMEOUT_S)

    async def stop(self) -> None:
        """Write what is left to disk and end."""
        await self.process.stop()

    def _command(self, server: Path) -> list[str]:
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.process.placement.directory),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",  # the append-only file is the record; snapshots beside it would only cost forks
            **self._settings,
        }
        command = [str(server)]
        for name, value in settings.items():
            command += [f"--{name}", value]
        return command

    async def _answers(self) -> bool:
        """Whether it answers PING, which it does only after loading its data."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
        except (FileNotFoundError, ConnectionError):
            return False
        try:
            writer.write(b"PING\r\n")
            return await asyncio.wait_for(reader.readline(), ANSWER_TIMEOUT_S) == b"+PONG\r\n"
        except (ConnectionError, TimeoutError):
            return False
        finally:
            writer.close()


def _check_readable(directory: Path, program: RedisProgram) -> None:
    # Redis before 7 keeps one append-only file, later ones a directory. An older server would not see the
    # directory, and start empty without a word.
    if program.version < (7, 0) and (directory / "appendonlydir").exists():
        raise EmbeddedError(
            f"The data in {directory} was written by Redis 7 or newer, and {program.server} is "
            f"{program.version[0]}.{program.version[1]}, which cannot read it. Put the newer redis-server "
            "back on the PATH, or start with a new data directory (--data)."
        )
