"""Whose key is this? Answered from memory; else from Redis; else from Postgres.

A key that was revoked elsewhere stops working here within a second: what is remembered is dropped when the
generation in Redis changes, which is looked at twice a second. While Redis is down that cannot be seen:
metered calls fail at the hold anyway; on free routes (model lists, token counts) keys in memory stay good for
``BLIND_S_MAX`` more, then Postgres is asked. With Postgres down as well, those fail with `StoreUnavailable`.
What happened meanwhile may have been announced to nobody: when Redis is back, and every minute, the stores are asked
again. With Postgres alone down, keys in memory stay good. Keys of the limits file need neither store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from gateway.errors import ExpiredKey, RevokedKey, StoreUnavailable, UnknownKey
from gateway.identity.keys import KeyRecord, digest_of, looks_generated
from gateway.identity.remembered import Remembered

log = logging.getLogger(__name__)

REMEMBERED_MAX = 50_000
"""Some 50 MB at most; the least recently used go first."""
UNKNOWN_MAX = 10_000
UNKNOWN_S = 1.0
"""For how long a key that nobody knows is not asked for again; also how soon a new key works everywhere."""
LOOKUPS_MAX = 1_000
"""Keys looked up in the stores at once; more than that are guesses, or the stores have stalled."""
POLL_S = 0.5
BLIND_S_MAX = 30.0


class Shared(Protocol):
    """See `gateway.identity.redis_keys.SharedKeys`."""

    async def find(self, digest: str) -> KeyRecord | None: ...
    async def offer(self, digest: str, record: KeyRecord, since: bytes | None) -> KeyRecord: ...
    async def generation(self) -> bytes | None: ...


class Table(Protocol):
    """See `gateway.identity.postgres_keys.KeyTable`."""

    async def find(self, digest: str) -> KeyRecord | None: ...


@dataclass(frozen=True, slots=True)
class FileChange:
    """What a new limits file did to its keys, so that holds can be told on all gateways."""

    added: tuple[KeyRecord, ...]
    removed: tuple[KeyRecord, ...]
    """These count as revoked."""


class Keyring:
    """`start` begins to watch for revocations; `stop` is idempotent, as is `start`."""

    def __init__(
        self,
        shared: Shared,
        table: Table,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic_s: Callable[[], float] = time.monotonic,
        poll_s: float = POLL_S,
    ) -> None:
        self._shared = shared
        self._table = table
        self._now = now
        self._monotonic_s = monotonic_s
        self._poll_s = poll_s
        self._declared: dict[str, KeyRecord] = {}
        self._dropped: dict[str, KeyRecord] = {}
        self._remembered = Remembered[str, KeyRecord](REMEMBERED_MAX, monotonic_s)
        self._unknown_until_s: OrderedDict[str, float] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[KeyRecord | None]] = {}
        self._epoch = 0
        self._generation: bytes | None = None
        self._seen_s = monotonic_s()
        self._blind = False
        self._watcher: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[], None]] = []

    def on_forget(self, listener: Callable[[], None]) -> None:
        """``listener`` is called whenever what is remembered of keys, their users and roles must be forgotten."""
        self._listeners.append(listener)

    # -------------------------------------------------------------- one request

    async def lookup(self, key: str) -> KeyRecord:
        """The record of ``key``. Raises `UnknownKey`, `RevokedKey`, `ExpiredKey`, or `StoreUnavailable`."""
        digest = digest_of(key)
        record = self._declared.get(digest) or self._remembered.get(digest)
        if record is None:
            record = await self._find_or_recall(digest, looks_generated(key))
        if record.revoked:
            raise RevokedKey
        if record.expires_at is not None and self._now() >= record.expires_at:
            raise ExpiredKey
        return record

    async def _find_or_recall(self, digest: str, worth_asking: bool) -> KeyRecord:
        try:
            return await self._find(digest, worth_asking)
        except StoreUnavailable:
            record = self._remembered.last(digest)
            if record is None:
                raise
            self._remembered.keep(digest, record)
            return record

    async def _find(self, digest: str, worth_asking: bool) -> KeyRecord:
        if digest in self._dropped:
            raise RevokedKey
        until_s = self._unknown_until_s.get(digest)
        if not worth_asking or (until_s is not None and self._monotonic_s() < until_s):
            raise UnknownKey
        lookup = self._lookups.get(digest)
        if lookup is None:
            if len(self._lookups) >= LOOKUPS_MAX:
                raise StoreUnavailable("Too many unknown keys are being looked up; try again shortly.")
            lookup = asyncio.create_task(self._ask(digest))
            self._lookups[digest] = lookup
            lookup.add_done_callback(lambda _: self._lookups.pop(digest, None))
        # Shielded: others may wait for the same answer when this caller goes away.
        record = await asyncio.shield(lookup)
        if record is None:
            raise UnknownKey
        return record

    async def _ask(self, digest: str) -> KeyRecord | None:
        epoch = self._epoch
        record = await self._ask_stores(digest)
        if record is None:
            self._remembered.drop(digest)
            _keep(self._unknown_until_s, digest, self._monotonic_s() + UNKNOWN_S, UNKNOWN_MAX)
        elif epoch == self._epoch:
            # What was read before memory was last cleared may be what it was cleared for.
            self._remembered.keep(digest, record)
        return record

    async def _ask_stores(self, digest: str) -> KeyRecord | None:
        try:
            record = await self._shared.find(digest)
            if record is not None:
                return record
            since = await self._shared.generation()
        except StoreUnavailable:
            return await self._table.find(digest)
        record = await self._table.find(digest)
        if record is None:
            return None
        try:
            return await self._shared.offer(digest, record, since)
        except StoreUnavailable:
            return record

    # -------------------------------------------------------------- changes

    def declare(self, keys: Mapping[str, KeyRecord]) -> FileChange:
        """Replace the keys of the limits file, by digest. One that was there before and is not now is
        revoked.
        """
        before = self._declared
        removed = {digest: record for digest, record in before.items() if digest not in keys}
        added = tuple(record for digest, record in keys.items() if digest not in before)
        self._declared = dict(keys)
        dropped = {**self._dropped, **removed}
        self._dropped = {digest: record for digest, record in dropped.items() if digest not in keys}
        still = {(record.org_id, record.key_id) for record in keys.values()}
        # An id that lives on under another digest was rotated: the id itself must go on working.
        gone = tuple(record for record in removed.values() if (record.org_id, record.key_id) not in still)
        if removed:
            self._turn()  # no generation tells of it, nor of anything in the stores, which may be down
        return FileChange(added, gone)

    async def start(self) -> None:
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        watcher, self._watcher = self._watcher, None
        tasks = [task for task in (watcher, *self._lookups.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            # The edge of a loop that revocation depends on: it goes on whatever happens.
            try:
                await self.refresh()
            except Exception:
                log.exception("looking for revoked keys failed; trying again")
            await asyncio.sleep(self._poll_s)

    async def refresh(self) -> None:
        """Forget what is remembered if keys were changed somewhere, and if that could not be told for too long. When it
        can be told again, ask for everything again: what was announced in between was heard by nobody.
        """
        try:
            generation = await self._shared.generation()
        except StoreUnavailable:
            self._blind = True
            if self._monotonic_s() - self._seen_s >= BLIND_S_MAX:
                self._forget()
            return
        self._seen_s = self._monotonic_s()
        blind, self._blind = self._blind, False
        if generation != self._generation:
            self._generation = generation
            self._forget()
        elif blind:
            self._remembered.doubt()
            self._turn()

    def _forget(self) -> None:
        self._remembered.clear()
        self._turn()

    def _turn(self) -> None:
        """What is being read now may be of before, and others remember things beside keys."""
        self._epoch += 1
        self._unknown_until_s.clear()
        for listener in self._listeners:
            listener()


def _keep(memory: OrderedDict[str, float], digest: str, value: float, most: int) -> None:
    memory[digest] = value
    memory.move_to_end(digest)
    if len(memory) > most:
        memory.popitem(last=False)
