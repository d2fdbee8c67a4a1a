"""/api/people/{id}/export and /erase: what is kept of somebody, and keeping it no more."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from gateway.api.operation import AnyOperation, Call, NoBody, Operation
from gateway.api.people import PersonPath
from gateway.errors import NotFound
from gateway.identity.erasure import Erasure, Erasures
from gateway.identity.people import People
from gateway.identity.roles import Action, named_org
from gateway.identity.subject_export import SubjectExport

AT_ONCE_S = 5.0
"""How long a call goes on moving usage before it leaves the rest to the gateway's own job."""


class ErasureView(BaseModel):
    id: str
    state: Annotated[
        Literal["under_way", "done"],
        Field(
            description="`under_way`: profile and keys are gone; usage follows when no call is open any more."
        ),
    ]
    requested_at: datetime
    completed_at: datetime | None

    @classmethod
    def of(cls, erasure: Erasure) -> ErasureView:
        return cls(
            id=erasure.erasure_id,
            state="under_way" if erasure.completed_at is None else "done",
            requested_at=erasure.requested_at,
            completed_at=erasure.completed_at,
        )


class _Handlers:
    def __init__(self, people: People, export: SubjectExport, erasures: Erasures) -> None:
        self._people = people
        self._export = export
        self._erasures = erasures

    async def export(self, call: Call[PersonPath, NoBody]) -> web.StreamResponse:
        person = await self._people.get(named_org(call.reach), call.params.id, call.reach)
        disposition = {"content-disposition": f'attachment; filename="person-{person.user_id}.json"'}
        reply = call.stream("application/json", disposition)
        await reply.prepare(call.request)
        async for piece in self._export.document(person, call.now):
            await reply.write(piece)
        await reply.write_eof()
        return reply

    async def erase(self, call: Call[PersonPath, NoBody]) -> ErasureView:
        org, user = named_org(call.reach), call.params.id
        if not call.reach.covers(None, user):
            raise NotFound(f"There is nobody called {user!r} here.", param="id")
        erasure = await self._erasures.request(org, user, by=call.principal, now=call.now)
        stop_s = time.monotonic() + AT_ONCE_S
        erasure = await self._erasures.proceed(erasure, call.now, go_on=lambda: time.monotonic() < stop_s)
        return ErasureView.of(erasure)


def privacy_operations(people: People, export: SubjectExport, erasures: Erasures) -> list[AnyOperation]:
    handlers = _Handlers(people, export, erasures)
    return [
        Operation(
            method="GET",
            path="/api/people/{id}/export",
            name="export_person",
            tag="People",
            summary="Everything that is kept of somebody, as JSON",
            action=Action.EXPORT_PEOPLE,
            handler=handlers.export,
            params=PersonPath,
            media=("application/json",),
            errors=(404,),
        ),
        Operation(
            method="POST",
            path="/api/people/{id}/erase",
            name="erase_person",
            tag="People",
            summary="Erase somebody; sums stay as they are",
            description="Profile, roles and keys go at once; usage moves to a random id. It cannot be undone. Again "
            "answers how far it has come. The last owner, and who is declared in limits.yaml, cannot be erased (409).",
            action=Action.ERASE_PEOPLE,
            handler=handlers.erase,
            params=PersonPath,
            reply=ErasureView,
            status=202,
            errors=(404, 409),
        ),
    ]
