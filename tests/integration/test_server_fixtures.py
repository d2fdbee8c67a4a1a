"""The fixtures keep what the other tests rely on: real servers, clean for each test."""

from __future__ import annotations

import asyncpg
import pytest
import redis.asyncio


@pytest.mark.parametrize("attempt", [1, 2])
async def test_each_test_has_an_empty_redis_with_its_append_only_file_on(
    redis_url: str, attempt: int
) -> None:
    async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as client:
        assert await client.incr("counter") == 1
        assert (await client.config_get("appendonly")) == {"appendonly": "yes"}
        assert (await client.config_get("maxmemory-policy")) == {"maxmemory-policy": "noeviction"}


@pytest.mark.parametrize("attempt", [1, 2])
async def test_each_test_has_an_empty_database(postgres_dsn: str, attempt: int) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await connection.execute("CREATE TABLE mine (n int)")
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
    finally:
        await connection.close()
