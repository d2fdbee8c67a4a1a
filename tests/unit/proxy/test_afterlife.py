"""A call that nobody waits for any more still ends its hold, whatever goes wrong."""

from __future__ import annotations

from gateway.metering.conclusion import Ending
from gateway.metering.reading import Reading
from gateway.proxy.afterlife import Afterlife
from tests.unit.proxy.flying import APIS, Hangar


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
