"""A bounded number of places: never more taken than there are, none lost, first come first served."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.places import Places


async def settled() -> None:
    """Every task that can go on has gone on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_came_first_gets_the_place_first() -> None:
    places, order = Places(1), list[int]()

    async def visit(number: int) -> None:
        await places.taken()
        order.append(number)

    assert places.taken_at_once()
    visits = [asyncio.create_task(visit(number)) for number in range(3)]
    await settled()
    assert order == []
    assert not places.taken_at_once()
    for _ in visits:
        places.leave()
        assert not places.taken_at_once(), "a place that was handed on is not free"
    await asyncio.gather(*visits)
    assert order == [0, 1, 2]


async def test_who_is_cancelled_while_waiting_takes_no_place() -> None:
    places = Places(1)
    assert places.taken_at_once()
    gone, next_one = asyncio.create_task(places.taken()), asyncio.create_task(places.taken())
    await settled()
    gone.cancel()
    places.leave()
    await next_one
    places.leave()
    assert places.taken_at_once()
    assert not places.taken_at_once()


async def test_who_is_cancelled_just_after_being_given_a_place_hands_it_on() -> None:
    places = Places(1)
    assert places.taken_at_once()
    gone, next_one = asyncio.create_task(places.taken()), asyncio.create_task(places.taken())
    await settled()
    places.leave()
    gone.cancel()
    await next_one
    assert gone.cancelled()
    assert not places.taken_at_once()


@given(
    st.integers(1, 3), st.lists(st.tuples(st.sampled_from(["come", "leave", "cancel"]), st.integers(0, 9)))
)
def test_any_history_leaves_as_many_places_as_there_were(count: int, history: list[tuple[str, int]]) -> None:
    asyncio.run(_history(count, history))


async def _history(count: int, history: list[tuple[str, int]]) -> None:
    places, inside, waiting = Places(count), 0, list[asyncio.Task[None]]()
    for step, (what, which) in enumerate(history):
        if what == "come":
            waiting.append(asyncio.create_task(places.taken()))
        elif what == "leave" and inside:
            places.leave()
            inside -= 1
        elif what == "cancel" and waiting:
            waiting[which % len(waiting)].cancel()
        if step % 2:  # else the next step comes before any task has gone on
            await settled()
        inside += sum(task.done() and not task.cancelled() for task in waiting)
        waiting = [task for task in waiting if not task.done()]
        assert inside <= count
    await settled()
    inside += sum(task.done() and not task.cancelled() for task in waiting)
    waiting = [task for task in waiting if not task.done()]
    assert not waiting or inside == count, "nobody waits while a place is free"
    for task in waiting:
        task.cancel()
    await settled()
    for _ in range(inside):
        places.leave()
    assert [places.taken_at_once() for _ in range(count + 1)] == [True] * count + [False]
