"""/api/webhooks: endpoints that are told of alerts, their secrets, and what became of each message."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from gateway.alerts.kind import AlertKind
from gateway.alerts.postgres_deliveries import AttemptRow, DeliveryRow, DeliveryTable
from gateway.alerts.postgres_webhooks import Endpoint, WebhookTable
from gateway.api.credit_fields import Instant
from gateway.api.cursor import read_cursor, write_cursor
from gateway.api.operation import LINE, AnyOperation, Call, NoBody, Operation, OrgParams, PageParams, Strict
from gateway.errors import BadRequest
from gateway.identity.roles import Action, named_org

EndpointId = Annotated[str, Field(min_length=1, max_length=100)]
State = Literal["pending", "delivered", "failed", "cancelled"]
Kinds = Annotated[tuple[AlertKind, ...] | None, Field(max_length=50, description="null: every kind.")]


class EndpointParams(OrgParams):
    id: EndpointId


class DeliveriesParams(PageParams):
    id: EndpointId
    state: State | None = None


class DeliveryParams(OrgParams):
    id: EndpointId
    delivery_id: Annotated[str, Field(min_length=1, max_length=100)]


class EndpointBody(Strict):
    url: Annotated[str, Field(description="https, and of the public internet.", max_length=2000)]
    description: Annotated[str, Field(max_length=500, pattern=LINE)] = ""
    kinds: Kinds = None


class EndpointChange(Strict):
    """What is left out stays."""

    url: Annotated[str | None, Field(max_length=2000)] = None
    description: Annotated[str | None, Field(max_length=500, pattern=LINE)] = None
    kinds: Kinds = None
    active: Annotated[bool | None, Field(description="false: nothing is sent; what waits is dropped.")] = None


class ReplayBody(Strict):
    """One delivery by its id, or those of a time."""

    delivery_id: Annotated[str | None, Field(max_length=100)] = None
    since: Instant | None = None
    until: Instant | None = None
    state: Annotated[State | None, Field(description="Of a time: only those that ended so.")] = None


class EndpointView(BaseModel):
    id: str
    url: str
    description: str
    kinds: list[str] | None
    active: bool
    disabled_reason: str | None
    created_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, endpoint: Endpoint) -> EndpointView:
        return cls(
            id=endpoint.endpoint_id,
            url=endpoint.url,
            description=endpoint.description,
            kinds=None if endpoint.kinds is None else list(endpoint.kinds),
            active=endpoint.disabled_reason is None,
            disabled_reason=endpoint.disabled_reason,
            created_at=endpoint.created_at,
            changed_at=endpoint.changed_at,
        )


class NewEndpoint(EndpointView):
    secret: Annotated[str, Field(description="Signs every message. It is shown once, here.")]


class EndpointPage(BaseModel):
    items: list[EndpointView]
    next_cursor: str | None


class NewSecret(BaseModel):
    secret: Annotated[str, Field(description="It is shown once, here.")]
    former_valid_until: Annotated[
        datetime, Field(description="Until then messages are signed by the former secret as well.")
    ]


class DeliveryView(BaseModel):
    id: str
    message_id: Annotated[str, Field(description="`webhook-id`: the same for every attempt and replay.")]
    alert_id: str | None
    kind: Annotated[AlertKind | None, Field(description="null: a test.")]
    state: State
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    ended_at: datetime | None
    replay_of: str | None

    @classmethod
    def of(cls, row: DeliveryRow) -> DeliveryView:
        return cls(
            id=row.delivery_id,
            message_id=row.message_id,
            alert_id=row.alert_id,
            kind=None if row.kind is None else AlertKind(row.kind),
            state=row.state,  # type: ignore[arg-type]  # the table allows no others
            attempts=row.attempts,
            created_at=row.created_at,
            next_attempt_at=row.due_at if row.state == "pending" else None,
            ended_at=row.ended_at,
            replay_of=row.replay_of,
        )


class DeliveryPage(BaseModel):
    items: list[DeliveryView]
    next_cursor: str | None


class AttemptView(BaseModel):
    attempt: int
    at: datetime
    duration_ms: int
    outcome: Literal["delivered", "failed", "refused"]
    status: int | None
    reason: str

    @classmethod
    def of(cls, row: AttemptRow) -> AttemptView:
        return cls(
            attempt=row.attempt,
            at=row.at,
            duration_ms=row.duration_ms,
            outcome=row.outcome,  # type: ignore[arg-type]  # the table allows no others
            status=row.status,
            reason=row.reason,
        )


class AttemptList(BaseModel):
    items: list[AttemptView]
    next_cursor: None = None


class Queued(BaseModel):
    deliveries: Annotated[list[str], Field(description="Ids of the deliveries that were queued.")]


class _Handlers:
    def __init__(self, webhooks: WebhookTable, deliveries: DeliveryTable) -> None:
        self._webhooks = webhooks
        self._deliveries = deliveries

    async def list(self, call: Call[PageParams, NoBody]) -> EndpointPage:
        position = read_cursor(call.params.cursor, 1)
        after = None if position is None else str(position[0])
        found = await self._webhooks.page(named_org(call.reach), after, call.params.limit + 1)
        page, more = found[: call.params.limit], len(found) > call.params.limit
        cursor = write_cursor(page[-1].endpoint_id) if more else None
        return EndpointPage(items=[EndpointView.of(one) for one in page], next_cursor=cursor)

    async def get(self, call: Call[EndpointParams, NoBody]) -> EndpointView:
        return EndpointView.of(await self._webhooks.get(named_org(call.reach), call.params.id))

    async def add(self, call: Call[OrgParams, EndpointBody]) -> NewEndpoint:
        body = call.body
        endpoint, secret = await self._webhooks.add(
            named_org(call.reach), body.url, body.description, _kinds(body.kinds), actor=call.principal.actor
        )
        return NewEndpoint(**EndpointView.of(endpoint).model_dump(), secret=secret)

    async def change(self, call: Call[EndpointParams, EndpointChange]) -> EndpointView:
        body = call.body
        changes = {
            name: getattr(body, name)
            for name in ("url", "description", "active")
            if getattr(body, name) is not None
        }
        if "kinds" in body.model_fields_set:
            changes["kinds"] = _kinds(body.kinds)
        changed = await self._webhooks.change(
            named_org(call.reach), call.params.id, changes, actor=call.principal.actor
        )
        return EndpointView.of(changed)

    async def remove(self, call: Call[EndpointParams, NoBody]) -> None:
        await self._webhooks.remove(named_org(call.reach), call.params.id, actor=call.principal.actor)

    async def rotate(self, call: Call[EndpointParams, NoBody]) -> NewSecret:
        secret, until = await self._webhooks.rotate(
            named_org(call.reach), call.params.id, actor=call.principal.actor
        )
        return NewSecret(secret=secret, former_valid_until=until)

    async def ping(self, call: Call[EndpointParams, NoBody]) -> Queued:
        made = await self._webhooks.ping(named_org(call.reach), call.params.id, actor=call.principal.actor)
        return Queued(deliveries=[made])

    async def deliveries(self, call: Call[DeliveriesParams, NoBody]) -> DeliveryPage:
        params, org = call.params, named_org(call.reach)
        endpoint = await self._webhooks.get(org, params.id)
        position = read_cursor(params.cursor, 1)
        if position is not None and not isinstance(position[0], int):
            raise BadRequest("cursor: is of another list", param="cursor")
        found = await self._deliveries.page(
            org, target=endpoint.target, state=params.state, before=None if position is None else position[0],
            limit=params.limit + 1,
        )  # fmt: skip
        page, more = found[: params.limit], len(found) > params.limit
        cursor = write_cursor(page[-1].sequence) if more else None
        return DeliveryPage(items=[DeliveryView.of(row) for row in page], next_cursor=cursor)

    async def attempts(self, call: Call[DeliveryParams, NoBody]) -> AttemptList:
        org = named_org(call.reach)
        endpoint = await self._webhooks.get(org, call.params.id)
        found = await self._deliveries.attempts(org, endpoint.target, call.params.delivery_id)
        return AttemptList(items=[AttemptView.of(row) for row in found])

    async def replay(self, call: Call[EndpointParams, ReplayBody]) -> Queued:
        org, body = named_org(call.reach), call.body
        if (body.delivery_id is None) == (body.since is None):
            raise BadRequest("since: name either one delivery_id or a time since when", param="since")
        endpoint = await self._webhooks.get(org, call.params.id)
        made = await self._deliveries.replay(
            org, endpoint.target, call.now, actor=call.principal.actor, delivery_id=body.delivery_id,
            since=body.since, until=body.until, state=body.state,
        )  # fmt: skip
        return Queued(deliveries=made)


def webhook_operations(webhooks: WebhookTable, deliveries: DeliveryTable) -> list[AnyOperation]:
    handlers = _Handlers(webhooks, deliveries)
    return [*_endpoints(handlers), *_secrets_and_tests(handlers), *_messages(handlers)]


def _endpoints(handlers: _Handlers) -> list[AnyOperation]:
    see, change = Action.SEE_WEBHOOKS, Action.SET_WEBHOOKS
    return [
        Operation(
            method="GET", path="/api/webhooks", name="list_webhooks", tag="Webhooks", action=see,
            summary="Endpoints that are told of alerts", handler=handlers.list, params=PageParams,
            reply=EndpointPage,
        ),
        Operation(
            method="POST", path="/api/webhooks", name="add_webhook", tag="Webhooks", action=change,
            summary="Have an endpoint told of alerts", handler=handlers.add, params=OrgParams,
            body=EndpointBody, reply=NewEndpoint, status=201, errors=(409, 501),
            description="Messages are made and signed by Standard Webhooks (https://www.standardwebhooks.com).",
            example={"url": "https://example.com/hooks/tollgate", "kinds": ["budget_threshold"]},
        ),
        Operation(
            method="GET", path="/api/webhooks/{id}", name="get_webhook", tag="Webhooks", action=see,
            summary="One endpoint", handler=handlers.get, params=EndpointParams, reply=EndpointView,
            errors=(404,),
        ),
        Operation(
            method="PATCH", path="/api/webhooks/{id}", name="change_webhook", tag="Webhooks", action=change,
            summary="Change an endpoint, or take it in or out of use", handler=handlers.change,
            params=EndpointParams, body=EndpointChange, reply=EndpointView, errors=(404,),
            example={"active": True},
        ),
        Operation(
            method="DELETE", path="/api/webhooks/{id}", name="remove_webhook", tag="Webhooks", action=change,
            summary="Remove an endpoint; what waits for it is dropped", handler=handlers.remove,
            params=EndpointParams, errors=(404,),
        ),
    ]  # fmt: skip


def _secrets_and_tests(handlers: _Handlers) -> list[AnyOperation]:
    change = Action.SET_WEBHOOKS
    return [
        Operation(
            method="POST", path="/api/webhooks/{id}/rotate", name="rotate_webhook_secret", tag="Webhooks",
            summary="A new secret; the former one signs for another day", action=change,
            handler=handlers.rotate, params=EndpointParams, reply=NewSecret, errors=(404, 409, 501),
        ),
        Operation(
            method="POST", path="/api/webhooks/{id}/test", name="test_webhook", tag="Webhooks", action=change,
            summary="Send a test message", handler=handlers.ping, params=EndpointParams, reply=Queued,
            status=202, errors=(404, 409),
        ),
    ]  # fmt: skip


def _messages(handlers: _Handlers) -> list[AnyOperation]:
    see, change = Action.SEE_WEBHOOKS, Action.SET_WEBHOOKS
    return [
        Operation(
            method="GET", path="/api/webhooks/{id}/deliveries", name="list_webhook_deliveries",
            tag="Webhooks", action=see, summary="What was sent to an endpoint, the newest first",
            handler=handlers.deliveries, params=DeliveriesParams, reply=DeliveryPage, errors=(404,),
        ),
        Operation(
            method="GET", path="/api/webhooks/{id}/deliveries/{delivery_id}/attempts",
            name="list_webhook_attempts", tag="Webhooks", action=see,
            summary="Every attempt to deliver a message", handler=handlers.attempts, params=DeliveryParams,
            reply=AttemptList, errors=(404,),
        ),
        Operation(
            method="POST", path="/api/webhooks/{id}/replay", name="replay_webhook", tag="Webhooks",
            action=change, summary="Send messages again, one or those of a time", handler=handlers.replay,
            params=EndpointParams, body=ReplayBody, reply=Queued, status=202, errors=(404,),
            description="Under the same message ids, the oldest first, at most 1,000 at once.",
            example={"since": "2026-11-22T00:00:00Z", "state": "failed"},
        ),
    ]  # fmt: skip


def _kinds(kinds: tuple[AlertKind, ...] | None) -> tuple[str, ...] | None:
    return None if kinds is None else tuple(kind.value for kind in kinds)
