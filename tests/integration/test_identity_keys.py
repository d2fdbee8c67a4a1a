"""Keys over the real stores: created, found by every gateway, revoked everywhere within a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from gateway.errors import BadRequest, Conflict, ExpiredKey, NotFound, RevokedKey, StoreUnavailable
from gateway.identity.issuing import KeyIssuer, NewKey
from gateway.identity.keyring import Keyring
from gateway.identity.keys import KeyRecord, digest_of
from gateway.identity.postgres_keys import FORMER_MAX, KeyTable
from gateway.identity.redis_keys import SharedKeys
from gateway.identity.roles import Reach
from gateway.ledger.migrate import migrate
from gateway.stores.postgres import Postgres
from gateway.stores.redis import Argument, RedisStore, Reply
from tests.support.servers import TestRedis


@dataclass
class RevokedInHolds:
    """What the hold script would be told."""

    keys: list[tuple[str, str]] = field(default_factory=list)
    down: bool = False

    async def revoke(self, org: str, key: str) -> None:
        if self.down:
            raise StoreUnavailable
        self.keys.append((org, key))

    async def reinstate(self, org: str, key: str) -> None:
        self.keys.remove((org, key))


@dataclass
class Place:
    redis: RedisStore
    postgres: Postgres
    holds: RevokedInHolds = field(default_factory=RevokedInHolds)

    @property
    def issuer(self) -> KeyIssuer:
        return KeyIssuer(KeyTable(self.postgres), SharedKeys(self.redis), self.holds)

    def keyring(self, now: datetime | None = None) -> Keyring:
        clock = (lambda: now) if now is not None else (lambda: datetime.now(UTC))
        return Keyring(SharedKeys(self.redis), KeyTable(self.postgres), now=clock)


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str) -> AsyncIterator[Place]:
    await migrate(postgres_dsn)
    redis, postgres = RedisStore(redis_url), Postgres(postgres_dsn)
    await postgres.start()
    yield Place(redis, postgres)
    await postgres.stop()
    await redis.close()


async def test_a_created_key_is_shown_once_and_found_by_every_gateway(place: Place) -> None:
    new = NewKey("acme", "laptop", "research", "ada", ("gpt-*",), ("chat",), 60, 5, trusted_attribution=True)
    issued = await place.issuer.create(new, actor="cli:root")
    record = issued.listed.record
    assert (record.org_id, record.team_id, record.user_id) == ("acme", "research", "ada")
    assert (record.allowed_models, record.allowed_operations) == (("gpt-*",), ("chat",))
    assert (record.requests_per_minute, record.open_calls_max, record.trusted_attribution) == (60, 5, True)
    for _ in range(2):
        assert await place.keyring().lookup(issued.key) == record
    (listed,) = await place.issuer.list(Reach("acme"))
    assert issued.key.startswith(listed.prefix)
    assert await place.issuer.list(Reach("other")) == []
    everything = await place.postgres.fetch_value(
        "SELECT (SELECT json_agg(k)::text FROM api_keys k) || (SELECT json_agg(a)::text FROM audit_log a)"
    )
    assert issued.key not in everything


async def test_a_revoked_key_stops_working_on_every_gateway_within_a_second(place: Place) -> None:
    issued = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    rings = [place.keyring() for _ in range(3)]
    for ring in rings:
        await ring.start()
        await ring.lookup(issued.key)
    await place.issuer.revoke(issued.listed.record.key_id, actor="cli:root")
    async with asyncio.timeout(1):
        for ring in rings:
            await refused(ring, issued.key)
    for ring in rings:
        await ring.stop()
    assert place.holds.keys == [("acme", issued.listed.record.key_id)]


async def refused(ring: Keyring, key: str) -> None:
    while True:
        try:
            await ring.lookup(key)
        except RevokedKey:
            return
        await asyncio.sleep(0)


async def test_an_old_record_cannot_come_back_over_a_revocation(place: Place) -> None:
    issued = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    before = issued.listed.record
    await place.issuer.revoke(before.key_id, actor="cli:root")
    shared = SharedKeys(place.redis)
    assert (await shared.offer(digest_of(issued.key), before, await shared.generation())).revoked
    with pytest.raises(RevokedKey):
        await place.keyring().lookup(issued.key)


async def test_revoking_again_finishes_what_a_store_that_was_down_left(place: Place) -> None:
    issued = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    key_id = issued.listed.record.key_id
    await place.keyring().lookup(issued.key)
    place.holds.down = True
    with pytest.raises(StoreUnavailable):
        await place.issuer.revoke(key_id, actor="cli:root")
    place.holds.down = False
    await place.issuer.revoke(key_id, actor="cli:root")
    with pytest.raises(RevokedKey):
        await place.keyring().lookup(issued.key)
    assert place.holds.keys == [("acme", key_id)]


class Heard:
    """A way to Redis that remembers which keys were asked for, in order."""

    def __init__(self, store: RedisStore) -> None:
        self.run, self.submit = store.run, store.submit
        self.keys = list[Argument]()
        self._store = store

    def command(self, *arguments: Argument) -> Reply:
        self.keys.append(arguments[1])
        return self._store.command(*arguments)


class Halting:
    """A way to Redis on which whatever changes something waits until it is ``freed``."""

    def __init__(self, store: RedisStore) -> None:
        self.run, self.submit = store.run, store.submit
        self.halted, self.freed = asyncio.Event(), asyncio.Event()
        self._store = store

    def command(self, *arguments: Argument) -> Reply:
        sent = self._store.command(*arguments)
        return self._late(sent) if arguments[0] in ("SET", "DEL") else sent

    async def _late(self, sent: Reply) -> Any:
        self.halted.set()
        await self.freed.wait()
        return await sent


async def test_a_key_that_is_revoked_while_it_is_rotated_stays_revoked(place: Place) -> None:
    first = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    key_id = first.listed.record.key_id
    slow = Halting(place.redis)
    elsewhere = KeyIssuer(KeyTable(place.postgres), SharedKeys(slow), place.holds)
    until = datetime.now(UTC) + timedelta(hours=1)
    rotating = asyncio.create_task(elsewhere.rotate(key_id, old_until=until, actor="cli:root"))
    await slow.halted.wait()
    await place.issuer.revoke(key_id, actor="cli:root")
    slow.freed.set()
    second = await rotating
    shared = SharedKeys(place.redis)
    for secret in (first.key, second.key):
        with pytest.raises(RevokedKey):
            await place.keyring().lookup(secret)
        # Whoever read Postgres before the revocation finds that out when they share what they read.
        assert (await shared.offer(digest_of(secret), first.listed.record, await shared.generation())).revoked


class LateReader(KeyTable):
    """Tells what it read only when it is ``freed``."""

    def __init__(self, postgres: Postgres) -> None:
        super().__init__(postgres)
        self.read, self.freed = asyncio.Event(), asyncio.Event()

    async def find(self, digest: str) -> KeyRecord | None:
        found = await super().find(digest)
        self.read.set()
        await self.freed.wait()
        return found


@pytest.mark.parametrize("overlap", [None, timedelta(minutes=2)])
async def test_a_gateway_that_read_a_key_just_before_it_was_rotated_brings_no_old_secret_back(
    place: Place, overlap: timedelta | None
) -> None:
    now = datetime.now(UTC)
    issued = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    table = LateReader(place.postgres)
    reading = asyncio.create_task(Keyring(SharedKeys(place.redis), table).lookup(issued.key))
    await table.read.wait()
    until = None if overlap is None else now + overlap
    await place.issuer.rotate(issued.listed.record.key_id, old_until=until, actor="cli:root", now=now)
    table.freed.set()
    await reading
    with pytest.raises(ExpiredKey):
        await place.keyring(until or now).lookup(issued.key)


async def test_each_change_is_in_the_audit_log_once(place: Place) -> None:
    issued = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    key_id = issued.listed.record.key_id
    for _ in range(2):
        await place.issuer.revoke(key_id, actor="cli:ada")
    rows = await place.postgres.fetch(
        "SELECT actor, action, object, before, after FROM audit_log ORDER BY id"
    )
    assert [(row["actor"], row["action"], row["object"]) for row in rows] == [
        ("cli:root", "key.create", f"key:{key_id}"),
        ("cli:ada", "key.revoke", f"key:{key_id}"),
    ]
    assert orjson.loads(rows[1]["after"]) == {"revoked": True}


async def test_a_key_that_was_not_created_here_cannot_be_revoked_here(place: Place) -> None:
    with pytest.raises(NotFound, match="no key 'ada-laptop'"):
        await place.issuer.revoke("ada-laptop", actor="cli:root")


async def test_a_shared_record_that_cannot_be_read_is_read_from_postgres(place: Place) -> None:
    issued = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    digest = digest_of(issued.key)
    await place.redis.command("SET", f"tg:key:{digest}", b'{"from":"another version"}')
    record: KeyRecord = await place.keyring().lookup(issued.key)
    assert record == issued.listed.record


async def test_after_a_rotation_both_secrets_work_until_the_instant_and_the_old_one_not_from_it_on(
    place: Place,
) -> None:
    now = datetime.now(UTC)
    until = now + timedelta(hours=1)
    first = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    key_id = first.listed.record.key_id
    await place.keyring().lookup(first.key)
    second = await place.issuer.rotate(key_id, old_until=until, actor="cli:root", now=now)
    assert second.key != first.key
    just_before = place.keyring(until - timedelta(microseconds=1))
    for secret in (first.key, second.key):
        assert (await just_before.lookup(secret)).key_id == key_id
    at_last = place.keyring(until)
    assert (await at_last.lookup(second.key)).expires_at is None
    with pytest.raises(ExpiredKey):
        await at_last.lookup(first.key)
    await place.redis.command("FLUSHALL")
    with pytest.raises(ExpiredKey):
        await place.keyring(until).lookup(first.key)


async def test_a_rotation_while_redis_is_down_changes_nothing_so_that_nobody_is_left_without_a_secret(
    place: Place, private_redis: TestRedis
) -> None:
    issued = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    redis = RedisStore(private_redis.url)
    await asyncio.to_thread(private_redis.stop)
    elsewhere = KeyIssuer(KeyTable(place.postgres), SharedKeys(redis), place.holds)
    with pytest.raises(StoreUnavailable):
        await elsewhere.rotate(issued.listed.record.key_id, old_until=None, actor="cli:root")
    await redis.close()
    assert (await place.keyring().lookup(issued.key)).expires_at is None


async def test_without_an_overlap_the_old_secret_stops_on_every_gateway_within_a_second(place: Place) -> None:
    first = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    ring = place.keyring()
    await ring.start()
    await ring.lookup(first.key)
    second = await place.issuer.rotate(first.listed.record.key_id, old_until=None, actor="cli:root")
    async with asyncio.timeout(1):
        while True:
            try:
                await ring.lookup(first.key)
            except ExpiredKey:
                break
            await asyncio.sleep(0)
    await ring.lookup(second.key)
    await ring.stop()


async def test_a_second_rotation_keeps_no_older_secret_longer_than_the_newer_one(place: Place) -> None:
    now = datetime.now(UTC)
    first = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    key_id = first.listed.record.key_id
    second = await place.issuer.rotate(key_id, old_until=now + timedelta(days=2), actor="x", now=now)
    third = await place.issuer.rotate(key_id, old_until=now + timedelta(hours=1), actor="x", now=now)
    later = place.keyring(now + timedelta(hours=1))
    for stopped in (first.key, second.key):
        with pytest.raises(ExpiredKey):
            await later.lookup(stopped)
    await later.lookup(third.key)


async def test_revoking_a_key_stops_the_secrets_of_before_its_rotation_too(place: Place) -> None:
    first = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    key_id = first.listed.record.key_id
    until = datetime.now(UTC) + timedelta(hours=1)
    second = await place.issuer.rotate(key_id, old_until=until, actor="cli:root")
    await place.keyring().lookup(first.key)
    await place.issuer.revoke(key_id, actor="cli:root")
    for secret in (first.key, second.key):
        with pytest.raises(RevokedKey):
            await place.keyring().lookup(secret)
    with pytest.raises(Conflict, match="is revoked"):
        await place.issuer.rotate(key_id, old_until=None, actor="cli:root")


async def test_few_former_secrets_work_and_none_is_kept_after_the_rotation_that_follows_its_end(
    place: Place,
) -> None:
    now = datetime.now(UTC)
    issued = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    key_id = issued.listed.record.key_id

    async def rotate(now: datetime, overlap: timedelta | None) -> int:
        until = None if overlap is None else now + overlap
        return len((await place.issuer.rotate(key_id, old_until=until, actor="x", now=now)).listed.former)

    hour = timedelta(hours=1)
    assert [await rotate(now, hour) for _ in range(FORMER_MAX)] == [1, 2, 3, 4, 5]
    with pytest.raises(Conflict, match="rotate without old_valid_until"):
        await rotate(now, hour)
    assert await rotate(now + hour, hour) == 1
    assert [await rotate(now + hour, None) for _ in range(2)] == [2, 1]


async def test_a_key_with_many_former_secrets_stops_with_the_first_of_them(place: Place) -> None:
    """Before they were bounded, a key could have any number."""
    issued = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    key_id = issued.listed.record.key_id
    await place.postgres.execute(
        "INSERT INTO api_key_former_secrets SELECT encode(sha256(n::text::bytea), 'hex'), $1, 'tg_xxxxxx', now() "
        "FROM generate_series(1, 3000) n",
        key_id,
    )
    heard = Heard(place.redis)
    await KeyIssuer(KeyTable(place.postgres), SharedKeys(heard), place.holds).revoke(key_id, actor="cli:root")
    told = heard.keys.index(f"tg:key:{issued.listed.digest}")
    assert heard.keys.index("tg:keys:generation", told) < len(heard.keys) / 2
    assert len(set(heard.keys)) == 3002


@pytest.mark.parametrize("distance", [timedelta(seconds=-1), timedelta(days=91)])
async def test_an_overlap_in_the_past_or_without_an_end_is_refused(place: Place, distance: timedelta) -> None:
    now = datetime.now(UTC)
    issued = await place.issuer.create(NewKey("acme", "laptop"), actor="cli:root")
    with pytest.raises(BadRequest, match="old_valid_until"):
        await place.issuer.rotate(
            issued.listed.record.key_id, old_until=now + distance, actor="cli:root", now=now
        )
