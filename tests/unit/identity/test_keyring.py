"""Whose key a key is: from memory, then Redis, then Postgres; and how soon a change is seen."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import ExpiredKey, RevokedKey, StoreUnavailable, UnknownKey
from gateway.identity import keyring as keyring_module
from gateway.identity.keyring import BLIND_S_MAX, UNKNOWN_S, Keyring
from gateway.identity.keys import KeyRecord, digest_of, generate_key
from gateway.identity.remembered import AGE_S_MAX

KEY = generate_key()
RECORD = KeyRecord("key-1", "acme", "research", "ada", "api")
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass
class MemoryStore:
    """A store of keys that can be down, counts how often it is asked, and can hold its answer back."""

    records: dict[str, KeyRecord] = field(default_factory=dict)
    mark: bytes | None = None
    down: bool = False
    asked: int = 0
    answering: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def find(self, digest: str) -> KeyRecord | None:
        self.asked += 1
        if self.down:
            raise StoreUnavailable
        found = self.records.get(digest)
        self.entered.set()
        if self.answering is not None:
            await self.answering.wait()
        return found

    async def offer(self, digest: str, record: KeyRecord, since: bytes | None) -> KeyRecord:
        if self.down:
            raise StoreUnavailable
        if since != self.mark:
            return self.records.get(digest, record)
        return self.records.setdefault(digest, record)

    async def generation(self) -> bytes | None:
        if self.down:
            raise StoreUnavailable
        return self.mark


@dataclass
class Place:
    redis: MemoryStore = field(default_factory=MemoryStore)
    postgres: MemoryStore = field(default_factory=MemoryStore)
    now: datetime = NOW
    monotonic_s: float = 1000.0

    def keyring(self) -> Keyring:
        return Keyring(self.redis, self.postgres, now=lambda: self.now, monotonic_s=lambda: self.monotonic_s)


@pytest.fixture
def place() -> Place:
    return Place(postgres=MemoryStore({digest_of(KEY): RECORD}))


async def test_each_store_is_asked_once_and_then_memory_answers(place: Place) -> None:
    ring = place.keyring()
    for _ in range(3):
        assert await ring.lookup(KEY) == RECORD
    assert (place.redis.asked, place.postgres.asked) == (1, 1)
    assert await place.keyring().lookup(KEY) == RECORD
    assert place.postgres.asked == 1, "another gateway finds it in Redis"


async def test_a_crowd_with_one_new_key_is_one_question(place: Place) -> None:
    ring = place.keyring()
    assert set(await asyncio.gather(*(ring.lookup(KEY) for _ in range(50)))) == {RECORD}
    assert (place.redis.asked, place.postgres.asked) == (1, 1)


async def test_a_caller_that_goes_away_does_not_take_the_answer_from_others(place: Place) -> None:
    place.redis.answering = asyncio.Event()
    ring = place.keyring()
    first, second = (asyncio.create_task(ring.lookup(KEY)) for _ in range(2))
    await place.redis.entered.wait()
    first.cancel()
    place.redis.answering.set()
    assert await second == RECORD


async def test_an_unknown_key_is_not_asked_for_again_until_it_may_have_been_made(place: Place) -> None:
    ring = place.keyring()
    other = generate_key()
    for _ in range(3):
        with pytest.raises(UnknownKey):
            await ring.lookup(other)
    assert place.postgres.asked == 1
    place.postgres.records[digest_of(other)] = replace(RECORD, key_id="key-2")
    place.monotonic_s += UNKNOWN_S
    assert (await ring.lookup(other)).key_id == "key-2"


async def test_what_cannot_be_one_of_our_keys_is_refused_without_asking(place: Place) -> None:
    for wrong in ("", "sk-123", KEY[:-1], KEY + "x"):
        with pytest.raises(UnknownKey):
            await place.keyring().lookup(wrong)
    assert (place.redis.asked, place.postgres.asked) == (0, 0)


async def test_a_revoked_key_stops_working_when_the_generation_changes(place: Place) -> None:
    ring = place.keyring()
    await ring.refresh()
    await ring.lookup(KEY)
    place.redis.records[digest_of(KEY)] = replace(RECORD, revoked=True)
    await ring.refresh()
    assert await ring.lookup(KEY), "nothing says yet that anything changed"
    place.redis.mark = b"other"
    await ring.refresh()
    with pytest.raises(RevokedKey):
        await ring.lookup(KEY)


async def test_what_was_read_before_a_revocation_is_not_remembered_after_it(place: Place) -> None:
    ring = place.keyring()
    place.postgres.answering = asyncio.Event()
    reading = asyncio.create_task(ring.lookup(KEY))
    await place.postgres.entered.wait()
    place.redis.records[digest_of(KEY)] = replace(RECORD, revoked=True)
    place.redis.mark = b"other"
    await ring.refresh()
    place.postgres.answering.set()
    with pytest.raises(RevokedKey):
        await reading
    with pytest.raises(RevokedKey):
        await ring.lookup(KEY)


async def test_an_expired_key_is_refused_from_its_instant_on(place: Place) -> None:
    place.postgres.records[digest_of(KEY)] = replace(RECORD, expires_at=NOW + timedelta(seconds=1))
    ring = place.keyring()
    assert await ring.lookup(KEY)
    place.now += timedelta(seconds=1)
    with pytest.raises(ExpiredKey):
        await ring.lookup(KEY)


async def test_without_redis_memory_and_then_postgres_answer(place: Place) -> None:
    ring = place.keyring()
    await ring.refresh()
    await ring.lookup(KEY)
    place.redis.down = True
    await ring.refresh()
    assert await ring.lookup(KEY) == RECORD
    assert place.postgres.asked == 1

    place.postgres.records[digest_of(KEY)] = replace(RECORD, revoked=True)
    place.monotonic_s += BLIND_S_MAX
    await ring.refresh()
    with pytest.raises(RevokedKey):
        await ring.lookup(KEY)


async def test_what_was_announced_while_redis_could_not_be_asked_is_seen_when_it_is_back(
    place: Place,
) -> None:
    ring = place.keyring()
    await ring.refresh()
    await ring.lookup(KEY)
    place.redis.down = True
    await ring.refresh()
    place.redis.down = False
    place.redis.records[digest_of(KEY)] = replace(RECORD, revoked=True)
    await ring.refresh()
    with pytest.raises(RevokedKey):
        await ring.lookup(KEY)


async def test_a_moment_without_redis_forgets_no_key_that_postgres_cannot_be_asked_for(place: Place) -> None:
    ring = place.keyring()
    await ring.refresh()
    await ring.lookup(KEY)
    place.postgres.down = place.redis.down = True
    await ring.refresh()
    place.redis.down = False
    place.redis.records.clear()  # they are shared for some minutes
    await ring.refresh()
    assert await ring.lookup(KEY) == RECORD
    place.postgres.down = False
    place.postgres.records[digest_of(KEY)] = replace(RECORD, revoked=True)
    place.monotonic_s += AGE_S_MAX
    with pytest.raises(RevokedKey):
        await ring.lookup(KEY)


async def test_a_change_that_nobody_announced_is_seen_within_a_minute(place: Place) -> None:
    ring = place.keyring()
    await ring.lookup(KEY)
    place.redis.records[digest_of(KEY)] = replace(RECORD, revoked=True)
    place.monotonic_s += AGE_S_MAX - 1
    assert await ring.lookup(KEY)
    place.monotonic_s += 1
    with pytest.raises(RevokedKey):
        await ring.lookup(KEY)


async def test_without_postgres_a_key_that_was_known_works_on_and_is_asked_for_once_a_minute(
    place: Place,
) -> None:
    ring = place.keyring()
    await ring.lookup(KEY)
    place.redis.records.clear()
    place.postgres.down = True
    for minutes in (1, 2):
        place.monotonic_s += AGE_S_MAX
        for _ in range(3):
            assert await ring.lookup(KEY) == RECORD
        assert place.postgres.asked == 1 + minutes
    place.postgres.down = False
    place.postgres.records[digest_of(KEY)] = replace(RECORD, revoked=True)
    place.monotonic_s += AGE_S_MAX
    with pytest.raises(RevokedKey):
        await ring.lookup(KEY)


async def test_without_redis_and_postgres_only_what_is_in_memory_is_known(place: Place) -> None:
    ring = place.keyring()
    ring.declare({digest_of("declared"): replace(RECORD, source="file")})
    place.redis.down = place.postgres.down = True
    assert await ring.lookup("declared")
    with pytest.raises(StoreUnavailable):
        await ring.lookup(KEY)
    place.redis.down = place.postgres.down = False
    assert await ring.lookup(KEY) == RECORD, "a failure is not remembered as an unknown key"


async def test_a_key_deleted_from_the_file_is_revoked_until_it_is_declared_again(place: Place) -> None:
    ring = place.keyring()
    kept, gone = (replace(RECORD, key_id=name, source="file") for name in ("kept", "gone"))
    both = {digest_of("kept"): kept, digest_of("gone"): gone}
    assert ring.declare(both).added == (kept, gone)
    change = ring.declare({digest_of("kept"): kept})
    assert (change.added, change.removed) == ((), (gone,))
    assert await ring.lookup("kept") == kept
    with pytest.raises(RevokedKey):
        await ring.lookup("gone")
    ring.declare(both)
    assert await ring.lookup("gone") == gone


async def test_a_key_deleted_from_the_file_while_postgres_is_down_takes_no_other_key_with_it(
    place: Place,
) -> None:
    ring = place.keyring()
    ring.declare({digest_of("gone"): replace(RECORD, key_id="gone", source="file")})
    await ring.lookup(KEY)
    place.redis.records.clear()
    place.postgres.down = True
    ring.declare({})
    assert await ring.lookup(KEY) == RECORD


async def test_a_key_with_a_new_secret_keeps_its_id_and_drops_the_old_secret(place: Place) -> None:
    ring = place.keyring()
    record = replace(RECORD, source="file")
    ring.declare({digest_of("old"): record})
    assert ring.declare({digest_of("new"): record}).removed == ()
    assert await ring.lookup("new") == record
    with pytest.raises(RevokedKey):
        await ring.lookup("old")


async def test_memory_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring_module, "REMEMBERED_MAX", 2)
    keys = [generate_key() for _ in range(3)]
    place.postgres.records = {digest_of(key): replace(RECORD, key_id=key) for key in keys}
    ring = place.keyring()
    for key in (keys[0], keys[1], keys[0], keys[2]):
        await ring.lookup(key)
    asked = place.redis.asked
    await ring.lookup(keys[0])
    assert place.redis.asked == asked, "the one used last stays"
    await ring.lookup(keys[1])
    assert place.redis.asked == asked + 1


async def test_stop_and_start_in_any_order(place: Place) -> None:
    ring = place.keyring()
    await ring.stop()
    await ring.start()
    await ring.start()
    await ring.stop()
    await ring.stop()
