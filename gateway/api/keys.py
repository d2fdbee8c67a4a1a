"""/api/keys: client keys. A key is shown once, when it is made or rotated."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from gateway.api.credit_fields import Instant
from gateway.api.cursor import checked_id, read_cursor, write_cursor
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, OrgParams, PageParams, Strict
from gateway.api.orgs import AllowedModels, AllowedOperations
from gateway.errors import BadRequest
from gateway.identity.giving import KeyGiving
from gateway.identity.issuing import IssuedKey, NewKey
from gateway.identity.keys import Access, KeyRecord, Source
from gateway.identity.postgres_keys import ListedKey
from gateway.identity.roles import Action, named_org
from gateway.settings.limits import Id

_DECLARED, _MADE = "declared", "made"
State = Literal["active", "expired", "stopped"]


class NewKeyBody(Strict):
    """Bounds of the key that you ask with are passed on: what it may not do, the new one may not do."""

    name: Annotated[str, Field(min_length=1, max_length=200, examples=["Ada's laptop"])]
    user: Annotated[
        Id | None, Field(description="Whose it is; default: yours. null: a team's or the org's.")
    ] = None
    team: Annotated[
        Id | None, Field(description="Whose limits it counts for; default: the user's only team.")
    ] = None
    access: Annotated[
        Access,
        Field(
            description="What it may ask this API for: `calls`, to see its user's usage, limits and alerts; `role`, "
            "what its user's roles allow."
        ),
    ] = "calls"
    allowed_models: AllowedModels = None
    allowed_operations: AllowedOperations = None
    requests_per_minute: Annotated[int | None, Field(ge=1, le=10_000)] = None
    open_calls: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    expires_at: Instant | None = None
    trusted_attribution: Annotated[
        bool, Field(description="`x-tollgate-user` may carry a limit of its own. Owners only.")
    ] = False


class Rotation(Strict):
    old_valid_until: Annotated[
        Instant | None,
        Field(
            description="How long the old secret goes on working, at most 90 days; default: it stops now. Five old "
            "secrets work at a time, at most (409)."
        ),
    ] = None


class KeyPath(OrgParams):
    id: Id


class KeysParams(PageParams):
    user: Annotated[Id | None, Field(description="Only this user's.")] = None


class FormerView(BaseModel):
    prefix: str
    valid_until: datetime


class KeyView(BaseModel):
    id: str
    org: str
    team: str | None
    user: str | None
    source: Annotated[Source, Field(description="`file`: declared in limits.yaml and only changed there.")]
    state: Annotated[State, Field(description="`stopped`: revoked, or its user is suspended.")]
    name: Annotated[str | None, Field(description="Keys of limits.yaml have none.")]
    prefix: Annotated[str | None, Field(description="How the secret begins.")]
    access: Access
    allowed_models: list[str] | None
    allowed_operations: list[str] | None
    requests_per_minute: int | None
    open_calls: int | None
    trusted_attribution: bool
    expires_at: datetime | None
    created_at: datetime | None
    created_by: str | None
    rotated_at: datetime | None
    revoked_at: datetime | None
    former: Annotated[list[FormerView], Field(description="Old secrets that still work.")]


class MadeKeyView(KeyView):
    key: Annotated[str, Field(description="The secret itself. It is not kept and cannot be shown again.")]


class KeyPageView(BaseModel):
    items: list[KeyView]
    next_cursor: str | None


class _Handlers:
    def __init__(self, keys: KeyGiving) -> None:
        self._keys = keys

    async def list(self, call: Call[KeysParams, NoBody]) -> KeyPageView:
        params = call.params
        after_declared, after_made = _position(params.cursor)
        found = await self._keys.page(
            call.reach,
            user=params.user,
            after_declared=after_declared,
            after_made=after_made,
            limit=params.limit + 1,
        )
        lines: list[KeyRecord | ListedKey] = [*found.declared, *found.made]
        page, rest = lines[: params.limit], lines[params.limit :]
        return KeyPageView(
            items=[key_view(line, call.now) for line in page],
            next_cursor=_cursor(page[-1]) if rest else None,
        )

    async def create(self, call: Call[OrgParams, NewKeyBody]) -> MadeKeyView:
        body = call.body
        own = "user" not in body.model_fields_set
        new = NewKey(
            org_id=named_org(call.reach),
            name=body.name,
            team_id=body.team,
            user_id=call.principal.user_id if own else body.user,
            allowed_models=body.allowed_models,
            allowed_operations=body.allowed_operations,
            requests_per_minute=body.requests_per_minute,
            open_calls_max=body.open_calls,
            expires_at=body.expires_at,
            trusted_attribution=body.trusted_attribution,
            access=body.access,
        )
        return _made(
            await self._keys.create(new, by=call.principal, reach=call.reach, now=call.now), call.now
        )

    async def rotate(self, call: Call[KeyPath, Rotation]) -> MadeKeyView:
        issued = await self._keys.rotate(
            call.params.id,
            old_until=call.body.old_valid_until,
            by=call.principal,
            reach=call.reach,
            now=call.now,
        )
        return _made(issued, call.now)

    async def revoke(self, call: Call[KeyPath, NoBody]) -> KeyView:
        listed = await self._keys.revoke(call.params.id, by=call.principal, reach=call.reach)
        return key_view(listed, call.now)


def key_operations(keys: KeyGiving) -> list[AnyOperation]:
    handlers = _Handlers(keys)
    return [
        Operation(
            method="GET",
            path="/api/keys",
            name="list_keys",
            tag="Keys",
            summary="Keys that you may see",
            action=Action.SEE_KEYS,
            handler=handlers.list,
            params=KeysParams,
            reply=KeyPageView,
        ),
        Operation(
            method="POST",
            path="/api/keys",
            name="create_key",
            tag="Keys",
            summary="Make a key; it is shown this once",
            description="Members make keys for themselves, leads also for their teams, owners for anybody.",
            action=Action.SET_KEYS,
            handler=handlers.create,
            params=OrgParams,
            body=NewKeyBody,
            reply=MadeKeyView,
            status=201,
            errors=(404, 409),
            example={"name": "Ada's laptop", "user": "ada", "allowed_models": ["gpt-*"]},
        ),
        Operation(
            method="POST",
            path="/api/keys/{id}/rotate",
            name="rotate_key",
            tag="Keys",
            summary="Give a key another secret; it is shown this once",
            description="A key for calls may rotate itself and no other.",
            action=Action.ROTATE_KEYS,
            handler=handlers.rotate,
            params=KeyPath,
            body=Rotation,
            reply=MadeKeyView,
            errors=(404, 409),
            example={"old_valid_until": "2027-01-01T00:00:00Z"},
        ),
        Operation(
            method="POST",
            path="/api/keys/{id}/revoke",
            name="revoke_key",
            tag="Keys",
            summary="Stop a key on every gateway within a second; again does nothing",
            action=Action.SET_KEYS,
            handler=handlers.revoke,
            params=KeyPath,
            reply=KeyView,
            errors=(404, 409),
        ),
    ]


def key_view(line: KeyRecord | ListedKey, now: datetime) -> KeyView:
    """A key as anybody may see it who sees it at all."""
    listed = line if isinstance(line, ListedKey) else None
    record = line if isinstance(line, KeyRecord) else line.record
    expired = record.expires_at is not None and record.expires_at <= now
    former = () if listed is None else listed.former
    return KeyView(
        id=record.key_id,
        org=record.org_id,
        team=record.team_id,
        user=record.user_id,
        source=record.source,
        state="stopped" if record.revoked else "expired" if expired else "active",
        name=None if listed is None else listed.name,
        prefix=None if listed is None else listed.prefix,
        access=record.access,
        allowed_models=None if record.allowed_models is None else list(record.allowed_models),
        allowed_operations=None if record.allowed_operations is None else list(record.allowed_operations),
        requests_per_minute=record.requests_per_minute,
        open_calls=record.open_calls_max,
        trusted_attribution=record.trusted_attribution,
        expires_at=record.expires_at,
        created_at=None if listed is None else listed.created_at,
        created_by=None if listed is None else listed.created_by,
        rotated_at=None if listed is None else listed.rotated_at,
        revoked_at=None if listed is None else listed.revoked_at,
        former=[
            FormerView(prefix=one.prefix, valid_until=one.valid_until)
            for one in former
            if one.valid_until > now
        ],
    )


def _made(issued: IssuedKey, now: datetime) -> MadeKeyView:
    return MadeKeyView(key=issued.key, **key_view(issued.listed, now).model_dump())


def _cursor(line: KeyRecord | ListedKey) -> str:
    if isinstance(line, KeyRecord):
        return write_cursor(_DECLARED, line.key_id, None)
    return write_cursor(_MADE, line.record.key_id, line.created_at)


def _position(cursor: str | None) -> tuple[str | None, tuple[datetime, str] | None]:
    """(the last key of the file, the last of those made here). Raises `BadRequest`."""
    position = read_cursor(cursor, 3)
    if position is None:
        return None, None
    kind, key_id, created_at = position
    if kind == _DECLARED:
        return checked_id(key_id), None
    try:
        at = datetime.fromisoformat(created_at).astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest("cursor: is not one that a page before gave out", param="cursor") from error
    return None, (at, checked_id(key_id))
