"""Credits given, taken away and given back, each a transaction of the ledger with who and why. When Postgres is down
everything here raises `PostgresUnavailable` and nothing happened: call again with the same idempotency key. When Redis
is down purchases are not paid back (`StoreUnavailable`), as it alone knows what calls in flight hold.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.errors import BadRequest, Conflict, NotFound
from gateway.ledger.bookkeeper import Balances
from gateway.ledger.burning import GrantKind, OpenGrant, burn, minute_of
from gateway.ledger.drafts import (
    Account,
    Draft,
    Kind,
    Line,
    credit_lines,
    granted_lines,
    reverse,
    used_lines,
)
from gateway.ledger.grants import PRIORITY_DEFAULT, NewGrant, check_amount, check_reason
from gateway.ledger.postgres_poster import LedgerPoster
from gateway.ledger.postgres_posting import SQL, Posting, posting
from gateway.stores import postgres_audit
from gateway.stores.postgres import Postgres, Row
from pricing.money import AMOUNT_MAX_MICROCREDITS, format_credits


@dataclass(frozen=True, slots=True)
class Written:
    """A transaction that was written, by this call or by the first one with its key."""

    org_id: str
    transaction_id: int
    new: bool


class CreditLedger:
    """``now`` is the clock, aware UTC; ``told`` hears of organisations whose balance changed, see
    `gateway.ledger.bookkeeper.BalanceRelay.tell`. Idempotency keys are the callers' own; they cannot meet those of
    the ledger.
    """

    def __init__(
        self,
        postgres: Postgres,
        balances: Balances,
        now: Callable[[], datetime],
        told: Callable[[str], Awaitable[None]],
    ) -> None:
        self.postgres = postgres
        self._balances = balances
        self.now = now
        self._told = told
        self._poster = LedgerPoster(postgres)

    async def grant(self, new: NewGrant) -> Written:
        """Give credits. Raises `BadRequest`, `IdempotencyConflict`."""
        now = self.now()
        async with posting(self.postgres, new.org_id, now) as ledger:
            written = await self.grant_in(ledger, new, f"key:{new.idempotency_key}")
        await self._told(new.org_id)
        return written

    async def grant_in(self, ledger: Posting, new: NewGrant, key: str) -> Written:
        """The same as a part of a larger transaction, under the whole key ``key``."""
        known = await ledger.known(key, new.payload)
        if known is not None:
            return Written(new.org_id, known, False)
        new.check(ledger.now)
        standing = await ledger.standing()
        if standing.granted + new.amount > AMOUNT_MAX_MICROCREDITS:
            most = format_credits(AMOUNT_MAX_MICROCREDITS)
            raise BadRequest(f"credits: more than {most} in all cannot be granted", param="credits")
        grant = _new_grant(ledger, new.kind, new.amount, new.priority, new.expires_at)
        draft = Draft(
            Kind(new.kind.value),
            key,
            ledger.now,
            new.actor,
            new.reason,
            granted_lines(grant, new.amount, standing.debt),
            ref=new.ref,
            payload=new.payload,
            grant=grant,
        )
        ledger.topped_up = new.kind in (GrantKind.PURCHASE, GrantKind.PROMOTION)
        return await _written(ledger, draft, "credits.grant", {**new.payload, "grant": grant.grant_id})

    async def adjust(
        self, org_id: str, amount: int, *, reason: str, actor: str, idempotency_key: str
    ) -> Written:
        """Correct a balance by ``amount`` microcredits. A negative one is taken like usage, also beyond what there is.

        Raises `BadRequest`, `IdempotencyConflict`.
        """
        check_reason(reason)
        check_amount(amount)
        if amount == 0:
            raise BadRequest("credits: must not be zero", param="credits")
        if amount > 0:
            kind = GrantKind.ADJUSTMENT
            return await self.grant(NewGrant(org_id, kind, amount, reason, actor, idempotency_key))
        payload = {"kind": Kind.ADJUSTMENT.value, "amount_microcredits": amount, "reason": reason}
        await self._poster.post(org_id, self.now())  # what was used comes first
        async with posting(self.postgres, org_id, self.now()) as ledger:
            key = f"key:{idempotency_key}"
            known = await ledger.known(key, payload)
            if known is not None:
                return Written(org_id, known, False)
            grants = await ledger.grants()
            burned = burn(grants.values(), [(minute_of(ledger.now), -amount)])
            lines = used_lines(burned, Account.ADJUSTMENTS)
            draft = Draft(Kind.ADJUSTMENT, key, ledger.now, actor, reason, lines, payload=payload)
            written = await _written(ledger, draft, "credits.adjust", payload)
        await self._told(org_id)
        return written

    async def refund(
        self,
        org_id: str,
        transaction_id: int,
        amount: int | None,
        *,
        reason: str,
        actor: str,
        idempotency_key: str,
    ) -> Written:
        """Give back what a transaction charged, all that is left of it or ``amount`` of that.

        Of usage: the credits go back to the grants that paid, whether these live or not. Of a purchase: what is left
        of its grant goes back to whoever paid for it, as far as no call in flight may need it. Raises `NotFound`,
        `Conflict` (there is not that much to give back, or it is neither usage nor a purchase), `BadRequest`,
        `IdempotencyConflict`.
        """
        check_reason(reason)
        if amount is not None and amount <= 0:
            raise BadRequest("credits: must be more than zero", param="credits")
        payload = {
            "kind": Kind.REFUND.value,
            "transaction": transaction_id,
            "amount_microcredits": amount,
            "reason": reason,
        }
        await self._poster.post(org_id, self.now())  # what was used meanwhile is not there to be given back
        async with posting(self.postgres, org_id, self.now()) as ledger:
            key = f"key:{idempotency_key}"
            known = await ledger.known(key, payload)
            if known is not None:
                return Written(org_id, known, False)
            original = await ledger.session.fetch_one(SQL["transaction"], org_id, transaction_id)
            if original is None:
                raise NotFound(f"There is no transaction {transaction_id} in the ledger of {org_id}.")
            if original["kind"] == Kind.PURCHASE:
                lines, grant = await self._purchase_lines(ledger, original, amount), None
            else:
                lines, grant = await _refund_lines(ledger, original, amount)
            draft = Draft(
                Kind.REFUND,
                key,
                ledger.now,
                actor,
                reason,
                lines,
                ref=str(transaction_id),
                payload=payload,
                grant=grant,
            )
            written = await _written(ledger, draft, "credits.refund", payload)
        await self._told(org_id)
        return written

    async def _purchase_lines(self, ledger: Posting, original: Row, amount: int | None) -> tuple[Line, ...]:
        grants = await ledger.grants()
        ids = [line.grant_id for line in await ledger.lines(original["id"]) if line.grant_id in grants]
        bought = grants[ids[0] or ""] if ids else None
        left = bought.left if bought is not None and bought.alive(ledger.now) else 0
        wanted = left if amount is None else amount
        if not ids or not 0 < wanted <= left:
            raise _too_much(left)
        # What is held or spent and not posted yet may need these credits. A call that is admitted between this reading
        # and the moment at which Redis is told of the refund still finds them: the balance goes below zero by what such
        # calls use at most, and admits nothing more then.
        balance = await self._balances.read(ledger.org_id)
        untold: int = await ledger.session.fetch_value(SQL["untold"], ledger.org_id, balance.change_id)
        free = balance.available + untold
        if wanted > free:
            raise Conflict(
                f"Calls in flight or not yet posted need these credits: {format_credits(max(0, free))} can be given "
                f"back now, more when they have ended.",
                param="credits",
            )
        return Line(Account.CUSTOMER_CREDIT, -wanted, ids[0]), Line(Account.CASH_CLEARING, wanted)


async def _written(ledger: Posting, draft: Draft, action: str, after: Mapping[str, object]) -> Written:
    transaction_id = await ledger.write(draft)
    await postgres_audit.record(
        ledger.session,
        actor=draft.actor,
        action=action,
        object=f"org:{ledger.org_id}",
        org=ledger.org_id,
        after={**after, "transaction": transaction_id},
    )
    return Written(ledger.org_id, transaction_id, True)


async def _refund_lines(
    ledger: Posting, original: Row, amount: int | None
) -> tuple[tuple[Line, ...], OpenGrant | None]:
    charged = await ledger.lines(original["id"])
    if original["kind"] != Kind.USAGE:
        raise Conflict("Only usage and purchases can be refunded.", param="transaction")
    rows = await ledger.session.fetch(SQL["refunded"], ledger.org_id, str(original["id"]))
    paid_by = {line.grant_id for line in charged if line.account is Account.CUSTOMER_CREDIT}
    refunded: dict[str | None, int] = {}
    for row in rows:
        # What had been owed may have come back as a grant of its own.
        whose = row["grant_id"] if row["grant_id"] in paid_by else None
        refunded[whose] = refunded.get(whose, 0) + row["microcredits"]
    total = sum(line.amount for line in charged if line.account is Account.USAGE_REVENUE)
    left = total - sum(refunded.values())
    wanted = left if amount is None else amount
    if not 0 < wanted <= left:
        raise _too_much(left)
    back = reverse(charged, refunded, wanted, (await ledger.standing()).debt)
    grant = _new_grant(ledger, GrantKind.REFUND, back.rest) if back.rest else None
    amounts = {**back.returned, **({grant.grant_id: back.rest} if grant else {})}
    return (*credit_lines(amounts, back.debt), Line(Account.REFUNDS, -wanted)), grant


def _too_much(left: int) -> Conflict:
    return Conflict(
        f"Of this transaction {format_credits(left)} credits are left to be given back.", param="credits"
    )


def _new_grant(
    ledger: Posting,
    kind: GrantKind,
    amount: int,
    priority: int = PRIORITY_DEFAULT,
    expires_at: datetime | None = None,
) -> OpenGrant:
    return OpenGrant(f"grant-{secrets.token_hex(8)}", kind, priority, expires_at, ledger.now, amount)
