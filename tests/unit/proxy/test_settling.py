"""A settlement whose caller is cancelled at any await: the next caller gets the same charge, written once."""

from __future__ import annotations

import asyncio

import pytest

from gateway.metering.conclusion import Ending
from gateway.settings.limits import MICROCREDITS_MAX
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


async def test_a_settlement_that_came_after_the_reaper_is_no_charge() -> None:
    api = APIS[0]
    hangar = Hangar(api, hold_ttl_s=0)
    flight, connection = await hangar.flight()
    connection.data_received(on_the_wire(api.reply()))
    assert await hangar.holds.reap() == 1
    for _ in range(2):
        charge = await flight.settle(Ending.COMPLETE)
        assert not charge.stands
    assert [event.cost for event in hangar.holds.events] == [flight.hold.grant.amount]


async def test_a_charge_whose_confirmation_was_lost_stands() -> None:
    api = APIS[0]
    hangar = Hangar(api)
    flight, connection = await hangar.flight()
    connection.data_received(on_the_wire(api.reply()))
    await hangar.holds.settle(flight.hold.grant, flight.hold.ask, 1, b"{}")  # written, its answer never came
    assert (await flight.settle(Ending.COMPLETE)).stands


@pytest.mark.parametrize("tokens", ["100000000000000000", "18446744073709551616", "1e30"])
async def test_usage_beyond_all_counting_is_charged_all_that_can_be_counted(tokens: str) -> None:
    hangar = Hangar(APIS[0])
    flight, connection = await hangar.flight()
    usage = b'{"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":%b}}'
    body = b"data: " + usage % tokens.encode() + b"\n\ndata: [DONE]\n\n"
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    charge = await flight.settle(Ending.COMPLETE)
    assert charge.microcredits == MICROCREDITS_MAX
    assert "overrun" in charge.flags
    assert [event.cost for event in hangar.holds.events] == [MICROCREDITS_MAX]


async def test_a_stream_in_an_encoding_that_cannot_be_read_costs_its_bound() -> None:
    hangar = Hangar(APIS[0])
    flight, connection = await hangar.flight()
    connection.data_received(
        b"HTTP/1.1 200 OK\r\ncontent-encoding: lzma\r\ncontent-length: 4\r\n\r\n\x00\x01\x02\x03"
    )
    charge = await flight.settle(Ending.COMPLETE)
    assert (charge.source, charge.microcredits) == ("bound", flight.hold.grant.amount)
