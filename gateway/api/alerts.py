"""/api/alerts: the inbox."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from gateway.alerts.kind import AlertKind, Severity
from gateway.alerts.postgres_book import Alert, AlertBook
from gateway.api.cursor import read_instant_cursor, write_cursor
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, OrgParams, PageParams
from gateway.identity.roles import Action, named_org

AlertId = Annotated[str, Field(min_length=1, max_length=100)]


class AlertsParams(PageParams):
    kind: Annotated[AlertKind | None, Field(description="Only alerts of this kind.")] = None
    unread: Annotated[bool, Field(description="true: only those that you have not read.")] = False


class AlertParams(OrgParams):
    id: AlertId


class AlertView(BaseModel):
    id: str
    kind: AlertKind
    severity: Severity
    team_id: str | None
    user_id: str | None
    key_id: str | None
    occurred_at: datetime
    read_at: Annotated[datetime | None, Field(description="When you read it.")]
    sent: Annotated[
        bool,
        Field(
            description="Whether it went to whoever wants to be told, which may be nobody; false: a lower level that "
            "was passed at once with one that did."
        ),
    ]
    data: Annotated[dict[str, Any], Field(description="What it says, by kind; amounts said twice.")]

    @classmethod
    def of(cls, alert: Alert) -> AlertView:
        return cls(
            id=alert.alert_id,
            kind=AlertKind(alert.kind),
            severity=Severity(alert.severity),
            team_id=alert.team_id,
            user_id=alert.user_id,
            key_id=alert.key_id,
            occurred_at=alert.occurred_at,
            read_at=alert.read_at,
            sent=alert.sent,
            data=alert.data,
        )


class AlertPage(BaseModel):
    items: list[AlertView]
    unread: Annotated[int, Field(description="How many that were sent you have not read, in all.")]
    next_cursor: str | None


class _Handlers:
    def __init__(self, book: AlertBook) -> None:
        self._book = book

    async def list(self, call: Call[AlertsParams, NoBody]) -> AlertPage:
        params, org, reader = call.params, named_org(call.reach), call.principal.actor
        alerts = await self._book.page(
            org, call.reach, reader, kind=params.kind, unread=params.unread, after=read_instant_cursor(params.cursor),
            limit=params.limit + 1,
        )  # fmt: skip
        page, more = alerts[: params.limit], len(alerts) > params.limit
        last = page[-1] if page else None
        return AlertPage(
            items=[AlertView.of(alert) for alert in page],
            unread=await self._book.unread(org, call.reach, reader),
            next_cursor=write_cursor(last.occurred_at, last.alert_id) if more and last else None,
        )

    async def read(self, call: Call[AlertParams, NoBody]) -> None:
        org = named_org(call.reach)
        await self._book.read(org, call.reach, call.principal.actor, call.params.id)


def alert_operations(book: AlertBook) -> list[AnyOperation]:
    handlers = _Handlers(book)
    return [
        Operation(
            method="GET",
            path="/api/alerts",
            name="list_alerts",
            tag="Alerts",
            summary="What happened to limits and balances, the newest first",
            action=Action.SEE_ALERTS,
            handler=handlers.list,
            params=AlertsParams,
            reply=AlertPage,
        ),
        Operation(
            method="POST",
            path="/api/alerts/{id}/read",
            name="read_alert",
            tag="Alerts",
            summary="Mark an alert as read, for yourself",
            action=Action.SEE_ALERTS,
            handler=handlers.read,
            params=AlertParams,
            errors=(404,),
        ),
    ]
