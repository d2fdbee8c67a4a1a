"""However a reply arrives, the client gets its bytes in order; however a body is spelled, only named members change."""

from __future__ import annotations

import asyncio
import random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.providers.registry import DIALECTS
from gateway.proxy.exchange import End
from gateway.proxy.flight import ENDINGS
from tests.unit.proxy.flying import APIS, Api, Hangar, Listener, on_the_wire, without_usage_event


@pytest.mark.parametrize("chunk", [True, False], ids=["chunked", "with-length"])
@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
async def test_any_arrival_gives_the_same_bytes_and_the_same_charge(api: Api, chunk: bool) -> None:
    reply = api.reply()
    whole, due = on_the_wire(reply, chunk=chunk), without_usage_event(api, reply.events)
    hangar = Hangar(api)
    costs = set()
    dice = random.Random(7)
    sizes = [1, 2, 3, 7, 64, 1000, 10**9, *([0] * 60)]
    for size in sizes:
        flight, connection = await hangar.flight()
        client = Listener()
        relaying = None
        at = 0
        while at < len(whole):
            step = size or dice.choice((1, 2, 5, 30, 200, 900))
            connection.data_received(whole[at : at + step])
            at += step
            if relaying is None and (size or dice.random() < 0.2):
                relaying = asyncio.create_task(flight.exchange.relay(client))
                await asyncio.sleep(0)
        await (relaying or flight.exchange.relay(client))
        assert flight.exchange.end is End.COMPLETE
        assert client.body == due, size
        charge = await flight.settle(ENDINGS[End.COMPLETE])
        costs.add((charge.source, charge.microcredits))
    assert len(costs) == 1
    assert costs.pop()[0] == "provider"


SPACES = st.sampled_from(["", " ", "\n", "\t ", "  \r\n"])
NAMES = st.text("abcXYZ_", min_size=9, max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    extras=st.dictionaries(NAMES, VALUES, max_size=4),
    space=SPACES,
    cap=st.integers(1, 10_000),
    lower=st.integers(1, 10_000),
    stream=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_only_named_members_change_on_the_way_out(
    extras: dict[str, object], space: str, cap: int, lower: int, stream: bool, seed: int
) -> None:
    members = [("model", "gpt-4o-mini"), ("messages", [{"role": "user", "content": "h\u00e9 \"}"}]), ("stream", stream),
               ("max_tokens", cap), *extras.items()]  # fmt: skip
    random.Random(seed).shuffle(members)
    pairs = ((orjson.dumps(name).decode(), orjson.dumps(value).decode()) for name, value in members)
    text = "{" + ",".join(f"{space}{name}{space}:{space}{value}{space}" for name, value in pairs) + "}"
    body = text.encode()
    dialect = DIALECTS["openai"]
    route = dialect.match("POST", "/v1/chat/completions", {})
    assert route is not None
    call = dialect.read(route, body, {})
    out = b"".join(dialect.forward(call, lower if lower < cap else None))
    expected = body
    if lower < cap:
        before = f'"max_tokens"{space}:{space}'.encode()
        expected = expected.replace(before + b"%d" % cap, before + b"%d" % lower)
    if stream:
        added = b'"stream_options":{"include_usage":true},'
        assert out.count(added) == 1
        out = out.replace(added, b"")
    assert out == expected
