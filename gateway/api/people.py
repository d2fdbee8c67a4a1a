"""/api/people: people and service accounts, their profiles and roles."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from gateway.api.cursor import read_id_cursor, write_cursor
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, OrgParams, PageParams, Strict
from gateway.identity.keys import Source
from gateway.identity.people import NewPerson, People, Person, Wanted
from gateway.identity.postgres_people import Kind, Membership, State
from gateway.identity.profile import EMAIL_CHARS_MAX, NAME_CHARS_MAX, Profile
from gateway.identity.roles import Action, Reach, Role, named_org
from gateway.settings.limits import Id

RoleName = Literal["owner", "billing", "auditor", "lead", "member"]
_SOURCE = "`file`: declared in limits.yaml; only the profile can be changed here."


class RoleHeld(Strict):
    """``lead`` and ``member`` are roles in a team, the others in the whole organisation."""

    role: RoleName
    team: Annotated[Id | None, Field(description="For `lead` and `member`.")] = None

    def membership(self) -> Membership:
        return Membership(self.team, Role(self.role))


class ProfileBody(Strict):
    """Stored encrypted. What is left out is not known (any more)."""

    name: Annotated[str | None, Field(max_length=NAME_CHARS_MAX)] = None
    email: Annotated[str | None, Field(max_length=EMAIL_CHARS_MAX)] = None
    phone: Annotated[str | None, Field(max_length=40, examples=["+33 6 12 34 56 78"])] = None

    def profile(self) -> Profile:
        return Profile(self.name, self.email, self.phone)


class NewPersonBody(ProfileBody):
    id: Annotated[
        Id | None,
        Field(description="Stays in usage and in the audit log, so it should say nothing. Default: made up."),
    ] = None
    kind: Annotated[Kind, Field(description="`service`: an account that programs use.")] = "person"
    roles: Annotated[tuple[RoleHeld, ...], Field(max_length=100)] = ()


class PersonPath(OrgParams):
    id: Id


class RolePath(PersonPath):
    role: RoleName
    team: Id | None = None


class PeopleParams(PageParams):
    kind: Kind | None = None
    email: Annotated[
        str | None, Field(max_length=EMAIL_CHARS_MAX, description="Who has this address, in any spelling.")
    ] = None
    team: Annotated[Id | None, Field(description="Only who belongs to this team.")] = None


class RoleView(BaseModel):
    role: RoleName
    team: str | None


class PersonView(BaseModel):
    id: str
    org: str
    kind: Kind
    state: State
    source: Annotated[Source, Field(description=_SOURCE)]
    name: str | None
    email: str | None
    phone: str | None
    roles: list[RoleView]
    created_at: datetime | None

    @classmethod
    def of(cls, person: Person) -> PersonView:
        return cls(
            id=person.user_id,
            org=person.org_id,
            kind=person.kind,
            state=person.state,
            source=person.source,
            name=person.profile.name,
            email=person.profile.email,
            phone=person.profile.phone,
            roles=[
                RoleView.model_validate({"role": one.role.value, "team": one.team_id})
                for one in person.memberships
            ],
            created_at=person.created_at,
        )


class PeoplePage(BaseModel):
    items: list[PersonView]
    next_cursor: str | None


class _Handlers:
    def __init__(self, people: People) -> None:
        self._people = people

    async def list(self, call: Call[PeopleParams, NoBody]) -> PeoplePage:
        params = call.params
        after = read_id_cursor(params.cursor)
        wanted = Wanted(params.kind, params.email, params.team)
        found = await self._people.page(named_org(call.reach), call.reach, wanted, after, params.limit + 1)
        page, rest = found[: params.limit], found[params.limit :]
        cursor = write_cursor(page[-1].user_id) if rest else None
        return PeoplePage(items=[PersonView.of(person) for person in page], next_cursor=cursor)

    async def get(self, call: Call[PersonPath, NoBody]) -> PersonView:
        return PersonView.of(await self._people.get(named_org(call.reach), call.params.id, call.reach))

    async def create(self, call: Call[OrgParams, NewPersonBody]) -> PersonView:
        body = call.body
        memberships = tuple(held.membership() for held in body.roles)
        new = NewPerson(body.id, body.kind, body.profile(), memberships)
        return PersonView.of(await self._people.create(named_org(call.reach), new, by=call.principal))

    async def set_profile(self, call: Call[PersonPath, ProfileBody]) -> PersonView:
        org, user = await self._reached(call.params.id, call.reach)
        return PersonView.of(
            await self._people.set_profile(org, user, call.body.profile(), by=call.principal)
        )

    async def suspend(self, call: Call[PersonPath, NoBody]) -> PersonView:
        org, user = await self._reached(call.params.id, call.reach)
        return PersonView.of(await self._people.set_state(org, user, "suspended", by=call.principal))

    async def resume(self, call: Call[PersonPath, NoBody]) -> PersonView:
        org, user = await self._reached(call.params.id, call.reach)
        return PersonView.of(await self._people.set_state(org, user, "active", by=call.principal))

    async def grant(self, call: Call[PersonPath, RoleHeld]) -> PersonView:
        org = named_org(call.reach)
        return PersonView.of(
            await self._people.grant(org, call.params.id, call.body.membership(), by=call.principal)
        )

    async def withdraw(self, call: Call[RolePath, NoBody]) -> PersonView:
        org, user = await self._reached(call.params.id, call.reach)
        membership = Membership(call.params.team, Role(call.params.role))
        return PersonView.of(await self._people.withdraw(org, user, membership, by=call.principal))

    async def _reached(self, user: str, reach: Reach) -> tuple[str, str]:
        """Organisation and user. Raises `NotFound` for who is out of reach."""
        org = named_org(reach)
        await self._people.get(org, user, reach)
        return org, user


def people_operations(people: People) -> list[AnyOperation]:
    handlers = _Handlers(people)
    example = {
        "id": "ada",
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "roles": [{"role": "member", "team": "research"}],
    }
    return [
        Operation(
            method="GET",
            path="/api/people",
            name="list_people",
            tag="People",
            summary="People and service accounts that you may see",
            action=Action.SEE_PEOPLE,
            handler=handlers.list,
            params=PeopleParams,
            reply=PeoplePage,
            errors=(501,),
        ),
        Operation(
            method="POST",
            path="/api/people",
            name="create_person",
            tag="People",
            summary="Make a person or a service account",
            description="Team leads make them in their teams. Nobody gives a role above their own.",
            action=Action.SET_PEOPLE,
            handler=handlers.create,
            params=OrgParams,
            body=NewPersonBody,
            reply=PersonView,
            status=201,
            errors=(404, 409, 501),
            example=example,
        ),
        Operation(
            method="GET",
            path="/api/people/{id}",
            name="get_person",
            tag="People",
            summary="One person or service account",
            action=Action.SEE_PEOPLE,
            handler=handlers.get,
            params=PersonPath,
            reply=PersonView,
            errors=(404,),
        ),
        Operation(
            method="PUT",
            path="/api/people/{id}/profile",
            name="set_profile",
            tag="People",
            summary="Replace a profile",
            description="Also of who is declared in limits.yaml, which is no place for personal data.",
            action=Action.SET_PEOPLE,
            handler=handlers.set_profile,
            params=PersonPath,
            body=ProfileBody,
            reply=PersonView,
            errors=(404, 409, 501),
            example={"name": "Ada Lovelace", "email": "ada@example.com", "phone": "+33612345678"},
        ),
        *_state_operations(handlers),
        *_role_operations(handlers),
    ]


def _state_operations(handlers: _Handlers) -> list[AnyOperation]:
    return [
        Operation(
            method="POST",
            path="/api/people/{id}/suspend",
            name="suspend_person",
            tag="People",
            summary="Stop all keys of somebody within a second, until resumed",
            action=Action.SET_PEOPLE,
            handler=handlers.suspend,
            params=PersonPath,
            reply=PersonView,
            errors=(404, 409),
        ),
        Operation(
            method="POST",
            path="/api/people/{id}/resume",
            name="resume_person",
            tag="People",
            summary="Let the keys of somebody who was suspended work again",
            action=Action.SET_PEOPLE,
            handler=handlers.resume,
            params=PersonPath,
            reply=PersonView,
            errors=(404, 409),
        ),
    ]


def _role_operations(handlers: _Handlers) -> list[AnyOperation]:
    return [
        Operation(
            method="POST",
            path="/api/people/{id}/roles",
            name="grant_role",
            tag="People",
            summary="Give somebody a role; again does nothing",
            description="Nobody gives a role above their own; leads give roles in their teams.",
            action=Action.SET_PEOPLE,
            handler=handlers.grant,
            params=PersonPath,
            body=RoleHeld,
            reply=PersonView,
            errors=(404, 409),
            example={"role": "lead", "team": "research"},
        ),
        Operation(
            method="DELETE",
            path="/api/people/{id}/roles/{role}",
            name="withdraw_role",
            tag="People",
            summary="Take a role away, on every gateway within a second",
            description="With their last role in a team, their keys that count for it are revoked. The last owner of "
            "an organisation stays one (409).",
            action=Action.SET_PEOPLE,
            handler=handlers.withdraw,
            params=RolePath,
            reply=PersonView,
            errors=(404, 409),
        ),
    ]
