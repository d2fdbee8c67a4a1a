"""Exports of one organisation take turns, and those of others do not wait for them."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import RateLimited
from gateway.reports.turns import Turns


async def test_more_than_a_few_exports_of_one_organisation_wait_and_are_then_refused() -> None:
    turns = Turns("exports", 2, 0.01)
    async with turns.of("acme"), turns.of("acme"):
        with pytest.raises(RateLimited, match="2 exports of this organisation"):
            async with turns.of("acme"):
                pass
        async with turns.of("globex"), turns.of("globex"):
            pass
    async with turns.of("acme"):
        pass


async def test_who_waits_gets_the_turn_that_ends() -> None:
    turns, told = Turns("exports", 1, 60), list[str]()

    async def export() -> None:
        async with turns.of("acme"):
            told.append("second")

    async with turns.of("acme"):
        second = asyncio.create_task(export())
        await asyncio.sleep(0)
        told.append("first")
    await second
    assert told == ["first", "second"]
