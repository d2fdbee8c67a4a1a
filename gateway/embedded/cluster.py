"""The private Redis and Postgres of one data directory, as one thing that starts and stops.

Under the data directory: ``lock`` (held by the gateway), ``redis/`` and ``postgres/`` (data), ``run/``
(socket files), ``redis.log`` and ``postgres.log``, and a lock for each server.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.embedded.account import Account, account_for
from gateway.embedded.failure import DataInUse, EmbeddedError
from gateway.embedded.postgres_server import PostgresServer
from gateway.embedded.process import Placement
from gateway.embedded.redis_server import RedisServer

# A socket's path has 108 bytes on Linux and 104 on macOS, its end included; ".s.PGSQL.5432.lock" is the
# longest name.
SOCKET_DIRECTORY_BYTES_MAX = 80


@dataclass(frozen=True, slots=True)
class Endpoints:
    """How to reach the two servers."""

    redis_url: str
    postgres_dsn: str


class Embedded:
    """A private Redis and Postgres on ``data``; ``progress`` is told in short lines what takes time.

    The servers outlive Ctrl-C in the terminal, so that the gateway can settle before it stops them, and end
    with the gateway's process if that is killed (on Linux at once, elsewhere at the next start).
    """

    def __init__(self, data: Path, *, progress: Callable[[str], None] = lambda line: None) -> None:
        self._data = data.absolute()
        self._progress = progress
        self._lock: int | None = None
        self._redis: RedisServer | None = None
        self._postgres: PostgresServer | None = None
        self._endpoints: Endpoints | None = None

    async def start(self) -> Endpoints:
        """Start both and return how to reach them; again at once if they run.

        Raises DataInUse if another Tollgate has this data directory, BinaryNotFound, or ServerFailed.
        """
        if self._endpoints:
            return self._endpoints
        self._take_lock()
        try:
            self._endpoints = await self._start_servers()
        except BaseException:
            await self.stop()
            raise
        return self._endpoints

    async def stop(self) -> None:
        """Stop both and free the data directory. Safe to call twice, and without a start."""
        self._endpoints = None
        running = [server.stop() for server in (self._redis, self._postgres) if server]
        await asyncio.gather(*running)
        self._redis = self._postgres = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def failed(self) -> str:
        """Wait until one of the running servers ends by itself; a sentence with the end of its log."""
        waits = [
            asyncio.ensure_future(server.process.ended())
            for server in (self._redis, self._postgres)
            if server
        ]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for wait in waits:
                wait.cancel()

    async def _start_servers(self) -> Endpoints:
        account = account_for(self._data)
        sockets = self._socket_directory(account)
        self._redis = RedisServer(self._placement("redis", account), sockets / "redis.sock")
        self._postgres = PostgresServer(self._placement("postgres", account), sockets)
        for server in (self._redis, self._postgres):
            if await server.process.clear_orphan():
                self._progress(f"stopped a {server.process.name} that an earlier run had left behind")
        making = "" if self._postgres.exists else "making the database and "
        self._progress(f"{making}starting Redis and Postgres in {self._data}")
        starts = [asyncio.ensure_future(server.start()) for server in (self._redis, self._postgres)]
        try:
            await asyncio.gather(*starts)
        finally:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
        return Endpoints(self._redis.url, self._postgres.dsn())

    def _placement(self, name: str, account: Account) -> Placement:
        return Placement(self._data / name, self._data / f"{name}.lock", self._data / f"{name}.log", account)

    def _take_lock(self) -> None:
        try:
            self._data.mkdir(mode=0o755, parents=True, exist_ok=True)
            # A descriptor, not a file object: it must stay locked even if this object is forgotten unstopped.
            lock = os.open(self._data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as failure:
            raise EmbeddedError(
                f"The data directory {self._data} cannot be used: {failure.strerror}. "
                "Choose another with --data."
            ) from failure
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            holder = os.read(lock, 20).decode(errors="replace").strip()
            os.close(lock)
            raise DataInUse(
                f"Another Tollgate (pid {holder or 'unknown'}) runs on {self._data}. Stop it first, or give "
                "this one its own directory with --data."
            ) from taken
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock

    def _socket_directory(self, account: Account) -> Path:
        """``run`` below the data, or where that is too long a short path, the same at every start."""
        directory = self._data / "run"
        if len(os.fsencode(directory)) > SOCKET_DIRECTORY_BYTES_MAX:
            digest = hashlib.sha256(os.fsencode(self._data)).hexdigest()[:12]
            directory = Path(tempfile.gettempdir()) / f"tollgate-{os.geteuid()}-{digest}"
        if not directory.exists():
            account.make_directory(directory)
        found = directory.lstat()
        expected = os.geteuid() if account.uid is None else account.uid
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != expected or found.st_mode & 0o077:
            raise EmbeddedError(
                f"{directory} must be a directory of its own for uid {expected}, closed to others (0700), "
                "since whoever can enter it can use the private servers. Remove it and start again."
            )
        return directory
