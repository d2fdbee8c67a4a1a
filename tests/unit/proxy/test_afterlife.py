"""A call that nobody waits for any more still ends its hold, whatever goes wrong."""

from __future__ import annotations

import asyncio

import pytest

from gateway.metering.conclusion import Ending, Status
from gateway.metering.reading import Reading
from gateway.proxy.afterlife import Afterlife
from gateway.proxy.body_room import BodyRoom
from gateway.proxy.flight import Charge
from tests.unit.proxy.flying import APIS, Api, Hangar, Listener, on_the_wire


class Failing:
    """A reader with a fault of ours."""

    def feed(self, data: bytes) -> None:
        del data

    def finish(self) -> Reading:
        raise ValueError


async def test_a_call_that_cannot_be_settled_is_charged_what_it_holds() -> None:
    hangar = Hangar(APIS[0])
    flight, _ = await hangar.flight()
    flight.exchange.reader = Failing()
    afterlife = Afterlife(lambda _flight, _charge: None)
    afterlife.settle_later(flight, Ending.COMPLETE)
    await afterlife.close(10.0)
    await hangar.keeper.keep()
    assert [event.cost for event in hangar.holds.events] == [flight.hold.grant.amount]
    assert not len(hangar.keeper)


@pytest.mark.parametrize("api", [api for api in APIS if api.sse], ids=lambda api: api.name)
@pytest.mark.parametrize(
    ("left_out", "status"), [(5, Status.OK), (None, Status.CLIENT_GONE)], ids=["told", "in the middle"]
)
async def test_a_client_that_leaves_once_it_was_told_that_this_was_all_got_all(
    api: Api, left_out: int | None, status: Status
) -> None:
    hangar = Hangar(api)
    flight, connection = await hangar.flight()
    charges: list[Charge] = []
    afterlife = Afterlife(lambda _flight, charge: charges.append(charge))
    relaying = asyncio.create_task(flight.exchange.relay(Listener()))
    await asyncio.sleep(0)
    whole = on_the_wire(api.reply())
    connection.data_received(whole[: len(whole) // 2 if left_out is None else -left_out])
    assert flight.exchange.end is None
    relaying.cancel()
    afterlife.client_left(flight)
    await afterlife.close(10.0)
    assert [charge.status for charge in charges] == [status]


async def test_what_a_body_takes_of_the_memory_goes_back_when_its_call_has_ended() -> None:
    hangar = Hangar(APIS[0])
    flight, connection = await hangar.flight()
    flight.call.streamed = False  # its usage comes at the end: it is read on
    afterlife = Afterlife(lambda _flight, _charge: None)
    room = BodyRoom(1000, 1000)
    with room.share("acme") as share:
        share.take(700)
        flight.body_share = share
        afterlife.client_left(flight)
    assert room.taken == 700, "the body is still there, to be counted if the provider says nothing"
    connection.data_received(on_the_wire(APIS[0].reply()))
    await afterlife.close(10.0)
    assert (len(hangar.holds.events), room.taken) == (1, 0)
