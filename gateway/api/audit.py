"""GET /api/audit: who did what to which object, from where, before and after."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from pydantic import BaseModel, Field

from gateway.api.credit_fields import Instant
from gateway.api.cursor import read_cursor, write_cursor
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, PageParams
from gateway.errors import BadRequest
from gateway.identity.roles import Action
from gateway.stores.postgres_audit import AuditEntry, AuditLog, AuditSearch

_Text = Annotated[str | None, Field(min_length=1, max_length=400, pattern=r"^[^\x00-\x1f\x7f]+$")]
_PLACE_MAX = 2**63 - 1


class AuditParams(PageParams):
    actor: Annotated[_Text, Field(examples=["user:acme/ada"])] = None
    action: Annotated[_Text, Field(description="`key.revoke`, or `key` for all that is done to keys.")] = None
    object: Annotated[_Text, Field(examples=["key:key-1f0c"])] = None
    since: Annotated[Instant | None, Field(description="From this instant on.")] = None
    until: Annotated[Instant | None, Field(description="Before this instant.")] = None


class AuditView(BaseModel):
    place: Annotated[int, Field(description="1, 2, 3 and so on over all organisations.")]
    at: str
    actor: str
    action: str
    object: str
    org: str | None
    address: Annotated[
        str | None, Field(description="From where; null: the command line, or the gateway itself.")
    ]
    request_id: str | None
    before: Any
    after: Any
    hash: Annotated[str, Field(description="SHA-256 of this entry and of the hash before it.")]

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditView:
        return cls(
            place=entry.place,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            object=entry.object,
            org=entry.org_id,
            address=entry.address,
            request_id=entry.request_id,
            before=None if entry.before is None else orjson.loads(entry.before),
            after=None if entry.after is None else orjson.loads(entry.after),
            hash=entry.hash.hex(),
        )


class AuditPage(BaseModel):
    items: list[AuditView]
    next_cursor: str | None


def audit_operations(log: AuditLog) -> list[AnyOperation]:
    async def search(call: Call[AuditParams, NoBody]) -> AuditPage:
        params = call.params
        position = read_cursor(params.cursor, 1)
        if position is not None and not (type(position[0]) is int and 0 < position[0] <= _PLACE_MAX):
            raise BadRequest("cursor: is not one that a page before gave out", param="cursor")
        wanted = AuditSearch(
            org=call.reach.org_id,
            actor=params.actor,
            action=params.action,
            object=params.object,
            since=params.since,
            until=params.until,
            before_place=None if position is None else position[0],
        )
        found = await log.search(wanted, params.limit + 1)
        page, rest = found[: params.limit], found[params.limit :]
        return AuditPage(
            items=[AuditView.of(entry) for entry in page],
            next_cursor=write_cursor(page[-1].place) if rest else None,
        )

    return [
        Operation(
            method="GET",
            path="/api/audit",
            name="search_audit",
            tag="Audit",
            summary="Who did what, newest first",
            description="The admin token may leave out `org`: then it sees everything, also what belongs to none.",
            action=Action.SEE_AUDIT,
            handler=search,
            params=AuditParams,
            reply=AuditPage,
        )
    ]
