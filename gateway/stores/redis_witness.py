"""The newest entry of the audit log, noted in Redis too: who owns only the database cannot cut it off unnoticed.

Every gateway looks every few seconds. What is no continuation of what was noted is told in the log, and never noted.
While Redis or Postgres is down nothing is noted; what is written and cut off meanwhile leaves no trace here.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from importlib.resources import files

from gateway.errors import TollgateError
from gateway.stores.postgres import Postgres
from gateway.stores.redis import RedisCalls, Script
from gateway.stores.sql import Queries

log = logging.getLogger("tollgate.audit")

EVERY_S = 5.0
KEY = "tg:audit:head"
_SQL = Queries.load("gateway.stores", "audit.sql")
NOTE = Script.of("note_1", files("gateway.stores").joinpath("note_1.lua").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Noted:
    """An entry that was in the log."""

    place: int
    hash: bytes


class AuditWitness:
    """``start`` and ``stop`` are idempotent; neither store has to be up."""

    def __init__(self, postgres: Postgres, redis: RedisCalls, *, every_s: float = EVERY_S) -> None:
        self._postgres = postgres
        self._redis = redis
        self._every_s = every_s
        self._holds = True
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def noted(self) -> Noted | None:
        """None: no gateway has noted anything yet. Raises `StoreUnavailable`."""
        found: bytes | None = await self._redis.command("GET", KEY)
        if found is None:
            return None
        place, _, hash = found.decode().partition(" ")
        return Noted(int(place), bytes.fromhex(hash))

    async def look(self) -> bool:
        """Note the newest entry; False: what was noted before is not in the log. Raises `TollgateError`."""
        before = await self.noted()
        row = await self._postgres.fetch_one(_SQL["witness"], before.place if before else 0)
        assert row is not None
        if before is not None and row["noted_hash"] != before.hash:
            return False
        if row["place"] is not None:
            await self._redis.run(NOTE, [KEY], [row["place"], row["hash"].hex()])
        return True

    async def start(self) -> None:
        if self._task is None:
            self._stopping = asyncio.Event()
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Waits."""
        task, self._task = self._task, None
        if task is not None:
            self._stopping.set()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                held, self._holds = self._holds, await self.look()
                if held and not self._holds:
                    log.error(
                        "the end of the audit log was cut off or rewritten; see `tollgate audit verify`"
                    )
            except TollgateError as error:
                log.warning("the audit log is not noted", extra={"reason": error.code})
            # The edge of a loop that has to outlive everything: nobody else looks after the log.
            except Exception:
                log.exception("noting the audit log failed; trying again")
            try:
                await asyncio.wait_for(self._stopping.wait(), self._every_s)
            except TimeoutError:
                pass
