"""/api/orgs: organisations, those of limits.yaml and those made here."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from gateway.api.cursor import read_id_cursor, write_cursor
from gateway.api.operation import LINE, AnyOperation, Call, NoBody, NoParams, Operation, PageParams, Strict
from gateway.errors import NotAllowed, NotFound
from gateway.identity.keys import Source
from gateway.identity.orgs import Org, OrgProfile, Orgs
from gateway.identity.roles import Action, Reach, Role
from gateway.settings.limits import Id, ModelPattern, OperationName, TimeZone, WeekStart

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=LINE)]
AllowedModels = Annotated[
    tuple[ModelPattern, ...] | None,
    Field(
        max_length=1000, description="`*` stands for any run of characters; null: all that is allowed above."
    ),
]
AllowedOperations = Annotated[
    tuple[OperationName, ...] | None, Field(max_length=20, description="null: all that is allowed above.")
]
KeptMonths = Annotated[
    int | None,
    Field(
        ge=1,
        le=1200,
        description="Single requests are removed when so many whole months have passed, their sums stay; null: never.",
    ),
]


class OrgChanges(Strict):
    """What is not sent stays as it is."""

    name: Name = ""
    time_zone: Annotated[TimeZone, Field(examples=["Europe/Paris"])] = "UTC"
    week_start: WeekStart = "monday"
    balance_required: Annotated[
        bool, Field(description="Prepaid: nothing runs without credits. Only the admin token may set it.")
    ] = False
    allowed_models: AllowedModels = None
    allowed_operations: AllowedOperations = None
    events_kept_months: KeptMonths = None

    def changes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}


class NewOrg(OrgChanges):
    id: Id
    name: Name = ""


class OrgPath(Strict):
    id: Id


class OrgView(BaseModel):
    id: str
    source: Annotated[Source, Field(description="`file`: declared in limits.yaml and only changed there.")]
    name: str
    time_zone: str
    week_start: WeekStart
    balance_required: bool
    allowed_models: list[str] | None
    allowed_operations: list[str] | None
    events_kept_months: int | None
    created_at: datetime | None

    @classmethod
    def of(cls, org: Org) -> OrgView:
        said = org.profile
        return cls(
            id=org.org_id,
            source=org.source,
            name=said.name,
            time_zone=said.time_zone,
            week_start=said.week_start,
            balance_required=said.balance_required,
            allowed_models=None if said.allowed_models is None else list(said.allowed_models),
            allowed_operations=None if said.allowed_operations is None else list(said.allowed_operations),
            events_kept_months=said.events_kept_months,
            created_at=org.created_at,
        )


class OrgPage(BaseModel):
    items: list[OrgView]
    next_cursor: str | None


class _Handlers:
    def __init__(self, orgs: Orgs) -> None:
        self._orgs = orgs

    async def list(self, call: Call[PageParams, NoBody]) -> OrgPage:
        if call.reach.org_id is not None:
            return OrgPage(items=[OrgView.of(await self._orgs.get(call.reach.org_id))], next_cursor=None)
        after = read_id_cursor(call.params.cursor)
        found = await self._orgs.page(after, call.params.limit + 1)
        page, rest = found[: call.params.limit], found[call.params.limit :]
        cursor = write_cursor(page[-1].org_id) if rest else None
        return OrgPage(items=[OrgView.of(org) for org in page], next_cursor=cursor)

    async def get(self, call: Call[OrgPath, NoBody]) -> OrgView:
        return OrgView.of(await self._orgs.get(_reached(call.params.id, call.reach)))

    async def create(self, call: Call[NoParams, NewOrg]) -> OrgView:
        said = {name: value for name, value in call.body.changes().items() if name != "id"}
        profile = OrgProfile(**{"name": call.body.id, **said})
        return OrgView.of(await self._orgs.create(call.body.id, profile, actor=call.principal.actor))

    async def change(self, call: Call[OrgPath, OrgChanges]) -> OrgView:
        org, changes = _reached(call.params.id, call.reach), call.body.changes()
        if "balance_required" in changes and Role.ADMIN not in call.principal.roles:
            raise NotAllowed(
                "Whether credits have to be bought first is not yours to decide.", param="balance_required"
            )
        return OrgView.of(await self._orgs.change(org, changes, actor=call.principal.actor))


def _reached(org: str, reach: Reach) -> str:
    """Raises `NotFound` for an organisation that is not one's own."""
    if reach.org_id not in (None, org):
        raise NotFound(f"There is no organisation {org!r} here.", param="id")
    return org


def org_operations(orgs: Orgs) -> list[AnyOperation]:
    handlers = _Handlers(orgs)
    example = {"id": "acme", "name": "Acme Ltd", "time_zone": "Europe/Paris", "balance_required": True}
    return [
        Operation(
            method="GET",
            path="/api/orgs",
            name="list_orgs",
            tag="Organisations",
            summary="Organisations: all of them for the admin token, else your own",
            action=Action.SEE_ORG,
            handler=handlers.list,
            params=PageParams,
            reply=OrgPage,
            errors=(404,),
        ),
        Operation(
            method="POST",
            path="/api/orgs",
            name="create_org",
            tag="Organisations",
            summary="Make an organisation, in force on every gateway within a second",
            action=Action.CREATE_ORGS,
            handler=handlers.create,
            body=NewOrg,
            reply=OrgView,
            status=201,
            errors=(409,),
            example=example,
        ),
        Operation(
            method="GET",
            path="/api/orgs/{id}",
            name="get_org",
            tag="Organisations",
            summary="One organisation",
            action=Action.SEE_ORG,
            handler=handlers.get,
            params=OrgPath,
            reply=OrgView,
            errors=(404,),
        ),
        Operation(
            method="PATCH",
            path="/api/orgs/{id}",
            name="change_org",
            tag="Organisations",
            summary="Change what is said of an organisation",
            description="What is not sent stays as it is. Organisations of limits.yaml are changed there (409).",
            action=Action.SET_ORG,
            handler=handlers.change,
            params=OrgPath,
            body=OrgChanges,
            reply=OrgView,
            errors=(404, 409),
            example={"time_zone": "Asia/Tokyo", "events_kept_months": 24},
        ),
    ]
