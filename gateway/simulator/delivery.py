"""From a reply to bytes on the wire, in the writes and with the faults that the knobs ask for.

`plan` is pure: it decides which writes there are and how they end. `deliver` carries it out and keeps book.
"""

from __future__ import annotations

import asyncio
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from aiohttp import web

from gateway.simulator.journal import Entry
from gateway.simulator.knobs import Knobs
from gateway.simulator.reply import Reply

GZIP_WINDOW = 31
"""zlib's way of saying: gzip framing, largest window."""


@dataclass(slots=True)
class Plan:
    """The writes of one reply, and what comes after the last of them."""

    writes: list[bytes]
    event_ends: list[int]
    """Byte position at which each of the reply's own events is complete."""
    ending: str = "completed"
    """completed | cut | ended_early | hang"""
    whole: bool = True
    """Everything that the reply has is in the writes."""


def plan(reply: Reply, knobs: Knobs) -> Plan:
    events, extra, ending = reply.events, b"", "completed"
    if reply.streamed and knobs.error_after_events is not None:
        events, extra = events[: knobs.error_after_events], reply.failure
    elif knobs.no_terminator and reply.terminators:
        events, ending = events[: -reply.terminators], "ended_early"
    elif knobs.hang_after_events is not None:
        events, ending = events[: knobs.hang_after_events], "hang"
    elif knobs.cut_after_events is not None:
        following = b"".join(events[knobs.cut_after_events : knobs.cut_after_events + 1])
        events, ending = events[: knobs.cut_after_events], "cut"
        extra = following[: len(following) // 2] if knobs.cut_mid_event else b""
    whole = len(events) == len(reply.events)
    ends = list(accumulate(map(len, events)))
    if extra:
        events = [*events, extra]
    writes = events if knobs.write_bytes == 0 else _recut(b"".join(events), knobs.write_bytes)
    limit = knobs.cut_after_bytes if knobs.cut_after_bytes is not None else knobs.end_after_bytes
    if limit is not None:
        ending = "cut" if knobs.cut_after_bytes is not None else "ended_early"
        writes, whole = _recut(b"".join(events)[:limit], knobs.write_bytes or limit or 1), False
    return Plan(writes, ends, ending, whole)


def _recut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


async def deliver(
    request: web.Request, reply: Reply, knobs: Knobs, entry: Entry
) -> tuple[web.StreamResponse, str]:
    """Send ``reply`` as planned. Returns the response and how it ended.

    Raises: ConnectionError or CancelledError when the client has gone; the entry then says how far it came.
    """
    planned = plan(reply, knobs)
    entry.status = 200
    response = web.StreamResponse(headers={"Content-Type": reply.content_type, **reply.headers})
    if knobs.gzip:
        response.headers["Content-Encoding"] = "gzip"
    if reply.streamed:
        response.headers["Cache-Control"] = "no-cache"
    elif not knobs.gzip:
        shortened = planned.ending == "ended_early"
        response.content_length = sum(map(len, planned.writes if shortened else reply.events))
    await response.prepare(request)
    await _send(response, planned, reply, knobs, entry)
    if planned.whole:
        entry.delivered_output_tokens = reply.count.output_tokens
        entry.usage_reported = reply.reports_usage
    if planned.ending == "hang":
        await asyncio.Event().wait()
    if planned.ending == "cut":
        hang_up(request)
        return response, "cut"
    await response.write_eof()
    return response, planned.ending


def hang_up(request: web.Request) -> None:
    """Close the connection after what is already written; the client sees an unfinished reply."""
    if request.transport is not None:
        request.transport.close()


async def _send(
    response: web.StreamResponse, planned: Plan, reply: Reply, knobs: Knobs, entry: Entry
) -> None:
    packer = zlib.compressobj(wbits=GZIP_WINDOW) if knobs.gzip else None
    pause_s = knobs.chunk_ms / 1000
    for number, piece in enumerate(planned.writes):
        if number and (pause_s or knobs.write_bytes):
            await asyncio.sleep(pause_s)
        data = piece
        if packer is not None:
            last = number == len(planned.writes) - 1
            data = packer.compress(piece) + packer.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)
        await response.write(data)
        entry.delivered_writes += 1
        entry.delivered_bytes += len(piece)
        complete = bisect_right(planned.event_ends, entry.delivered_bytes)
        if complete:
            entry.delivered_output_tokens = reply.tokens[complete - 1]
