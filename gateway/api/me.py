"""GET /api/me: who is asking, and what they may do."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from gateway.api.operation import AnyOperation, Call, NoBody, NoParams, Operation
from gateway.api.orgs import OrgView
from gateway.errors import NotFound
from gateway.identity.orgs import Orgs
from gateway.identity.people import People
from gateway.identity.roles import Action, Extent, Principal, Reach, Role


class Me(BaseModel):
    actor: Annotated[str, Field(description="As the audit log names you.")]
    org: Annotated[
        OrgView | None, Field(description="null: the admin token, or one that is known by its keys alone.")
    ]
    user: str | None
    name: Annotated[str | None, Field(description="Of your profile; not for keys of access `calls`.")]
    team: Annotated[str | None, Field(description="Of the key that you asked with.")]
    key: str | None
    roles: list[str]
    leads: Annotated[list[str], Field(description="Teams that you lead.")]
    may: Annotated[
        dict[str, str],
        Field(
            description="What you may do, and how far: self, team, org or platform.",
            examples=[{"buy": "org"}],
        ),
    ]


def me_operations(orgs: Orgs, people: People) -> list[AnyOperation]:
    async def me(call: Call[NoParams, NoBody]) -> Me:
        who = call.principal
        return Me(
            actor=who.actor,
            org=await _org(who),
            user=who.user_id,
            name=await _name(who),
            team=who.team_id,
            key=who.key_id,
            roles=sorted(who.roles),
            leads=sorted(who.leads),
            may={
                action.value: who.extent(action).name.lower()
                for action in Action
                if who.extent(action) is not Extent.NONE
            },
        )

    async def _org(who: Principal) -> OrgView | None:
        if who.org_id is None:
            return None
        try:
            return OrgView.of(await orgs.get(who.org_id))
        except NotFound:  # keys can be made for organisations that nobody declared
            return None

    async def _name(who: Principal) -> str | None:
        if who.org_id is None or who.user_id is None or Role.CALLER in who.roles:
            return None
        try:
            return (await people.get(who.org_id, who.user_id, Reach(who.org_id))).profile.name
        except NotFound:  # a key may be of a user of whom nothing else is known
            return None

    return [
        Operation(
            method="GET",
            path="/api/me",
            name="get_me",
            tag="People",
            summary="Who you are, and what you may do",
            action=Action.SEE_ME,
            handler=me,
            reply=Me,
        )
    ]
