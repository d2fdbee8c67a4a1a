"""The one door to Postgres: a pool with a handful of verbs, and errors that say what to do about them.

When Postgres is down every verb raises `PostgresUnavailable` (try again later). What it refuses because of
the values it was given raises `DataRefused` (the same values will be refused again). Anything else, a missing
table say, is `PostgresError`: the store has to be mended first, e.g. by `tollgate migrate`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal, TypeVar

import asyncpg

from gateway.errors import StoreUnavailable, TollgateError

Row = Mapping[str, Any]
Isolation = Literal["read_committed", "repeatable_read", "serializable"]


class PostgresError(TollgateError):
    """Postgres refused a statement. If tables are missing, run `tollgate migrate`."""

    code = "database_error"


class DataRefused(PostgresError):
    """Postgres refused a value: out of range, malformed, or against a constraint."""

    code = "data_refused"

    def __init__(self, message: str | None = None, *, constraint: str | None = None, **rest: Any) -> None:
        super().__init__(message, **rest)
        self.constraint = constraint


class PostgresUnavailable(StoreUnavailable):
    """Postgres does not answer."""

    code = "database_unavailable"


Known = TypeVar("Known", bound=TollgateError)


def _because(error: Known, reason: str) -> Known:
    """``error``, whose text says to operators what Postgres or its driver said. Its ``message``, which anybody is told
    who calls, does not: such reasons name addresses, accounts and tables."""
    error.args = (reason,)
    return error


# SQLSTATE classes after which the same statement may succeed later: connection exceptions, transaction
# rollback (serialization failures, deadlocks), insufficient resources, lock not available, operator
# intervention (shutdown, start-up, cancelled), system errors. 25006 is a write sent to a replica while a
# failover is under way. https://www.postgresql.org/docs/current/errcodes-appendix.html
_RETRYABLE = ("08", "40", "53", "55P03", "57", "58", "25006")
# Data exceptions and integrity constraint violations.
_DATA = ("22", "23")


@contextmanager
def _mapped() -> Iterator[None]:
    """What asyncpg and the socket raise, as the three errors above. Details and rejected values stay out."""
    try:
        yield
    except asyncpg.PostgresError as error:
        state, reason = error.sqlstate or "", error.args[0]
        if state.startswith(_RETRYABLE):
            reason = f"Postgres cannot do this now: {reason} [{state}]"
            raise _because(PostgresUnavailable(), reason) from error
        if state.startswith(_DATA):
            constraint = getattr(error, "constraint_name", None)
            reason = f"Postgres refused a value: {reason} [{state}]"
            raise _because(DataRefused(constraint=constraint), reason) from error
        raise _because(PostgresError(), f"{reason} [{state}]") from error
    except asyncpg.ClientConfigurationError as error:
        raise _because(PostgresError(), f"The Postgres DSN is not usable: {error}") from error
    except asyncpg.InterfaceError as error:
        # The driver's own refusal of a value is an InterfaceError that is a ValueError as well.
        if isinstance(error, ValueError):
            reason = f"A value does not fit its column: {error.__cause__!r}"
            raise _because(DataRefused(), reason) from error
        raise _because(PostgresUnavailable(), f"Postgres does not answer: {error!r}") from error
    except (asyncpg.InternalClientError, OSError, TimeoutError) as error:
        raise _because(PostgresUnavailable(), f"Postgres does not answer: {error!r}") from error


class Session:
    """The verbs, on one connection. Inside `Postgres.transaction` they commit or roll back together."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *args: object, timeout_s: float | None = None) -> list[Row]:
        """``timeout_s`` instead of the pool's."""
        with _mapped():
            rows: list[Row] = await self._connection.fetch(sql, *args, timeout=timeout_s)
            return rows

    async def fetch_one(self, sql: str, *args: object) -> Row | None:
        with _mapped():
            row: Row | None = await self._connection.fetchrow(sql, *args)
            return row

    async def fetch_value(self, sql: str, *args: object) -> Any:
        with _mapped():
            return await self._connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: object, timeout_s: float | None = None) -> None:
        """One statement; without arguments, several separated by semicolons. ``timeout_s`` instead of the pool's."""
        with _mapped():
            await self._connection.execute(sql, *args, timeout=timeout_s)

    async def stream(self, sql: str, *args: object, rows_at_once: int = 1000) -> AsyncGenerator[Row]:
        """The rows of a query as they are asked for, never more than ``rows_at_once`` in memory.

        Inside a transaction only, which stays open as long as somebody reads.
        """
        with _mapped():
            cursor = await self._connection.cursor(sql, *args)
        while True:
            with _mapped():
                rows = await cursor.fetch(rows_at_once)
            for row in rows:
                yield row
            if len(rows) < rows_at_once:
                return

    async def copy_in(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        with _mapped():
            try:
                await self._connection.copy_records_to_table(table, columns=list(columns), records=rows)
            except (OverflowError, ValueError, TypeError) as error:
                # Unlike other verbs, COPY lets the encoders' own errors out.
                raise _because(DataRefused(), f"A value does not fit its column: {error!r}") from error

    @asynccontextmanager
    async def transaction(
        self, isolation: Isolation = "read_committed", *, readonly: bool = False
    ) -> AsyncIterator[None]:
        transaction = self._connection.transaction(isolation=isolation, readonly=readonly)
        with _mapped():
            await transaction.start()
        try:
            yield
        except BaseException:
            # A connection that broke, or was cancelled mid-statement, cannot roll back; Postgres does it for
            # it.
            with _mapped_quietly():
                await transaction.rollback()
            raise
        with _mapped():
            await transaction.commit()


@contextmanager
def _mapped_quietly() -> Iterator[None]:
    try:
        with _mapped():
            yield
    except (PostgresError, PostgresUnavailable):
        pass


class Postgres:
    """A pool of connections. `start` does not need the server to be up; each verb connects when it must."""

    def __init__(
        self,
        dsn: str,
        *,
        connections_max: int = 4,
        connect_timeout_s: float = 5,
        command_timeout_s: float | None = 60,
        application_name: str = "tollgate",
    ) -> None:
        self._pool: Any = None
        self._options: dict[str, Any] = {
            "dsn": dsn,
            "min_size": 0,
            "max_size": connections_max,
            "timeout": connect_timeout_s,
            "command_timeout": command_timeout_s,
            "server_settings": {
                "application_name": application_name,
                # Compiling a query over all partitions of a year takes Postgres many times as long as running it.
                "jit": "off",
                # Redis forgets what is committed here. A server set to answer early would lose it in a crash.
                "synchronous_commit": "on",
            },
        }

    async def start(self) -> None:
        if self._pool is None:
            with _mapped():
                self._pool = await asyncpg.create_pool(**self._options)

    async def stop(self, deadline_s: float = 5) -> None:
        """Close when the running statements are done, or at the deadline without them. Safe to call again."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), deadline_s)
        except TimeoutError:
            pool.terminate()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """One connection for as long as the block runs."""
        pool = self._pool
        if pool is None:
            raise PostgresUnavailable("The Postgres pool is not started.")
        with _mapped():
            connection = await pool.acquire(timeout=self._options["timeout"])
        try:
            yield Session(connection)
        finally:
            with _mapped_quietly():
                await pool.release(connection)

    @asynccontextmanager
    async def transaction(
        self, isolation: Isolation = "read_committed", *, readonly: bool = False
    ) -> AsyncIterator[Session]:
        async with self.session() as session, session.transaction(isolation, readonly=readonly):
            yield session

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        async with self.session() as session:
            return await session.fetch(sql, *args)

    async def fetch_one(self, sql: str, *args: object) -> Row | None:
        async with self.session() as session:
            return await session.fetch_one(sql, *args)

    async def fetch_value(self, sql: str, *args: object) -> Any:
        async with self.session() as session:
            return await session.fetch_value(sql, *args)

    async def execute(self, sql: str, *args: object) -> None:
        async with self.session() as session:
            await session.execute(sql, *args)
