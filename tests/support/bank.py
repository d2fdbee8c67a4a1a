"""The credit ledger over a real Postgres and Redis, with a clock that tests move."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from gateway.budgets.balances import BalanceReading
from gateway.budgets.redis_balances import RedisBalances
from gateway.ledger.bookkeeper import BalanceRelay, Bookkeeper
from gateway.ledger.burning import GrantKind
from gateway.ledger.drafts import Account
from gateway.ledger.grants import NewGrant
from gateway.ledger.migrate import migrate
from gateway.ledger.postgres_credits import CreditLedger, Written
from gateway.ledger.postgres_outbox import BalanceOutbox
from gateway.ledger.postgres_poster import LedgerPoster
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.ledger.postgres_topups import TopUps
from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.row import merge, microseconds
from gateway.ledger.topups import ManualPayments
from gateway.stores.postgres import Postgres
from gateway.stores.redis import RedisStore
from tests.support.usage_events import ADMISSION, entry

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


@dataclass
class Bank:
    postgres: Postgres
    redis: RedisStore
    now: datetime = NOON
    keys: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        clock = self.clock
        self.poster = LedgerPoster(self.postgres)
        self.outbox = BalanceOutbox(self.postgres)
        self.balances = RedisBalances(self.redis, PostgresLedger(self.postgres), partitions=2)
        self.relay = BalanceRelay(self.outbox, self.balances, clock)
        self.ledger = CreditLedger(self.postgres, self.balances, clock, self.nobody_told)
        self.top_ups = TopUps(self.postgres, self.ledger, ManualPayments(), self.relay.tell)
        self.bookkeeper = Bookkeeper(self.poster, self.relay, self.outbox, clock)

    async def nobody_told(self, org: str) -> None:
        """Tests deliver when they say so, as if the gateway had died before."""

    def clock(self) -> datetime:
        return self.now

    def in_minutes(self, minutes: int) -> datetime:
        return NOON + timedelta(minutes=minutes)

    async def grant(
        self,
        amount: int,
        *,
        kind: GrantKind = GrantKind.PURCHASE,
        expires_in: int | None = None,
        priority: int = 100,
        key: str | None = None,
        org: str = "acme",
        reason: str = "test",
    ) -> Written:
        expires_at = None if expires_in is None else self.in_minutes(expires_in)
        key = key or f"k{next(self.keys)}"
        new = NewGrant(org, kind, amount, reason, "cli:test", key, priority, expires_at)
        written = await self.ledger.grant(new)
        self.now += timedelta(milliseconds=1)  # so that the next one is younger
        return written

    async def use(self, amount: int, *, minute: int = 0, prepaid: bool = True, org: str = "acme") -> str:
        """A row of usage that began then; not posted yet."""
        number = next(self.keys)
        row = merge(
            entry(
                f"{org}-r{number}",  # histories in one database, each with an org of its own
                sequence=number,
                charged_microcredits=amount,
                started_at_us=microseconds(self.in_minutes(minute)) + 1_234_567,
                admission=replace(ADMISSION, org_id=org),
            )
        )
        await UsageTable(self.postgres).write([row._replace(from_balance=prepaid)])
        return row.request_id

    async def post(self, org: str = "acme") -> int:
        return await self.poster.post(org, self.now)

    async def expire(self, minute: int) -> int:
        self.now = self.in_minutes(minute)
        return await self.poster.run_expiry(self.now)

    async def accounts(self, org: str = "acme") -> dict[Account, int]:
        """Sums of lines, accounts at zero left out."""
        rows = await self.postgres.fetch(
            "SELECT account, sum(amount_microcredits)::bigint AS total FROM ledger_lines l "
            "JOIN ledger_transactions t ON t.id = l.transaction_id WHERE org_id = $1 GROUP BY 1",
            org,
        )
        return {Account(row["account"]): row["total"] for row in rows if row["total"]}

    async def left(self, org: str = "acme") -> list[int]:
        """What is left in each grant, oldest grant first."""
        rows = await self.postgres.fetch(
            "SELECT left_microcredits FROM ledger_grant_balances JOIN ledger_grants g USING (grant_id) "
            "WHERE g.org_id = $1 ORDER BY g.transaction_id",
            org,
        )
        return [row["left_microcredits"] for row in rows]

    async def balance(self, org: str = "acme") -> BalanceReading:
        """As Redis has it."""
        return await self.balances.read(org)

    async def kinds(self, org: str = "acme") -> list[str]:
        rows = await self.postgres.fetch(
            "SELECT kind FROM ledger_transactions WHERE org_id = $1 ORDER BY id", org
        )
        return [row["kind"] for row in rows]


@asynccontextmanager
async def open_bank(redis_url: str, postgres_dsn: str) -> AsyncIterator[Bank]:
    await migrate(postgres_dsn)
    postgres, redis = Postgres(postgres_dsn), RedisStore(redis_url)
    await postgres.start()
    bank = Bank(postgres, redis)
    try:
        yield bank
    finally:
        await bank.balances.close()
        await redis.close()
        await postgres.stop()
