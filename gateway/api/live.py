"""GET /api/credits/live: what is spent, while it is spent, as server-sent events."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import Annotated

from aiohttp import web
from pydantic import Field

from gateway.api.authentication import Principals
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, OrgParams
from gateway.errors import BadRequest
from gateway.identity.roles import ADMIN, Action, Principal, Role, named_org
from gateway.live.hub import LiveHub

EVENT_STREAM = "text/event-stream"
LAST_EVENT_ID_MAX = 2**63 - 1

DESCRIPTION = """\
An endless stream of server-sent events. `usage`: one settled request. `totals`: the balance, what was charged today,
this week, this month (in the organisation's time zone) and since this connection began, and the rate per hour and per
day; at first and at most once a second after that. `in_flight`: calls that are still running, with an estimate of what
they have cost so far, once a second. `alert`: a limit or the balance crossed a level. `reset`: not everything that
happened can be told; totals as they are now. `end`: this connection is over (`shutting_down`, `revoked`,
`role_changed`). Lines that start with a colon keep the connection alive.

Connect again with the `Last-Event-ID` that was seen last (browsers do so by themselves), and nothing is missed or told
twice. Everyone sees what their role may see of the usage; `user` is null for those who may not see people by name."""


class LiveParams(OrgParams):
    last_event_id: Annotated[
        int | None,
        Field(ge=0, le=LAST_EVENT_ID_MAX, description="As the header `Last-Event-ID`, which goes before it."),
    ] = None


def live_operations(hub: LiveHub, principals: Principals) -> list[AnyOperation]:
    """``principals``: asked every second whether a listener may still listen."""

    async def live(call: Call[LiveParams, NoBody]) -> web.StreamResponse:
        named_org(call.reach)

        async def recheck() -> Principal:
            return (
                ADMIN
                if Role.ADMIN in call.principal.roles
                else await principals.principal_of(call.credential)
            )

        response = call.stream(EVENT_STREAM, {"cache-control": "no-store", "x-accel-buffering": "no"})
        async with aclosing(hub.listen(call.principal, call.reach, _last_event_id(call), recheck)) as chunks:
            first = await anext(chunks)  # what is refused is refused before the reply begins
            await response.prepare(call.request)
            try:
                await response.write(first)
                async for chunk in chunks:
                    await response.write(chunk)
                await response.write_eof()
            except ConnectionError:
                return response  # the client left
        return response

    return [
        Operation(
            method="GET",
            path="/api/credits/live",
            name="listen",
            tag="Credits",
            summary="Follow usage, totals, calls in flight and alerts as they happen",
            action=Action.SEE_USAGE,
            handler=live,
            params=LiveParams,
            media=(EVENT_STREAM,),
            description=DESCRIPTION,
        )
    ]


def _last_event_id(call: Call[LiveParams, NoBody]) -> int | None:
    sent = call.request.headers.get("last-event-id", "").strip()
    if not sent:
        return call.params.last_event_id
    if not re.fullmatch(r"[0-9]{1,19}", sent) or int(sent) > LAST_EVENT_ID_MAX:
        raise BadRequest("Last-Event-ID: send the id of an event of this stream", param="Last-Event-ID")
    return int(sent)
