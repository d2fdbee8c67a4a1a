"""A stream that breaks off after any byte: no clean end that was not sent, nothing invented, exactly one charge."""

from __future__ import annotations

import asyncio

import pytest

from gateway.proxy.exchange import End
from gateway.proxy.flight import ENDINGS, Charge
from tests.unit.proxy.flying import APIS, Api, Hangar, Listener, on_the_wire, without_usage_event


async def flown(hangar: Hangar, wire: bytes, *, early: bool) -> tuple[End, bytes, Charge, int]:
    """(how it ended, what the client got, what was charged, what was held) of a reply that stops after ``wire``.

    ``early``: the client listens before the first byte; else after the last.
    """
    flight, connection = await hangar.flight()
    exchange, client = flight.exchange, Listener()
    listening = None
    if early:
        listening = asyncio.create_task(exchange.relay(client))
        await asyncio.sleep(0)
    connection.data_received(wire)
    connection.connection_lost(None)
    await (listening or exchange.relay(client))
    assert exchange.end is not None
    charge = await flight.settle(ENDINGS[exchange.end])
    return exchange.end, client.body, charge, flight.hold.grant.amount


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
async def test_a_cut_after_every_byte(api: Api) -> None:
    reply = api.reply()
    whole, sent, due = on_the_wire(reply), b"".join(reply.events), without_usage_event(api, reply.events)
    hangar = Hangar(api)
    costs = []
    for cut in range(len(whole) + 1):
        end, got, charge, held = await flown(hangar, whole[:cut], early=cut % 2 == 0)
        assert (end is End.COMPLETE) == (cut == len(whole)), cut
        assert due.startswith(got) or sent.startswith(got), cut
        assert 0 < charge.microcredits <= held, cut
        assert len(hangar.holds.events) == cut + 1, cut
        assert hangar.holds.events[-1].cost == charge.microcredits
        assert charge.status == ("ok" if cut == len(whole) else "upstream_error")
        costs.append((charge.source, charge.microcredits))
    assert costs[0][0] == "bound"  # not even a status was seen
    assert costs[-1][0] == "provider"
    assert {source for source, _ in costs} == {"bound", "counted", "provider"}


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
async def test_a_stream_that_ends_properly_but_too_early_costs_what_came(api: Api) -> None:
    """A provider that closes its reply after a few events, as if that were all, without a word of usage."""
    reply = api.reply()
    hangar = Hangar(api)
    before = 0
    for count in range(1, len(reply.events)):
        reply_cut = api.reply()
        del reply_cut.events[count:]
        end, got, charge, held = await flown(hangar, on_the_wire(reply_cut), early=True)
        assert end is End.COMPLETE
        assert got == without_usage_event(api, reply_cut.events)
        assert 0 < charge.microcredits <= held
        if charge.source == "counted":
            assert charge.microcredits >= before, "more text costs more"
            before = charge.microcredits


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
async def test_what_a_cut_stream_is_charged_covers_what_was_received(api: Api) -> None:
    """Never less than the same text costs when the provider reports it whole, minus what did not come."""
    reply = api.reply()
    hangar = Hangar(api)
    _, _, whole, _ = await flown(hangar, on_the_wire(reply), early=True)
    last_text = (
        max(index for index, tokens in enumerate(reply.tokens) if tokens < reply.count.output_tokens) + 1
    )
    cut = api.reply()
    del cut.events[last_text + 1 :]
    raw = on_the_wire(cut).removesuffix(b"0\r\n\r\n")
    _, _, charge, held = await flown(hangar, raw, early=True)
    assert charge.source in ("counted", "bound", "provider")
    assert whole.microcredits * 0.5 <= charge.microcredits <= held
