"""A listener's queue is bounded: who reads too slowly is told that something is missing, never silently skipped."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import RateLimited
from gateway.live.listener import QUEUE_BYTES_MAX, Listener
from gateway.live.tally import Tally
from tests.unit.live.making import PRINCIPAL


async def known() -> None:
    return None


def reset(reason: str) -> bytes:
    return f"reset {reason}\n\n".encode()


async def test_what_was_pushed_comes_out_joined_and_in_order() -> None:
    listener = Listener(PRINCIPAL, after=0, baseline=0)
    chunks = listener.chunks(known, reset)
    for part in (b"a", b"b", b"c"):
        listener.push(part)
    assert await anext(chunks) == b"abc"


async def test_a_full_queue_is_dropped_and_becomes_one_reset() -> None:
    listener = Listener(PRINCIPAL, after=0, baseline=0)
    chunks = listener.chunks(known, reset)
    listener.push(b"x" * QUEUE_BYTES_MAX)
    listener.push(b"y")
    listener.push(b"z")
    assert await anext(chunks) == b"reset behind\n\n"
    listener.push(b"after")
    assert await anext(chunks) == b"after"


async def test_what_happens_while_a_reset_is_made_is_in_it_and_not_told_again() -> None:
    listener = Listener(PRINCIPAL, after=0, baseline=0)
    sums = asyncio.Event()

    async def when_known() -> None:
        await sums.wait()

    chunks = listener.chunks(when_known, reset)
    listener.fall_behind("missed")
    first = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    listener.push(b"meanwhile")
    sums.set()
    assert await first == b"reset missed\n\n"
    listener.end("revoked")
    assert b"meanwhile" not in await anext(chunks)


async def test_an_ended_listener_says_why_and_stops() -> None:
    listener = Listener(PRINCIPAL, after=0, baseline=0)
    listener.push(b"last\n\n")
    listener.end("revoked")
    listener.push(b"too late")
    assert [chunk async for chunk in listener.chunks(known, reset)] == [
        b'last\n\nevent: end\ndata: {"reason":"revoked"}\n\n'
    ]


async def test_a_quiet_listener_gets_a_comment() -> None:
    listener = Listener(PRINCIPAL, after=0, baseline=0)
    chunks = listener.chunks(known, reset)
    listener.keep_alive(100.0, 15.0)
    listener.keep_alive(114.9, 15.0)
    listener.keep_alive(115.0, 15.0)
    assert (await anext(chunks)).startswith(b": ")


def test_listeners_are_bounded_in_all_of_one_organisation_and_of_one_caller() -> None:
    tally = Tally(most=4, most_org=3, most_each=2)
    tally.enter("ada", "acme")
    tally.enter("ada", "acme")
    with pytest.raises(RateLimited, match="You have 2"):
        tally.enter("ada", "acme")
    tally.enter("bob", "acme")
    with pytest.raises(RateLimited, match="acme has"):
        tally.enter("eve", "acme")
    tally.enter("eve", "globex")
    with pytest.raises(RateLimited, match="This gateway"):
        tally.enter("gil", "globex")
    tally.leave("ada", "acme")
    tally.enter("eve", "acme")
    assert len(tally) == 4
