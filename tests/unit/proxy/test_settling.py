"""A settlement whose caller is cancelled at any await: the next caller gets the same charge, written once."""

from __future__ import annotations

import asyncio

import pytest

from gateway.metering.conclusion import Ending
from tests.unit.proxy.flying import APIS, Hangar, on_the_wire


@pytest.mark.parametrize("turns", range(6))
async def test_a_client_that_leaves_while_its_call_is_settled_leaves_one_event(turns: int) -> None:
    api = APIS[0]
    hangar = Hangar(api)
    flight, connection = await hangar.flight()
    connection.data_received(on_the_wire(api.reply()))
    settling = asyncio.create_task(flight.settle(Ending.COMPLETE))
    for _ in range(turns):
        await asyncio.sleep(0)
    settling.cancel()
    await asyncio.wait([settling])
    charge = await flight.settle(Ending.CLIENT_GONE)
    assert [event.cost for event in hangar.holds.events] == [charge.microcredits]
    assert charge.source == "provider"
