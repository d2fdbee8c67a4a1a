"""How far a call in flight has come and what it has cost by then, estimated from what is counted anyway.

Nothing is kept for this while bytes flow; it is worked out when somebody asks, about once a second.
"""

from __future__ import annotations

import asyncio

from gateway.budgets.holding import Progress
from gateway.metering.reply import ReplyReader
from gateway.proxy.flight import Flight
from pricing.usage import Usage

CHARS_PER_TOKEN = 4
"""OpenAI's rule of thumb for English: https://help.openai.com/en/articles/4936856. Input bounds are in bytes."""
WIRE_BYTES_PER_TOKEN = 200
"""Of a stream whose text was not looked at yet: an event of OpenAI's or Anthropic's carries about one token."""


def progress(flight: Flight) -> Progress:
    """Hidden reasoning does not show in the bytes, so what a call with it costs is underestimated until it ends."""
    exchange = flight.exchange
    tokens = _output_tokens(flight)
    price = flight.estimate.price
    held = flight.hold.grant.amount
    cost = 0
    if price is not None:
        usage = Usage(input=flight.estimate.input_tokens_max // CHARS_PER_TOKEN, output=tokens)
        cost = flight.estimate.exchange.microcredits(price.cost(usage, flight.call.tier).total_femtousd)
    return Progress(
        seconds=asyncio.get_running_loop().time() - flight.sent_at_s,
        output_bytes=exchange.body_bytes,
        output_tokens=tokens,
        microcredits=min(cost, held),
    )


def _output_tokens(flight: Flight) -> int:
    received, reader = flight.exchange.body_bytes, flight.exchange.reader
    tokens = received // WIRE_BYTES_PER_TOKEN if flight.call.streamed else 0
    if isinstance(reader, ReplyReader):
        chars, unread_bytes = reader.text_so_far()
        if chars and unread_bytes < received:
            tokens = chars * received // (received - unread_bytes) // CHARS_PER_TOKEN
    return tokens
