"""Top-ups in Postgres. When it is down everything here raises `PostgresUnavailable` and nothing happened.

A confirmation moves the top-up and grants its credits in one transaction under the organisation's ledger lock, with
the ledger key ``topup:{id}``: whoever confirms, however often, it becomes one grant.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from gateway.errors import Conflict, IdempotencyConflict, NotFound, TollgateError
from gateway.ledger.burning import GrantKind
from gateway.ledger.grants import NewGrant, check_reason
from gateway.ledger.postgres_credits import CreditLedger
from gateway.ledger.postgres_posting import Posting, posting
from gateway.ledger.topups import (
    CURRENCY,
    PENDING_MAX,
    PENDING_OF_ONE_MAX,
    PaymentProvider,
    TopUp,
    TopUpBounds,
    TopUpStatus,
    check_move,
    new_top_up_id,
    price_minor,
)
from gateway.stores import postgres_audit
from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.ledger", "topups.sql")


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who asks for credits."""

    org_id: str
    actor: str
    user_id: str | None = None


Announce = Callable[[], Awaitable[None]]


class TopUpNews(Protocol):
    """Tells people what becomes of top-ups."""

    async def record(self, session: Session, top_up: TopUp) -> Announce:
        """Within the transaction that made ``top_up`` what it is; what it returns is called once that is committed."""


class NoNews:
    """Nobody is told."""

    async def record(self, session: Session, top_up: TopUp) -> Announce:
        return _nothing


async def _nothing() -> None:
    pass


class TopUps:
    """``told`` hears of organisations whose balance changed, see `gateway.ledger.bookkeeper.BalanceRelay.tell`."""

    def __init__(
        self,
        postgres: Postgres,
        ledger: CreditLedger,
        payments: PaymentProvider,
        told: Callable[[str], Awaitable[None]],
        bounds: TopUpBounds | None = None,
        news: TopUpNews | None = None,
    ) -> None:
        self._postgres = postgres
        self._ledger = ledger
        self._payments = payments
        self._told = told
        self._bounds = bounds or TopUpBounds()
        self._news = news or NoNews()

    async def request(self, buyer: Buyer, amount: int, credit_usd: Decimal, *, idempotency_key: str) -> TopUp:
        """Ask to buy ``amount`` microcredits. Raises `BadRequest`, `IdempotencyConflict`, `Conflict` when too many
        are pending, and what the payment provider raises: the top-up has failed then.
        """
        self._bounds.check(amount)
        now = self._ledger.now()
        async with posting(self._postgres, buyer.org_id, now) as ledger:
            known = await ledger.session.fetch_one(_SQL["find_key"], buyer.org_id, idempotency_key)
            top_up = (
                await self._insert(ledger, buyer, amount, credit_usd, idempotency_key)
                if known is None
                else None
            )
        if top_up is None:
            assert known is not None
            top_up = _top_up(known)
            if (top_up.amount_microcredits, top_up.requested_by) != (amount, buyer.actor):
                raise IdempotencyConflict(param="idempotency_key")
            if top_up.reference is not None or top_up.status is not TopUpStatus.PENDING:
                return top_up
        return await self._begin(top_up)

    async def _insert(
        self, ledger: Posting, buyer: Buyer, amount: int, credit_usd: Decimal, idempotency_key: str
    ) -> TopUp:
        pending = await ledger.session.fetch_one(_SQL["pending"], buyer.org_id, buyer.actor)
        assert pending is not None
        if pending["of_buyer"] >= PENDING_OF_ONE_MAX:
            raise Conflict(
                f"{PENDING_OF_ONE_MAX} top-ups of yours are pending; cancel some, or wait until they are paid."
            )
        if pending["of_org"] >= PENDING_MAX:
            raise Conflict(
                f"{PENDING_MAX} top-ups of this organisation are pending; cancel some, or wait until they are paid."
            )
        row = await ledger.session.fetch_one(
            _SQL["insert"],
            new_top_up_id(),
            buyer.org_id,
            buyer.actor,
            buyer.user_id,
            idempotency_key,
            amount,
            price_minor(amount, credit_usd),
            CURRENCY,
            self._payments.name,
            ledger.now,
        )
        assert row is not None
        top_up = _top_up(row)
        after = {
            "amount_microcredits": amount,
            "price_minor": top_up.price_minor,
            "currency": top_up.currency,
        }
        await _audit(ledger, buyer.actor, "top_up.request", top_up, after)
        return top_up

    async def _begin(self, top_up: TopUp) -> TopUp:
        try:
            begun = await self._payments.begin(top_up)
        except TollgateError as error:
            await self._move(top_up.org_id, top_up.top_up_id, TopUpStatus.FAILED, "system", error.message)
            raise
        announce: Announce = _nothing
        async with posting(self._postgres, top_up.org_id, self._ledger.now()) as ledger:
            row = await ledger.session.fetch_one(
                _SQL["begun"], top_up.org_id, top_up.top_up_id, begun.reference, begun.url, begun.instructions
            )
            assert row is not None
            top_up = _top_up(row)
            if top_up.status is TopUpStatus.PENDING:  # nobody cancelled it while the provider was asked
                announce = await self._news.record(ledger.session, top_up)
        await announce()
        return top_up

    async def confirm(self, org_id: str, top_up_id: str, *, actor: str, reason: str = "") -> TopUp:
        """The money came: grant the credits. A second time it answers what the first did.

        Raises `NotFound`, `TopUpMoved`.
        """
        top_up = await self._move(org_id, top_up_id, TopUpStatus.CONFIRMED, actor, reason)
        await self._told(org_id)
        return top_up

    async def cancel(self, org_id: str, top_up_id: str, *, actor: str, reason: str = "") -> TopUp:
        """Nobody will pay this. A second time it answers what the first did. Raises `NotFound`, `TopUpMoved`."""
        return await self._move(org_id, top_up_id, TopUpStatus.CANCELLED, actor, reason)

    async def _move(self, org_id: str, top_up_id: str, to: TopUpStatus, actor: str, reason: str) -> TopUp:
        if reason:
            check_reason(reason)
        async with posting(self._postgres, org_id, self._ledger.now()) as ledger:
            row = await ledger.session.fetch_one(_SQL["one"], org_id, top_up_id)
            if row is None:
                raise NotFound(f"There is no top-up {top_up_id} in {org_id}.")
            top_up = _top_up(row)
            if top_up.status is to:
                return top_up
            check_move(top_up.status, to)
            grant_id = await self._grant(ledger, top_up, actor) if to is TopUpStatus.CONFIRMED else None
            row = await ledger.session.fetch_one(
                _SQL["move"], org_id, top_up_id, to.value, ledger.now, actor, reason, grant_id
            )
            assert row is not None
            after = {"status": to.value, "reason": reason}
            await _audit(ledger, actor, f"top_up.{to.value}", top_up, after, {"status": top_up.status.value})
            moved = _top_up(row)
            announce = await self._news.record(ledger.session, moved)
        await announce()
        return moved

    async def _grant(self, ledger: Posting, top_up: TopUp, actor: str) -> str:
        new = NewGrant(
            top_up.org_id,
            GrantKind.PURCHASE,
            top_up.amount_microcredits,
            f"top-up {top_up.top_up_id}",
            actor,
            top_up.top_up_id,
            ref=top_up.top_up_id,
        )
        written = await self._ledger.grant_in(ledger, new, f"topup:{top_up.top_up_id}")
        grant_id: str = await ledger.session.fetch_value(_SQL["grant_of"], written.transaction_id)
        return grant_id

    async def org_of(self, top_up_id: str) -> str:
        """Whose top-up this is. Raises `NotFound`."""
        org_id: str | None = await self._postgres.fetch_value(_SQL["org_of"], top_up_id)
        if org_id is None:
            raise NotFound(f"There is no top-up {top_up_id}.")
        return org_id

    async def find(self, org_id: str, top_up_id: str) -> TopUp:
        """Raises `NotFound`."""
        row = await self._postgres.fetch_one(_SQL["one"], org_id, top_up_id)
        if row is None:
            raise NotFound(f"There is no top-up {top_up_id} in {org_id}.")
        return _top_up(row)

    async def page(
        self,
        org_id: str | None,
        limit: int,
        after: tuple[datetime, str] | None = None,
        *,
        status: TopUpStatus | None = None,
        requested_by: list[str] | None = None,
    ) -> list[TopUp]:
        """Newest first. ``requested_by``: only those that these actors asked for."""
        created_at, top_up_id = after or (None, None)
        rows = await self._postgres.fetch(
            _SQL["page"], org_id, created_at, top_up_id, status and status.value, requested_by, limit
        )
        return [_top_up(row) for row in rows]


async def _audit(
    ledger: Posting,
    actor: str,
    action: str,
    top_up: TopUp,
    after: Mapping[str, object],
    before: Mapping[str, object] | None = None,
) -> None:
    await postgres_audit.record(
        ledger.session,
        actor=actor,
        action=action,
        object=f"top_up:{top_up.top_up_id}",
        org=top_up.org_id,
        before=before,
        after=after,
    )


def _top_up(row: Row) -> TopUp:
    fields = {name: row[name] for name in TopUp.__slots__ if name != "status"}
    return TopUp(status=TopUpStatus(row["status"]), **fields)
