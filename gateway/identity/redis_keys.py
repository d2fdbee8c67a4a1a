"""Keys as all gateways share them: what one read from Postgres the others find here.

When Redis is down every method raises `StoreUnavailable`, and callers ask Postgres instead.

    tg:key:<digest>        the record as JSON, for a while; a revoked one says so and stays for a day
    tg:keys:generation     changed whenever what gateways remember of keys has to be forgotten

Whoever reads Postgres remembers the generation of before: what changed since is not shared over what was told of it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Mapping
from importlib.resources import files

from gateway.identity.keys import KeyRecord
from gateway.stores.redis import RedisCalls, Script

_GENERATION = "tg:keys:generation"
RECORD_TTL_S = 300
"""Bounds what a record can be out of date by if a revocation never reached Redis."""
REVOKED_TTL_S = 24 * 3600
"""Outlives every read of Postgres that began before the revocation and could put the old record back."""
_AT_ONCE = 1_000
"""Records in one write to Redis: a few hundred kilobytes."""
OFFER = Script.of("offer_1", files("gateway.identity").joinpath("offer_1.lua").read_text(encoding="utf-8"))


class SharedKeys:
    def __init__(self, redis: RedisCalls) -> None:
        self._redis = redis

    async def find(self, digest: str) -> KeyRecord | None:
        """The shared record; None if there is none, or another version wrote it."""
        return _read(await self._redis.command("GET", _key(digest)))

    async def offer(self, digest: str, record: KeyRecord, since: bytes | None) -> KeyRecord:
        """Share what Postgres said, unless something newer may be there. ``since``: the `generation` before it was
        asked. Returns what is shared now; ``record`` if nothing is."""
        told = await self._redis.run(
            OFFER, [_key(digest), _GENERATION], [record.to_json(), RECORD_TTL_S, since or b""]
        )
        return _read(told) or record

    async def revoke(self, records: Mapping[str, KeyRecord]) -> None:
        """Share that these records (by digest) are revoked, over whatever was shared of them, and have all gateways
        forget what they remember: those that come first at once, however many follow.
        """
        digests = list(records)
        for start in range(0, len(digests), _AT_ONCE):
            await asyncio.gather(
                *(
                    self._redis.command("SET", _key(digest), records[digest].to_json(), "EX", REVOKED_TTL_S)
                    for digest in digests[start : start + _AT_ONCE]
                )
            )
            await self.renew_generation()

    async def forget(self, digests: Collection[str]) -> None:
        """What is shared of these may be true no more: have all gateways ask Postgres.

        Nothing is put in place of it: what was read before may be older than what somebody else has shared since.
        The generation is renewed before as well, so that nobody shares again what they read before the change.
        """
        if digests:
            await self.renew_generation()
            await self._redis.command("DEL", *map(_key, digests))
        await self.renew_generation()

    async def renew_generation(self) -> None:
        """Have all gateways forget what they remember of keys, and of the roles of users."""
        # A random value: a counter could come back to where it was when Redis lost its data.
        await self._redis.command("SET", _GENERATION, secrets.token_hex(8))

    async def generation(self) -> bytes | None:
        value: bytes | None = await self._redis.command("GET", _GENERATION)
        return value


def _read(document: bytes | None) -> KeyRecord | None:
    if document is None:
        return None
    try:
        return KeyRecord.from_json(document)
    except (ValueError, TypeError, KeyError):
        return None


def _key(digest: str) -> str:
    return f"tg:key:{digest}"
