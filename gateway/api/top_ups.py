"""/api/credits/purchase and top-ups: buying credits, and saying that the money came."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, Field

from gateway.api.amount import Amount
from gateway.api.credit_fields import Credits, Note, TopUpId
from gateway.api.cursor import read_instant_cursor, write_cursor
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, OrgParams, PageParams, Strict
from gateway.errors import NotFound
from gateway.identity.roles import Action, Principal, Reach, named_org
from gateway.ledger.grants import NOT_PREPAID_NOTE
from gateway.ledger.postgres_topups import Buyer, TopUps
from gateway.ledger.topups import TopUp, TopUpStatus


class Money(BaseModel):
    """An amount of money, said twice."""

    minor: Annotated[int, Field(description="In the smallest unit of the currency; exact.", examples=[1250])]
    currency: Annotated[str, Field(examples=["USD"])]
    text: Annotated[str, Field(examples=["12.50 USD"])]


class PurchaseWanted(Strict):
    credits: Credits


class TopUpView(BaseModel):
    """Credits that somebody wants to buy. They are granted when the top-up is confirmed, once."""

    id: str
    org: str
    amount: Amount
    price: Money
    status: TopUpStatus
    requested_by: str
    created_at: datetime
    changed_at: datetime
    changed_by: str
    reason: str
    provider: Annotated[str, Field(description="Who takes the money.")]
    reference: Annotated[str | None, Field(description="What the provider calls it.")]
    url: Annotated[str | None, Field(description="Where to pay.")]
    instructions: str
    grant_id: Annotated[str | None, Field(description="The grant that it became.")]

    @classmethod
    def of(cls, top_up: TopUp) -> TopUpView:
        return cls(
            id=top_up.top_up_id,
            org=top_up.org_id,
            amount=Amount.of(top_up.amount_microcredits),
            price=Money(minor=top_up.price_minor, currency=top_up.currency, text=top_up.price),
            status=top_up.status,
            requested_by=top_up.requested_by,
            created_at=top_up.created_at,
            changed_at=top_up.changed_at,
            changed_by=top_up.changed_by,
            reason=top_up.reason,
            provider=top_up.provider,
            reference=top_up.reference,
            url=top_up.url,
            instructions=top_up.instructions,
            grant_id=top_up.grant_id,
        )


class PurchaseView(TopUpView):
    note: Annotated[
        str | None, Field(description="Of an organisation that is not prepaid: that it does not use credits.")
    ]


class TopUpPage(BaseModel):
    items: list[TopUpView]
    next_cursor: str | None


class TopUpsParams(PageParams):
    status: Annotated[TopUpStatus | None, Field(description="Only those that are this.")] = None


class TopUpParams(OrgParams):
    top_up_id: TopUpId


class TopUpDecision(Strict):
    reason: Note = ""


class _Handlers:
    def __init__(
        self,
        top_ups: TopUps,
        credit_usd: Callable[[], Decimal],
        check_org: Callable[[str], Awaitable[object]],
        prepaid: Callable[[str], bool],
    ) -> None:
        self._top_ups = top_ups
        self._prepaid = prepaid
        self._credit_usd = credit_usd
        self._check_org = check_org

    async def purchase(self, call: Call[OrgParams, PurchaseWanted]) -> PurchaseView:
        org, principal = named_org(call.reach), call.principal
        await self._check_org(org)
        assert call.idempotency_key is not None
        buyer = Buyer(org, principal.actor, principal.user_id)
        top_up = await self._top_ups.request(
            buyer,
            call.body.credits,
            self._credit_usd(),
            idempotency_key=_own(call.idempotency_key, principal),
        )
        note = None if self._prepaid(org) else NOT_PREPAID_NOTE
        return PurchaseView(**dict(TopUpView.of(top_up)), note=note)

    async def list(self, call: Call[TopUpsParams, NoBody]) -> TopUpPage:
        params = call.params
        found = await self._top_ups.page(
            call.reach.org_id,
            params.limit + 1,
            read_instant_cursor(params.cursor),
            status=params.status,
            requested_by=None if call.reach.whole else [call.principal.actor],
        )
        page = found[: params.limit]
        more = len(found) > params.limit
        return TopUpPage(
            items=[TopUpView.of(top_up) for top_up in page],
            next_cursor=write_cursor(page[-1].created_at, page[-1].top_up_id) if more else None,
        )

    async def get(self, call: Call[TopUpParams, NoBody]) -> TopUpView:
        return TopUpView.of(await self._find(call.reach, call.principal, call.params.top_up_id))

    async def confirm(self, call: Call[TopUpParams, TopUpDecision]) -> TopUpView:
        top_up = await self._find(call.reach, call.principal, call.params.top_up_id)
        confirmed = await self._top_ups.confirm(
            top_up.org_id, top_up.top_up_id, actor=call.principal.actor, reason=call.body.reason
        )
        return TopUpView.of(confirmed)

    async def cancel(self, call: Call[TopUpParams, TopUpDecision]) -> TopUpView:
        top_up = await self._find(call.reach, call.principal, call.params.top_up_id)
        cancelled = await self._top_ups.cancel(
            top_up.org_id, top_up.top_up_id, actor=call.principal.actor, reason=call.body.reason
        )
        return TopUpView.of(cancelled)

    async def _find(self, reach: Reach, principal: Principal, top_up_id: str) -> TopUp:
        """Raises `NotFound` also for what is out of reach."""
        org = reach.org_id or await self._top_ups.org_of(top_up_id)
        top_up = await self._top_ups.find(org, top_up_id)
        if not reach.whole and top_up.requested_by != principal.actor:
            raise NotFound(f"There is no top-up {top_up_id} in {org}.")
        return top_up


def _own(idempotency_key: str, principal: Principal) -> str:
    """Two people may well choose the same key: neither is answered with the other's top-up."""
    return hashlib.sha256(f"{principal.actor}\n{idempotency_key}".encode()).hexdigest()


def top_up_operations(
    top_ups: TopUps,
    credit_usd: Callable[[], Decimal],
    check_org: Callable[[str], Awaitable[object]],
    prepaid: Callable[[str], bool],
) -> list[AnyOperation]:
    """``credit_usd``: what a credit is worth now. ``check_org`` raises `NotFound` for an organisation that is not
    there; ``prepaid``: whether it uses credits."""
    handlers = _Handlers(top_ups, credit_usd, check_org, prepaid)
    return [*_asking(handlers), *_deciding(handlers)]


def _asking(handlers: _Handlers) -> list[AnyOperation]:
    return [
        Operation(
            method="POST",
            path="/api/credits/purchase",
            name="purchase_credits",
            tag="Credits",
            summary="Ask to buy credits",
            description="Makes a pending top-up; `instructions` say how to pay. The credits come when it is confirmed. "
            "`note` says so where they cannot be spent, since the organisation is not prepaid.",
            action=Action.BUY,
            handler=handlers.purchase,
            params=OrgParams,
            body=PurchaseWanted,
            reply=PurchaseView,
            status=201,
            errors=(404, 409),
            idempotent=True,
            example={"credits": "1000"},
        ),
        Operation(
            method="GET",
            path="/api/credits/top-ups",
            name="list_top_ups",
            tag="Credits",
            summary="Top-ups, newest first",
            action=Action.SEE_TOP_UPS,
            handler=handlers.list,
            params=TopUpsParams,
            reply=TopUpPage,
        ),
        Operation(
            method="GET",
            path="/api/credits/top-ups/{top_up_id}",
            name="get_top_up",
            tag="Credits",
            summary="One top-up",
            action=Action.SEE_TOP_UPS,
            handler=handlers.get,
            params=TopUpParams,
            reply=TopUpView,
            errors=(404,),
        ),
    ]


def _deciding(handlers: _Handlers) -> list[AnyOperation]:
    return [
        Operation(
            method="POST",
            path="/api/credits/top-ups/{top_up_id}/confirm",
            name="confirm_top_up",
            tag="Credits",
            summary="The money came: grant the credits",
            description="However often it is confirmed, it becomes one grant.",
            action=Action.CONFIRM_TOP_UPS,
            handler=handlers.confirm,
            params=TopUpParams,
            body=TopUpDecision,
            reply=TopUpView,
            errors=(404, 409),
            idempotent=True,
            example={"reason": "bank transfer of 2026-11-20"},
        ),
        Operation(
            method="POST",
            path="/api/credits/top-ups/{top_up_id}/cancel",
            name="cancel_top_up",
            tag="Credits",
            summary="Nobody will pay this",
            action=Action.BUY,
            handler=handlers.cancel,
            params=TopUpParams,
            body=TopUpDecision,
            reply=TopUpView,
            errors=(404, 409),
            idempotent=True,
            example={"reason": "ordered twice"},
        ),
    ]
