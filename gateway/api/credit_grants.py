"""/api/credits/grants, adjustments and refunds: credits given, corrected and given back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from gateway.api.amount import Amount
from gateway.api.credit_fields import Credits, Instant, Reason, SignedCredits, TransactionId
from gateway.api.cursor import read_cursor, write_cursor
from gateway.api.ledger_entries import EntryView, place_in_ledger
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, OrgParams, PageParams, Strict
from gateway.identity.roles import Action, Reach, named_org
from gateway.ledger import credits as books
from gateway.ledger.burning import GrantKind
from gateway.ledger.grants import NOT_PREPAID_NOTE, PRIORITY_DEFAULT, PRIORITY_MAX, NewGrant
from gateway.ledger.postgres_credits import Written
from gateway.ledger.postgres_reading import GrantStanding


class GrantWanted(Strict):
    credits: Credits
    kind: Annotated[
        Literal["promotion", "purchase"],
        Field(
            description="promotion: given for free, and used before what was paid for. purchase: paid for."
        ),
    ] = "promotion"
    reason: Reason
    priority: Annotated[
        int, Field(ge=0, le=PRIORITY_MAX, description="Grants of a lower number are used first.")
    ] = PRIORITY_DEFAULT
    expires_at: Annotated[
        Instant | None,
        Field(description="A whole minute; from then on what is left is gone. Nothing: never."),
    ] = None


class GrantView(BaseModel):
    """A grant as it stands."""

    id: str
    kind: GrantKind
    amount: Amount
    left: Amount
    expired: Annotated[Amount, Field(description="What was not used before it expired.")]
    priority: int
    expires_at: datetime | None
    created_at: datetime
    reason: str
    by: Annotated[str, Field(description="Who gave it.")]
    ref: Annotated[str | None, Field(description="What it came from: a top-up, a transaction.")]
    transaction_id: str

    @classmethod
    def of(cls, grant: GrantStanding) -> GrantView:
        return cls(
            id=grant.grant_id,
            kind=grant.kind,
            amount=Amount.of(grant.amount),
            left=Amount.of(grant.left),
            expired=Amount.of(grant.expired),
            priority=grant.priority,
            expires_at=grant.expires_at,
            created_at=grant.created_at,
            reason=grant.reason,
            by=grant.actor,
            ref=grant.ref,
            transaction_id=str(grant.transaction_id),
        )


class GrantedView(GrantView):
    note: Annotated[
        str | None, Field(description="Of an organisation that is not prepaid: that it does not use credits.")
    ]


class GrantPage(BaseModel):
    items: list[GrantView]
    next_cursor: str | None


class GrantsParams(PageParams):
    alive: Annotated[bool, Field(description="Only those with credits left that have not expired.")] = False


class AdjustmentWanted(Strict):
    credits: SignedCredits
    reason: Reason


class RefundWanted(Strict):
    transaction_id: Annotated[TransactionId, Field(description="Of usage, or of a purchase.")]
    credits: Annotated[Credits | None, Field(description="How much of it. Nothing: all that is left.")] = None
    reason: Reason


class _Handlers:
    def __init__(
        self,
        credits: books.Credits,
        check_org: Callable[[str], Awaitable[object]],
        prepaid: Callable[[str], bool],
    ) -> None:
        self._credits = credits
        self._check_org = check_org
        self._prepaid = prepaid

    async def _org(self, reach: Reach) -> str:
        org = named_org(reach)
        await self._check_org(org)
        return org

    async def grant(self, call: Call[OrgParams, GrantWanted]) -> GrantedView:
        wanted, org = call.body, await self._org(call.reach)
        assert call.idempotency_key is not None
        new = NewGrant(
            org,
            GrantKind(wanted.kind),
            wanted.credits,
            wanted.reason,
            call.principal.actor,
            call.idempotency_key,
            wanted.priority,
            wanted.expires_at,
        )
        written = await self._credits.ledger.grant(new)
        made = await self._credits.reading.grant_of(org, written.transaction_id)
        assert made is not None  # the key stands for a grant, or it would have been refused
        note = None if self._prepaid(org) else NOT_PREPAID_NOTE
        return GrantedView(**dict(GrantView.of(made)), note=note)

    async def list(self, call: Call[GrantsParams, NoBody]) -> GrantPage:
        params = call.params
        position = read_cursor(params.cursor, 1)
        grants = await self._credits.reading.grants(
            named_org(call.reach),
            params.limit + 1,
            None if position is None else place_in_ledger(position[0]),
            alive_at=call.now if params.alive else None,
        )
        page = grants[: params.limit]
        more = len(grants) > params.limit
        return GrantPage(
            items=[GrantView.of(grant) for grant in page],
            next_cursor=write_cursor(page[-1].transaction_id) if more else None,
        )

    async def adjust(self, call: Call[OrgParams, AdjustmentWanted]) -> EntryView:
        assert call.idempotency_key is not None
        written = await self._credits.ledger.adjust(
            await self._org(call.reach),
            call.body.credits,
            reason=call.body.reason,
            actor=call.principal.actor,
            idempotency_key=call.idempotency_key,
        )
        return await self._entry(written)

    async def refund(self, call: Call[OrgParams, RefundWanted]) -> EntryView:
        assert call.idempotency_key is not None
        written = await self._credits.ledger.refund(
            await self._org(call.reach),
            int(call.body.transaction_id),
            call.body.credits,
            reason=call.body.reason,
            actor=call.principal.actor,
            idempotency_key=call.idempotency_key,
        )
        return await self._entry(written)

    async def _entry(self, written: Written) -> EntryView:
        return EntryView.of(await self._credits.reading.entry(written.org_id, written.transaction_id))


def credit_grant_operations(
    credits: books.Credits, check_org: Callable[[str], Awaitable[object]], prepaid: Callable[[str], bool]
) -> list[AnyOperation]:
    """``check_org`` raises `NotFound` for an organisation that is not there; ``prepaid``: whether it uses credits."""
    handlers = _Handlers(credits, check_org, prepaid)
    return [*_giving(handlers), *_correcting(handlers)]


def _giving(handlers: _Handlers) -> list[AnyOperation]:
    return [
        Operation(
            method="GET",
            path="/api/credits/grants",
            name="list_grants",
            tag="Credits",
            summary="Credits that were given, newest first, and what is left of each",
            action=Action.SEE_LEDGER,
            handler=handlers.list,
            params=GrantsParams,
            reply=GrantPage,
        ),
        Operation(
            method="POST",
            path="/api/credits/grants",
            name="grant_credits",
            tag="Credits",
            summary="Give credits to an organisation's balance",
            description="They can be spent when the reply comes, on every gateway: by an organisation that is prepaid. "
            "Of another, `note` says that it does not use any.",
            action=Action.GRANT_CREDITS,
            handler=handlers.grant,
            params=OrgParams,
            body=GrantWanted,
            reply=GrantedView,
            status=201,
            errors=(404, 409),
            idempotent=True,
            example={"credits": "500", "reason": "welcome", "expires_at": "2027-12-31T00:00:00Z"},
        ),
    ]


def _correcting(handlers: _Handlers) -> list[AnyOperation]:
    return [
        Operation(
            method="POST",
            path="/api/credits/adjustments",
            name="adjust_credits",
            tag="Credits",
            summary="Correct a balance",
            description="Less is taken from grants in the order in which usage takes it, also beyond what there is: "
            "a balance below zero admits nothing.",
            action=Action.GRANT_CREDITS,
            handler=handlers.adjust,
            params=OrgParams,
            body=AdjustmentWanted,
            reply=EntryView,
            status=201,
            errors=(404, 409),
            idempotent=True,
            example={"credits": "-12.5", "reason": "granted twice by mistake"},
        ),
        Operation(
            method="POST",
            path="/api/credits/refunds",
            name="refund_credits",
            tag="Credits",
            summary="Give back what a transaction charged",
            description="Usage: the credits go back to the grants that had paid for it, also to those that have "
            "expired since. A purchase: what is left of it is taken off the balance, and owed to who paid for it.",
            action=Action.GRANT_CREDITS,
            handler=handlers.refund,
            params=OrgParams,
            body=RefundWanted,
            reply=EntryView,
            status=201,
            errors=(404, 409),
            idempotent=True,
            example={"transaction_id": "4711", "credits": "3", "reason": "the provider was down"},
        ),
    ]
