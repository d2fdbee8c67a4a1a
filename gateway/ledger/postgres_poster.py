"""Usage and expiry become transactions of the ledger. When Postgres is down everything here raises
`PostgresUnavailable`; what was not posted is posted next time, from where it was left.

The rows of usage leave word in ledger_pending, which is emptied in the transaction that posts them: each is posted
once, by whichever gateway comes first. Credits that expired are broken off only after all usage known by then has
taken its part; what becomes known later takes it back.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from gateway.ledger.burning import GrantKind, burn, expired
from gateway.ledger.drafts import Account, Draft, Kind, Line, expiry_lines, taken_back_lines, used_lines
from gateway.ledger.postgres_posting import SQL, Posting, posting
from gateway.stores.postgres import Postgres, PostgresError, Row

log = logging.getLogger("tollgate.ledger")

PENDING_AT_ONCE = 5000
"""Rows of pending usage in one transaction: some hours of one organisation, or one generated year in hundreds."""
WARNED_DAYS = (30, 7, 1)
QUARTER = timedelta(minutes=15)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ACTOR = "ledger"


@dataclass(frozen=True, slots=True)
class Expiring:
    """Credits that expire soon, for somebody to be told."""

    org_id: str
    grant_id: str
    kind: GrantKind
    expires_at: datetime
    left_microcredits: int
    days: int
    """The nearest of 30, 7 and 1 days that it expires within; tell once for each (grant_id, days)."""


class LedgerPoster:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def post_all(self, now: datetime) -> None:
        """Post all usage that is known. What Postgres refuses of one organisation holds up no other."""
        for row in await self._postgres.fetch(SQL["orgs_with_pending"]):
            try:
                await self.post(row["org_id"], now)
            except PostgresError as error:
                log.error("usage cannot be posted", extra={"org": row["org_id"], "reason": str(error)})

    async def post(self, org_id: str, now: datetime) -> int:
        """Post the usage of ``org_id`` that is known; returns how many requests that were."""
        posted = 0
        while True:
            async with posting(self._postgres, org_id, now) as ledger:
                rows = await _post_pending(ledger)
            posted += sum(int(row["requests"]) for row in rows)
            if len(rows) < PENDING_AT_ONCE:
                return posted

    async def run_expiry(self, now: datetime) -> int:
        """Break off what is left of grants that are dead at ``now``; returns how many grants. Idempotent."""
        broken = 0
        for row in await self._postgres.fetch(SQL["orgs_with_expired"], now):
            try:
                broken += await self._expire(row["org_id"], now)
            except PostgresError as error:
                log.error("expiry cannot be posted", extra={"org": row["org_id"], "reason": str(error)})
        return broken

    async def _expire(self, org_id: str, now: datetime) -> int:
        await self.post(org_id, now)
        async with posting(self._postgres, org_id, now) as ledger:
            dead = expired((await ledger.grants()).values(), now)
            last = (await ledger.standing()).last_transaction_id
            rows = await ledger.session.fetch(SQL["last_credited"], [grant.grant_id for grant in dead])
            credited = {row["grant_id"]: row["at"] for row in rows}
            for number, grant in enumerate(dead, start=1):
                assert grant.expires_at is not None
                draft = Draft(
                    Kind.EXPIRY,
                    f"expiry:{last}:{number}",
                    # What a refund gave back to a dead grant was not there before: statements of earlier months stay.
                    max(grant.expires_at, credited[grant.grant_id]),
                    ACTOR,
                    "expired unused",
                    expiry_lines(grant.grant_id, grant.left),
                    ref=grant.grant_id,
                )
                await ledger.write(draft)
            return len(dead)

    async def expiring(self, now: datetime) -> list[Expiring]:
        """Credits left in grants that expire within 30 days, each with the nearest day of warning."""
        rows = await self._postgres.fetch(SQL["expiring"], now, now + timedelta(days=max(WARNED_DAYS)))
        return [
            Expiring(
                org_id=row["org_id"],
                grant_id=row["grant_id"],
                kind=GrantKind(row["kind"]),
                expires_at=row["expires_at"],
                left_microcredits=row["left_microcredits"],
                days=min(days for days in WARNED_DAYS if row["expires_at"] - now <= timedelta(days=days)),
            )
            for row in rows
        ]


async def _post_pending(ledger: Posting) -> Sequence[Row]:
    """A transaction for each quarter of an hour, so that the month of any time zone can be cut out of them."""
    rows = await ledger.session.fetch(SQL["take_pending"], ledger.org_id, PENDING_AT_ONCE)
    if not rows:
        return rows
    last = (await ledger.standing()).last_transaction_id
    postpaid = [row for row in rows if not row["from_balance"]]
    prepaid = [row for row in rows if row["from_balance"]]
    drafts = [_postpaid(quarter, f"{last}:{place}") for place, quarter in enumerate(_quarters(postpaid))]
    if prepaid:
        grants = await ledger.grants(min(row["minute"] for row in prepaid))
        for place, quarter in enumerate(_quarters(prepaid)):
            burned = burn(grants.values(), [(row["minute"], row["microcredits"]) for row in quarter])
            for grant_id, amount in burned.taken_back.items():
                expires_at = grants[grant_id].expires_at
                assert expires_at is not None
                drafts.append(
                    Draft(
                        Kind.EXPIRY_REVERSAL,
                        f"expiry_reversal:{last}:{place}:{grant_id}",
                        expires_at,
                        ACTOR,
                        "used before it expired",
                        taken_back_lines(grant_id, amount),
                        ref=grant_id,
                    )
                )
            lines = used_lines(burned, Account.USAGE_REVENUE)
            drafts.append(_usage(Kind.USAGE, quarter, f"usage:{last}:{place}", lines))
    for draft in drafts:
        await ledger.write(draft)
    return rows


def _quarters(rows: Sequence[Row]) -> list[list[Row]]:
    in_order = sorted(rows, key=lambda row: row["minute"])
    return [
        list(quarter) for _, quarter in groupby(in_order, lambda row: (row["minute"] - _EPOCH) // QUARTER)
    ]


def _postpaid(quarter: Sequence[Row], key: str) -> Draft:
    total = sum(row["microcredits"] for row in quarter)
    lines = Line(Account.RECEIVABLE, -total), Line(Account.USAGE_REVENUE, total)
    return _usage(Kind.POSTPAID_USAGE, quarter, f"postpaid_usage:{key}", lines)


def _usage(kind: Kind, quarter: Sequence[Row], key: str, lines: tuple[Line, ...]) -> Draft:
    requests = sum(row["requests"] for row in quarter)
    first, last = quarter[0]["minute"], quarter[-1]["minute"]
    span = f"{first:%Y-%m-%d %H:%M}" + ("" if first == last else f" to {last:%H:%M}")
    return Draft(
        kind,
        key,
        last,
        ACTOR,
        f"{requests} request{'' if requests == 1 else 's'} begun {span} UTC",
        lines,
        payload={"requests": requests, "from": first.isoformat(), "to": last.isoformat()},
    )
