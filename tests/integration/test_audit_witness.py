"""What Redis notes of the audit log: entries that were cut off its end are missed, whatever was written after."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from gateway.errors import StoreUnavailable
from gateway.stores.postgres import Postgres
from gateway.stores.postgres_audit import AuditLog
from gateway.stores.redis import RedisStore
from gateway.stores.redis_witness import KEY, NOTE, AuditWitness, Noted
from tests.integration.test_audit_chain import postgres, tamper, write

__all__ = ["postgres"]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_url)
    yield store
    await store.close()


class Told(logging.Handler):
    """Errors that were logged; ``once``: there is one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []
        self.once = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self.once.set()


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    handler, logger = Told(), logging.getLogger("tollgate.audit")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


async def cut_off(postgres: Postgres, after: int) -> None:
    await tamper(postgres, f"DELETE FROM audit_log WHERE place > {after}")


async def noted(witness: AuditWitness) -> Noted:
    found = await witness.noted()
    assert found is not None
    return found


async def test_what_was_noted_is_missed_also_when_others_have_taken_its_place(
    postgres: Postgres, redis: RedisStore
) -> None:
    witness, log = AuditWitness(postgres, redis), AuditLog(postgres)
    assert await witness.look()
    assert await witness.noted() is None
    for number in range(5):
        await write(postgres, number)
    assert await witness.look()
    before = await noted(witness)
    assert before.place == 5
    assert (await log.verify(before.hash)).broken is None
    await cut_off(postgres, 2)
    for number in range(4):
        assert not await witness.look()
        assert "cut off or rewritten" in str((await log.verify(before.hash)).broken)
        await write(postgres, 10 + number)
    assert (await log.verify()).broken is None
    assert await noted(witness) == before


async def test_of_two_gateways_the_slower_one_notes_nothing_older(
    postgres: Postgres, redis: RedisStore
) -> None:
    await write(postgres, 0)
    witness = AuditWitness(postgres, redis)
    await witness.look()
    late = await noted(witness)
    await write(postgres, 1)
    await witness.look()
    await redis.run(NOTE, [KEY], [late.place, late.hash.hex()])
    assert (await noted(witness)).place == 2


async def test_a_running_gateway_notes_what_is_there(postgres: Postgres, redis: RedisStore) -> None:
    await write(postgres, 0)
    witness = AuditWitness(postgres, redis)
    for _ in range(2):
        await witness.start()
    await asyncio.sleep(0)  # it begins
    for _ in range(2):
        await witness.stop()
    assert (await noted(witness)).place == 1


async def test_a_running_gateway_tells_once_that_something_is_gone(
    postgres: Postgres, redis: RedisStore, told: Told
) -> None:
    for number in range(3):
        await write(postgres, number)
    witness = AuditWitness(postgres, redis, every_s=0.001)
    await witness.look()
    await cut_off(postgres, 1)
    await witness.start()
    async with asyncio.timeout(20):
        await told.once.wait()
        for number in range(5):
            await write(postgres, number)
    await witness.stop()
    assert told.messages == ["the end of the audit log was cut off or rewritten; see `tollgate audit verify`"]


async def test_while_postgres_is_down_nothing_is_noted(postgres: Postgres, redis: RedisStore) -> None:
    witness = AuditWitness(postgres, redis)
    await postgres.stop()
    with pytest.raises(StoreUnavailable):
        await witness.look()
    await postgres.start()
    await write(postgres, 0)
    assert await witness.look()
    assert (await noted(witness)).place == 1
