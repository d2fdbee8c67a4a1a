"""/api/teams: teams of an organisation, those of limits.yaml and those made here."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from gateway.api.cursor import read_id_cursor, write_cursor
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, OrgParams, PageParams, Strict
from gateway.api.orgs import AllowedModels, AllowedOperations, Name
from gateway.errors import NotFound
from gateway.identity.keys import Source
from gateway.identity.roles import Action, named_org
from gateway.identity.teams import Team, TeamProfile, Teams
from gateway.settings.limits import Id


class TeamChanges(Strict):
    """What is not sent stays as it is."""

    name: Name = ""
    allowed_models: AllowedModels = None
    allowed_operations: AllowedOperations = None

    def changes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}


class NewTeam(TeamChanges):
    id: Id


class TeamPath(OrgParams):
    team: Id


class TeamView(BaseModel):
    id: str
    org: str
    source: Annotated[Source, Field(description="`file`: declared in limits.yaml and only changed there.")]
    name: str
    allowed_models: list[str] | None
    allowed_operations: list[str] | None
    created_at: datetime | None

    @classmethod
    def of(cls, team: Team) -> TeamView:
        said = team.profile
        return cls(
            id=team.team_id,
            org=team.org_id,
            source=team.source,
            name=said.name,
            allowed_models=None if said.allowed_models is None else list(said.allowed_models),
            allowed_operations=None if said.allowed_operations is None else list(said.allowed_operations),
            created_at=team.created_at,
        )


class TeamPage(BaseModel):
    items: list[TeamView]
    next_cursor: str | None


class _Handlers:
    def __init__(self, teams: Teams) -> None:
        self._teams = teams

    async def list(self, call: Call[PageParams, NoBody]) -> TeamPage:
        after = read_id_cursor(call.params.cursor)
        found = await self._teams.page(named_org(call.reach), call.reach, after, call.params.limit + 1)
        page, rest = found[: call.params.limit], found[call.params.limit :]
        cursor = write_cursor(page[-1].team_id) if rest else None
        return TeamPage(items=[TeamView.of(team) for team in page], next_cursor=cursor)

    async def get(self, call: Call[TeamPath, NoBody]) -> TeamView:
        if not call.reach.covers(call.params.team, None):
            raise NotFound(f"There is no team {call.params.team!r}.", param="team")
        return TeamView.of(await self._teams.get(named_org(call.reach), call.params.team))

    async def create(self, call: Call[OrgParams, NewTeam]) -> TeamView:
        said = {name: value for name, value in call.body.changes().items() if name != "id"}
        profile = TeamProfile(**{"name": call.body.id, **said})
        org = named_org(call.reach)
        return TeamView.of(await self._teams.create(org, call.body.id, profile, actor=call.principal.actor))

    async def change(self, call: Call[TeamPath, TeamChanges]) -> TeamView:
        org = named_org(call.reach)
        changed = await self._teams.change(
            org, call.params.team, call.body.changes(), actor=call.principal.actor
        )
        return TeamView.of(changed)


def team_operations(teams: Teams) -> list[AnyOperation]:
    handlers = _Handlers(teams)
    return [
        Operation(
            method="GET",
            path="/api/teams",
            name="list_teams",
            tag="Teams",
            summary="Teams that you may see",
            action=Action.SEE_TEAMS,
            handler=handlers.list,
            params=PageParams,
            reply=TeamPage,
        ),
        Operation(
            method="POST",
            path="/api/teams",
            name="create_team",
            tag="Teams",
            summary="Make a team, in force on every gateway within a second",
            action=Action.SET_TEAMS,
            handler=handlers.create,
            params=OrgParams,
            body=NewTeam,
            reply=TeamView,
            status=201,
            errors=(404, 409),
            example={"id": "research", "name": "Research", "allowed_models": ["gpt-*", "claude-*"]},
        ),
        Operation(
            method="GET",
            path="/api/teams/{team}",
            name="get_team",
            tag="Teams",
            summary="One team",
            action=Action.SEE_TEAMS,
            handler=handlers.get,
            params=TeamPath,
            reply=TeamView,
            errors=(404,),
        ),
        Operation(
            method="PATCH",
            path="/api/teams/{team}",
            name="change_team",
            tag="Teams",
            summary="Change what is said of a team",
            description="What is not sent stays as it is. Teams of limits.yaml are changed there (409).",
            action=Action.SET_TEAMS,
            handler=handlers.change,
            params=TeamPath,
            body=TeamChanges,
            reply=TeamView,
            errors=(404, 409),
            example={"allowed_operations": ["chat", "embedding"]},
        ),
    ]
