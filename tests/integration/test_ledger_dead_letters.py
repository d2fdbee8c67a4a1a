"""Dead letters are seen, and written once something can be made of them: once, and audited."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.ledger.migrate import migrate
from gateway.ledger.postgres_dead_letters import DeadLetters
from gateway.ledger.postgres_usage import DeadLetter, UsageTable
from gateway.ledger.row import Entry
from gateway.stores.postgres import Postgres
from tests.support.usage_events import entry


@pytest.fixture
async def postgres(postgres_dsn: str) -> AsyncIterator[Postgres]:
    await migrate(postgres_dsn)
    made = Postgres(postgres_dsn)
    await made.start()
    yield made
    await made.stop()


async def test_what_can_be_read_by_now_is_written_and_forgotten(postgres: Postgres) -> None:
    mended = entry("mended", charged_microcredits=7, entry_id="1-1")
    await UsageTable(postgres).bury([DeadLetter(mended, "of an unknown kind")])
    dead = DeadLetters(postgres)
    [letter] = await dead.list()
    assert (letter.entry, letter.request_id, letter.org, letter.microcredits) == (mended, "mended", "acme", 7)
    assert await dead.retry(letter, actor="cli:root") is None
    assert await dead.list() == []
    rows = await postgres.fetch("SELECT request_id, credits_microcredits FROM usage")
    assert [tuple(row) for row in rows] == [("mended", 7)]
    audited = await postgres.fetch("SELECT actor, action, object FROM audit_log")
    assert [tuple(row) for row in audited] == [("cli:root", "dead_letter.retry", "dead_letter:tg:{p0}:u/1-1")]
    await dead.retry(letter, actor="cli:root")
    assert await postgres.fetch_value("SELECT sum(credits_microcredits) FROM usage_rollups") == 7


async def test_what_still_cannot_be_read_stays_with_its_reason(postgres: Postgres) -> None:
    letters = [
        DeadLetter(Entry("tg:{p3}:u", "1-1", 3, {b"id": b"\xff\0"}), "because"),
        DeadLetter(entry("negative", charged_microcredits=-1, entry_id="1-2"), "because"),
    ]
    await UsageTable(postgres).bury(letters)
    dead = DeadLetters(postgres)
    listed = await dead.list()
    assert {letter.entry.partition for letter in listed} == {0, 3}
    reasons = [await dead.retry(letter, actor="cli:root") for letter in listed]
    assert all(reasons)
    assert [letter.reason for letter in await dead.list()] == reasons
    assert await postgres.fetch_value("SELECT count(*) FROM audit_log") == 0
