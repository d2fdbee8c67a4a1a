"""Migrations: any number of gateways may start at once, on an empty, a current or a newer database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from gateway.errors import TollgateError
from gateway.ledger.migrate import Migration, MigrationError, bundled, migrate
from gateway.ledger.postgres_usage import UsageTable
from gateway.stores.postgres import DataRefused, Postgres, PostgresError, PostgresUnavailable

USAGE_VIEW = [
    "request_id",
    "started_at",
    "finished_at",
    "org_id",
    "team_id",
    "user_id",
    "key_id",
    "conversation_id",
    "tags",
    "provider",
    "model",
    "operation",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_usd",
    "credits_microcredits",
    "usage_source",
    "status",
    "streamed",
    "end_user",
    "provider_request_id",
]


@pytest.fixture
async def postgres(postgres_dsn: str) -> AsyncIterator[Postgres]:
    await migrate(postgres_dsn)
    pool = Postgres(postgres_dsn)
    await pool.start()
    yield pool
    await pool.stop()


async def test_running_it_again_does_nothing(postgres_dsn: str) -> None:
    everything = [f"{migration.version:04}_{migration.name}" for migration in bundled()]
    assert await migrate(postgres_dsn) == everything
    assert await migrate(postgres_dsn) == []


async def test_gateways_that_start_at_once_apply_each_migration_once(postgres_dsn: str) -> None:
    applied = await asyncio.gather(*(migrate(postgres_dsn) for _ in range(6)))
    assert sorted(map(len, applied)) == [0, 0, 0, 0, 0, len(bundled())]


async def test_an_applied_migration_that_was_edited_stops_everything(postgres_dsn: str) -> None:
    await migrate(postgres_dsn, [Migration(1, "first", "CREATE TABLE a ()")])
    with pytest.raises(MigrationError, match="edited"):
        await migrate(
            postgres_dsn,
            [Migration(1, "first", "CREATE TABLE b ()"), Migration(2, "next", "CREATE TABLE c ()")],
        )


async def test_a_migration_that_fails_leaves_nothing_and_those_before_it_stay(postgres_dsn: str) -> None:
    first = Migration(1, "first", "CREATE TABLE a ()")
    with pytest.raises(PostgresError):
        await migrate(postgres_dsn, [first, Migration(2, "broken", "CREATE TABLE b (); SELECT nonsense")])
    assert await migrate(postgres_dsn, [first, Migration(2, "mended", "CREATE TABLE b ()")]) == [
        "0002_mended"
    ]


async def test_the_usage_view_has_exactly_the_promised_columns(postgres: Postgres) -> None:
    rows = await postgres.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'usage' "
        "ORDER BY ordinal_position"
    )
    assert [row["column_name"] for row in rows] == USAGE_VIEW


async def test_partitions_are_made_ahead_once_however_many_gateways_do_it(postgres: Postgres) -> None:
    now = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
    tables = [UsageTable(postgres) for _ in range(4)]
    made = await asyncio.gather(*(table.ensure_partitions(now, 3) for table in tables))
    assert sum(made) == 4
    bounds = await postgres.fetch(
        "SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds FROM pg_inherits i "
        "JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'usage_events'::regclass "
        "ORDER BY 1"
    )
    assert [row["name"][-7:] for row in bounds] == ["2026_11", "2026_12", "2027_01", "2027_02"]
    edges = [row["bounds"].split("'")[1::2] for row in bounds]
    assert all(end == start for (_, end), (start, _) in pairwise(edges))


async def test_months_begin_in_utc_whatever_the_zone_of_the_session(postgres: Postgres) -> None:
    async with postgres.session() as session:
        await session.execute("SET TIME ZONE 'Pacific/Auckland'")
        start = datetime(2026, 3, 1, tzinfo=UTC)
        await session.fetch_value("SELECT ensure_usage_partition($1)", start)
        bounds = await session.fetch_value(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'usage_events_2026_03'"
        )
    first, last = bounds.split("'")[1::2]
    assert datetime.fromisoformat(f"{first}:00").astimezone(UTC) == start
    assert datetime.fromisoformat(f"{last}:00").astimezone(UTC) == start + timedelta(days=31)


@pytest.mark.parametrize(
    "change", ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
async def test_the_audit_log_can_only_grow(postgres: Postgres, change: str) -> None:
    await postgres.execute("INSERT INTO audit_log (actor, action, object) VALUES ('root', 'test', 'nothing')")
    with pytest.raises(DataRefused, match="append-only"):
        await postgres.execute(change)


async def test_a_postgres_that_is_not_there_is_unavailable_and_not_an_internal_error() -> None:
    pool = Postgres("postgresql://tollgate@127.0.0.1:1/none", connect_timeout_s=2)
    await pool.start()
    with pytest.raises(PostgresUnavailable):
        await pool.fetch_value("SELECT 1")
    await pool.stop()
    await pool.stop()


async def test_callers_are_not_told_what_postgres_says_of_itself_and_operators_are(
    postgres: Postgres,
) -> None:
    absent = Postgres("postgresql://nobody@127.0.0.1:1/none", connect_timeout_s=2)
    await absent.start()
    for asked, said in (
        (absent.fetch_value("SELECT 1"), "127.0.0.1"),
        (postgres.execute("SELECT secret_name FROM usage_events"), "secret_name"),
        (postgres.execute("SELECT 'secret_name'::integer"), "secret_name"),
        (postgres.execute("SELECT $1::integer", "secret_name"), "secret_name"),
    ):
        with pytest.raises(TollgateError) as failed:
            await asked
        assert said in str(failed.value)
        assert said not in failed.value.message
    await absent.stop()


async def test_postgres_compiles_no_query_of_ours(postgres_dsn: str) -> None:
    postgres = Postgres(postgres_dsn)
    await postgres.start()
    assert await postgres.fetch_value("SHOW jit") == "off"
    await postgres.stop()
