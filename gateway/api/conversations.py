"""GET /api/conversations, GET and PUT /api/conversations/{id}: what conversations cost, and what they are called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from gateway.api.amount import Amount
from gateway.api.cursor import read_instant_cursor, write_cursor
from gateway.api.operation import (
    LINE,
    AnyOperation,
    Call,
    NoBody,
    Operation,
    OrgParams,
    PageParams,
    Strict,
)
from gateway.errors import NotFound
from gateway.identity.roles import Action, named_org
from gateway.reports.desk import ReportDesk
from gateway.reports.history import Conversation
from gateway.reports.veil import Veil

TITLE_CHARS_MAX = 200


class ConversationParams(OrgParams):
    id: Annotated[str, Field(min_length=1, max_length=512)]


class Title(Strict):
    title: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=TITLE_CHARS_MAX,
            pattern=LINE,
            description="null: none.",
        ),
    ]


class ConversationReply(BaseModel):
    """Added up are the requests that whoever asks may see."""

    id: str
    title: str | None
    team: str | None
    user: str | None
    key: str
    first_at: datetime
    last_at: Annotated[datetime | None, Field(description="null: its requests are no longer kept.")]
    requests: int
    input_tokens: int
    output_tokens: int
    cost: Amount


class ConversationsReply(BaseModel):
    org: str
    people_hidden: bool
    items: list[ConversationReply]
    next_cursor: str | None


def conversation_operations(desk: ReportDesk) -> list[AnyOperation]:
    async def page(call: Call[PageParams, NoBody]) -> ConversationsReply:
        org = named_org(call.reach)
        veil = desk.veil(org, call.principal.names_people(Action.SEE_USAGE))
        limit = call.params.limit
        found = await desk.conversations.page(
            org, call.reach, limit + 1, read_instant_cursor(call.params.cursor)
        )
        last = found[limit - 1] if len(found) > limit else None
        return ConversationsReply(
            org=org,
            people_hidden=veil.hides,
            items=[await _reply(one, veil) for one in found[:limit]],
            next_cursor=write_cursor(last.first_at, last.id) if last else None,
        )

    async def one(call: Call[ConversationParams, NoBody]) -> ConversationReply:
        org = named_org(call.reach)
        found = await desk.conversations.one(org, call.reach, call.params.id)
        if found is None:
            raise NotFound("There is no such conversation.")
        return await _reply(found, desk.veil(org, call.principal.names_people(Action.SEE_USAGE)))

    async def name(call: Call[ConversationParams, Title]) -> ConversationReply:
        org = named_org(call.reach)
        if not await desk.conversations.name(org, call.reach, call.params.id, call.body.title):
            raise NotFound("There is no such conversation.")
        found = await desk.conversations.one(org, call.reach, call.params.id)
        if found is None:
            raise NotFound("There is no such conversation.")
        return await _reply(found, desk.veil(org, call.principal.names_people(Action.SEE_USAGE)))

    return _described(page, one, name)


async def _reply(conversation: Conversation, veil: Veil) -> ConversationReply:
    shown = await veil.conversation(conversation)
    return ConversationReply(
        id=shown.id,
        title=shown.title,
        team=shown.team,
        user=shown.user,
        key=shown.key,
        first_at=shown.first_at,
        last_at=shown.last_at,
        requests=shown.requests,
        input_tokens=shown.input_tokens,
        output_tokens=shown.output_tokens,
        cost=Amount.of(shown.credits_microcredits),
    )


def _described(
    page: Callable[[Call[PageParams, NoBody]], Awaitable[ConversationsReply]],
    one: Callable[[Call[ConversationParams, NoBody]], Awaitable[ConversationReply]],
    name: Callable[[Call[ConversationParams, Title]], Awaitable[ConversationReply]],
) -> list[AnyOperation]:
    return [
        Operation(
            method="GET",
            path="/api/conversations",
            name="list_conversations",
            tag="Usage",
            summary="Conversations and what they cost, those that began last first",
            action=Action.SEE_USAGE,
            handler=page,
            params=PageParams,
            reply=ConversationsReply,
        ),
        Operation(
            method="GET",
            path="/api/conversations/{id}",
            name="get_conversation",
            tag="Usage",
            summary="One conversation",
            action=Action.SEE_USAGE,
            handler=one,
            params=ConversationParams,
            reply=ConversationReply,
            errors=(404,),
        ),
        Operation(
            method="PUT",
            path="/api/conversations/{id}",
            name="name_conversation",
            tag="Usage",
            summary="Give a conversation a title, for reports and lists",
            description="A conversation is of the team and user of its first request, and is there once that is "
            "recorded, within a second of its end.",
            action=Action.NAME_CONVERSATIONS,
            handler=name,
            params=ConversationParams,
            body=Title,
            reply=ConversationReply,
            errors=(404,),
            example={"title": "Quarterly figures"},
        ),
    ]
