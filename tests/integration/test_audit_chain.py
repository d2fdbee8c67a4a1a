"""The audit log: in one chain whoever writes, and no row can be changed, removed or added unnoticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.ledger.migrate import bundled, migrate
from gateway.stores import postgres_audit
from gateway.stores.postgres import Postgres, PostgresError
from gateway.stores.postgres_audit import AuditLog, AuditSearch, coming_from


@pytest.fixture
async def postgres(postgres_dsn: str) -> AsyncIterator[Postgres]:
    await migrate(postgres_dsn)
    postgres = Postgres(postgres_dsn, connections_max=10)
    await postgres.start()
    yield postgres
    await postgres.stop()


async def write(postgres: Postgres, number: int, org: str | None = "acme") -> None:
    async with postgres.transaction() as session:
        await postgres_audit.record(
            session,
            actor="cli:root",
            action="key.create",
            object=f"key:{number}",
            org=org,
            after={"name": "Käthe's laptop", "b": number, "a": None},
        )


async def tamper(postgres: Postgres, statement: str) -> None:
    """As somebody would who owns the database."""
    async with postgres.transaction() as session:
        await session.execute("ALTER TABLE audit_log DISABLE TRIGGER USER")
        await session.execute(statement)
        await session.execute("ALTER TABLE audit_log ENABLE TRIGGER USER")


async def test_many_writers_at_once_make_one_chain(postgres: Postgres) -> None:
    await asyncio.gather(*(write(postgres, number) for number in range(40)))
    verdict = await AuditLog(postgres).verify()
    assert (verdict.entries, verdict.broken) == (40, None)
    assert [entry.place async for entry in AuditLog(postgres).entries()] == list(range(1, 41))


async def test_an_insert_that_knows_nothing_of_the_chain_is_in_it(postgres: Postgres) -> None:
    await postgres.execute(
        "INSERT INTO audit_log (actor, action, object, before) VALUES ('a', 'b', 'c', '{\"y\": 1.50, \"x\": [1]}'), "
        "('a', 'b', 'd', NULL)"
    )
    verdict = await AuditLog(postgres).verify()
    assert (verdict.entries, verdict.broken) == (2, None)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE audit_log SET actor = 'nobody' WHERE place = 3", r"row 3 .*key.create key:2.* was changed"),
        ("UPDATE audit_log SET at = at + interval '1 microsecond' WHERE place = 3", "row 3 .*was changed"),
        ("UPDATE audit_log SET address = '10.0.0.1' WHERE place = 3", "row 3 .*was changed"),
        ("UPDATE audit_log SET after = after || '{\"b\": 9}' WHERE place = 3", "row 3 .*was changed"),
        ("UPDATE audit_log SET org_id = NULL WHERE place = 3", "row 3 .*was changed"),
        ("DELETE FROM audit_log WHERE place = 3", r"row 3 is missing: row 4"),
        ("DELETE FROM audit_log WHERE place = 1", r"row 1 is missing: row 2"),
        (
            "UPDATE audit_log SET place = CASE place WHEN 2 THEN 30 ELSE place END",
            "row 2 is missing: row 3",
        ),
    ],
)
async def test_the_first_row_that_was_touched_is_named(postgres: Postgres, statement: str, told: str) -> None:
    for number in range(5):
        await write(postgres, number)
    await tamper(postgres, statement)
    verdict = await AuditLog(postgres).verify()
    assert verdict.broken is not None
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(verdict.broken)


async def test_a_row_that_was_hashed_anew_breaks_the_next_one(postgres: Postgres) -> None:
    for number in range(5):
        await write(postgres, number)
    await tamper(postgres, "UPDATE audit_log SET actor = 'nobody' WHERE place = 3")
    await tamper(postgres, "UPDATE audit_log a SET hash = audit_hash(a) WHERE place = 3")
    verdict = await AuditLog(postgres).verify()
    assert verdict.entries == 3
    assert verdict.broken is not None
    assert verdict.broken.startswith("row 4 ")


async def test_a_head_kept_elsewhere_shows_that_the_end_was_cut_off(postgres: Postgres) -> None:
    for number in range(5):
        await write(postgres, number)
    log = AuditLog(postgres)
    head = (await log.verify()).head
    await write(postgres, 5)
    assert (await log.verify(head)).broken is None
    await tamper(postgres, "DELETE FROM audit_log WHERE place >= 5")
    assert (await log.verify()).broken is None
    assert "cut off" in str((await log.verify(head)).broken)


async def test_rows_cannot_be_changed_by_the_ordinary_way(postgres: Postgres) -> None:
    await write(postgres, 1)
    for statement in ("UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        with pytest.raises(PostgresError, match="append-only"):
            await postgres.execute(statement)


async def test_rows_of_before_the_chain_are_chained_by_the_migration(postgres_dsn: str) -> None:
    shipped = bundled()
    await migrate(postgres_dsn, [migration for migration in shipped if migration.version < 11])
    postgres = Postgres(postgres_dsn)
    await postgres.start()
    for number in range(3):
        await postgres.execute(
            "INSERT INTO audit_log (actor, action, object) VALUES ('a', 'b', $1)", f"c:{number}"
        )
    await migrate(postgres_dsn, shipped)
    await write(postgres, 3)
    assert (await AuditLog(postgres).verify()).entries == 4
    assert (await AuditLog(postgres).verify()).broken is None
    await postgres.stop()


async def test_it_says_from_where_something_was_asked_for(postgres: Postgres) -> None:
    with coming_from("192.0.2.7", "req-1"):
        await write(postgres, 1)
    await write(postgres, 2)
    second, first = await AuditLog(postgres).search(AuditSearch(), 10)
    assert (first.address, first.request_id) == ("192.0.2.7", "req-1")
    assert (second.address, second.request_id) == (None, None)


async def test_a_search_narrows_and_pages(postgres: Postgres) -> None:
    for number in range(4):
        await write(postgres, number, "acme" if number % 2 else "other")
    log = AuditLog(postgres)
    assert [entry.place for entry in await log.search(AuditSearch(org="acme"), 10)] == [4, 2]
    assert [entry.place for entry in await log.search(AuditSearch(org="acme", before_place=4), 10)] == [2]
    assert [entry.place for entry in await log.search(AuditSearch(action="key"), 2)] == [4, 3]
    assert await log.search(AuditSearch(action="ke"), 10) == []
    assert [entry.place for entry in await log.search(AuditSearch(object="key:0"), 10)] == [1]
