"""The bookkeeper: usage, expiry and Redis by itself; and grants of before the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from gateway.budgets.balances import BalanceBooks, BalanceChange, BalanceQuery
from gateway.budgets.keyspace import partition_keys, partition_of
from gateway.errors import IdempotencyConflict
from gateway.ledger.bookkeeper import BalanceRelay, Bookkeeper
from gateway.ledger.drafts import Account, Kind
from gateway.ledger.migrate import bundled, migrate
from gateway.ledger.postgres_reading import LedgerReading
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.reconcile import Report
from gateway.ledger.reconcile_balances import reconcile_balances
from gateway.ledger.row import merge, microseconds
from gateway.stores.postgres import Postgres
from gateway.stores.redis import CommandFailed
from tests.support.bank import Bank, open_bank
from tests.support.usage_events import entry

EMPTY = Report((), counters=0, unseeded=0, unread=0, unreadable=0)


@pytest.fixture
async def bank(redis_url: str, postgres_dsn: str) -> AsyncIterator[Bank]:
    async with open_bank(redis_url, postgres_dsn) as opened:
        yield opened


async def test_a_round_posts_usage_breaks_off_what_expired_and_tells_redis(bank: Bank) -> None:
    await bank.grant(100, expires_in=10)
    await bank.grant(40)
    await bank.use(30, minute=3)
    await bank.use(7, org="globex", prepaid=False)
    bank.now = bank.in_minutes(10)
    await bank.bookkeeper.round()
    assert await bank.kinds() == ["purchase", "purchase", "usage", "expiry"]
    assert await bank.kinds("globex") == ["postpaid_usage"]
    balance = await bank.balance()
    assert (balance.granted, balance.spent, balance.next_expiry_us) == (70, 30, None)


async def test_a_balance_says_what_will_expire_and_when(bank: Bank) -> None:
    days = (datetime.now(UTC) - bank.now).days
    bank.now += timedelta(days=days)
    soon, later = ((days + ahead) * 24 * 60 for ahead in (3, 9))
    await bank.grant(100, expires_in=soon)
    await bank.grant(50, expires_in=later)
    await bank.grant(1000)
    await bank.bookkeeper.round()
    assert (await bank.balance()).rungs == (
        (microseconds(bank.in_minutes(soon)), 100),
        (microseconds(bank.in_minutes(later)), 50),
    )


async def test_many_bookkeepers_at_once_do_everything_once(bank: Bank) -> None:
    await bank.grant(1000, expires_in=10)
    for number in range(20):
        await bank.use(10, minute=number % 10)
    bank.now = bank.in_minutes(20)
    others = [Bookkeeper(bank.poster, bank.relay, bank.outbox, bank.clock) for _ in range(4)]
    await asyncio.gather(*(other.round() for other in others))
    accounts = await bank.accounts()
    assert (accounts[Account.USAGE_REVENUE], accounts[Account.BREAKAGE]) == (200, 800)
    assert (await bank.balance()).granted == 200


class Telling:
    """Balances that say when they are told of a change."""

    def __init__(self, bank: Bank) -> None:
        self.balances = bank.balances
        self.told = asyncio.Event()

    async def change(self, org: str, change: BalanceChange) -> bool:
        applied = await self.balances.change(org, change)
        self.told.set()
        return applied


async def test_it_starts_and_stops_as_often_as_it_is_told(bank: Bank) -> None:
    balances = Telling(bank)
    relay = BalanceRelay(bank.outbox, balances, bank.clock)
    keeper = Bookkeeper(bank.poster, relay, bank.outbox, bank.clock, round_s=0.01, deliver_s=0.01)
    await keeper.stop()
    for _ in range(2):
        await keeper.start()
        await keeper.start()
        balances.told.clear()
        await bank.grant(100)
        await asyncio.wait_for(balances.told.wait(), 20)
        await keeper.stop()
        await keeper.stop()
    await bank.relay.deliver()
    assert (await bank.balance()).granted == 200


async def test_a_balance_that_redis_refuses_to_change_holds_up_no_other(bank: Bank) -> None:
    await bank.grant(100, org="globex")
    await bank.grant(40)
    broken = partition_keys(partition_of("globex", 2)).balance("globex")
    await bank.redis.command("SET", broken, "not a hash")
    with pytest.raises(CommandFailed):
        await bank.relay.deliver()
    assert (await bank.balance()).granted == 40
    await bank.redis.command("DEL", broken)
    await bank.relay.deliver()
    assert (await bank.balance("globex")).granted == 100


async def test_what_was_delivered_long_ago_is_forgotten_but_for_the_latest(bank: Bank) -> None:
    for _ in range(3):
        await bank.grant(100)
    await bank.ledger.adjust("acme", -10, reason="x", actor="admin", idempotency_key="a")
    await bank.relay.deliver()
    await bank.outbox.prune(bank.now + timedelta(days=1))
    rows = await bank.postgres.fetch("SELECT granted_microcredits FROM balance_outbox ORDER BY id")
    assert [row["granted_microcredits"] for row in rows] == [100, -10]
    await bank.grant(5)
    await bank.relay.deliver()
    assert (await bank.balance()).granted == 295


async def test_running_balances_follow_the_ledger(bank: Bank) -> None:
    await bank.grant(100)
    await bank.use(30)
    await bank.post()
    await bank.ledger.adjust("acme", -5, reason="x", actor="admin", idempotency_key="a")
    entries = await LedgerReading(bank.postgres).entries("acme", 10)
    assert [entry.balance_after for entry in entries] == [65, 70, 100]


async def test_a_statement_cuts_where_things_came_to_pass(bank: Bank) -> None:
    await bank.grant(100, expires_in=60)
    await bank.use(30, minute=14)
    await bank.use(7, minute=15)
    await bank.expire(120)
    reading, cut = LedgerReading(bank.postgres), bank.in_minutes(15)
    before = await reading.statement("acme", bank.in_minutes(-60), cut)
    after = await reading.statement("acme", cut, bank.in_minutes(61))
    assert (before.opening, before.closing) == (0, 70)
    assert (after.opening, after.closing) == (70, 0)
    assert sorted(line.microcredits for line in after.lines.values()) == [-63, -7]


async def test_grants_and_usage_of_before_the_ledger_are_taken_into_it(postgres_dsn: str) -> None:
    await migrate(postgres_dsn, bundled()[:6])
    postgres = Postgres(postgres_dsn)
    await postgres.start()
    insert = (
        "INSERT INTO credit_grants (grant_id, org_id, idempotency_key, amount_microcredits, reason, granted_by, "
        "granted_at) VALUES ($1, 'acme', $1, $2, 'r', 'cli:root', now() + $3 * interval '1 second')"
    )
    await postgres.execute(insert, "g1", 100, 1)
    await postgres.execute(insert, "g2", 50, 2)
    await postgres.execute(insert, "g3", -120, 3)
    await postgres.execute(
        "INSERT INTO usage_rollups VALUES ('2026-01-01', 'acme', '', '', 'k', 'p', 'm', 'chat', 3, 0, 0, 0, 0, 0, 0, 9)"
    )
    await migrate(postgres_dsn)
    await postgres.execute(insert, "g4", 7, 4)  # by a gateway of before that still runs
    lefts = await postgres.fetch("SELECT grant_id, left_microcredits FROM ledger_grant_balances ORDER BY 1")
    assert [tuple(row.values()) for row in lefts] == [("g1", 0), ("g2", 30), ("g4", 7)]
    pending = await postgres.fetch_one("SELECT org_id, from_balance, microcredits FROM ledger_pending")
    assert pending is not None
    assert tuple(pending.values()) == ("acme", True, 9)
    await postgres.stop()


@pytest.mark.parametrize("field", ["granted", "spent", "held"])
async def test_a_balance_in_redis_that_is_off_is_named_with_the_amount(bank: Bank, field: str) -> None:
    await bank.grant(100)
    await bank.use(30)
    await bank.relay.deliver()
    sound = await reconcile_balances(EMPTY, bank.balances, PostgresLedger(bank.postgres))
    assert (sound.balances, sound.differences, list(sound.lines())[-1]) == (1, (), "drift 0")
    key = partition_keys(partition_of("acme", 2)).balance("acme")
    await bank.redis.command("HINCRBY", key, field, 7)
    report = await reconcile_balances(EMPTY, bank.balances, PostgresLedger(bank.postgres))
    assert [(found.what, found.drift_microcredits) for found in report.differences] == [
        (f"balance of acme: {field}", 7)
    ]


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [("x", "", "expires at"), ("x", "1:1499", "expires at"), ("ref", "7", "top-up")],
)
async def test_what_a_balance_was_told_beside_its_amount_is_compared_too(
    bank: Bank, field: str, value: str, what: str
) -> None:
    await bank.grant(500, expires_in=60)
    await bank.relay.deliver()
    await bank.balance()
    key = partition_keys(partition_of("acme", 2)).balance("acme")
    sound = await reconcile_balances(EMPTY, bank.balances, PostgresLedger(bank.postgres))
    assert sound.exit_code == 0
    await bank.redis.command("HSET", key, field, value)
    report = await reconcile_balances(EMPTY, bank.balances, PostgresLedger(bank.postgres))
    assert report.differences
    assert all(what in found.what for found in report.differences)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("ledger_balances", "granted"),
        ("ledger_balances", "spent"),
        ("ledger_balances", "debt"),
        ("ledger_balances", "receivable"),
        ("ledger_grant_balances", "left"),
        ("ledger_grant_balances", "broken"),
    ],
)
async def test_every_kept_sum_is_compared_with_its_lines(bank: Bank, table: str, column: str) -> None:
    await bank.grant(10, expires_in=5)
    await bank.use(4)
    await bank.use(3, prepaid=False)
    await bank.expire(6)
    await bank.use(50, minute=6)
    await bank.post()
    ledger = PostgresLedger(bank.postgres)
    assert await ledger.differences() == []
    await bank.postgres.execute(f"UPDATE {table} SET {column}_microcredits = {column}_microcredits + 77")
    (off,) = await ledger.differences()
    assert off["found"] - off["expected"] == 77


async def test_usage_that_never_reached_the_ledger_is_found(bank: Bank) -> None:
    await bank.use(30)
    await bank.postgres.execute("DELETE FROM ledger_pending")
    report = await reconcile_balances(EMPTY, bank.balances, PostgresLedger(bank.postgres))
    (found,) = report.differences
    assert (found.what, found.expected_microcredits, found.found_microcredits) == ("ledger acme usage", 30, 0)


async def lose_the_latest_change(bank: Bank) -> None:
    """As a Redis does that is restored from an older state: the change was delivered, and is gone."""
    key = partition_keys(partition_of("acme", 2)).balance("acme")
    await bank.grant(100)
    await bank.relay.deliver()
    older = await bank.redis.command("DUMP", key)
    await bank.grant(40)
    await bank.relay.deliver()
    await bank.redis.command("RESTORE", key, 0, older, "REPLACE")


async def test_a_grant_that_redis_lost_after_it_was_told_is_found(bank: Bank) -> None:
    await lose_the_latest_change(bank)
    report = await reconcile_balances(EMPTY, bank.balances, PostgresLedger(bank.postgres))
    assert [(found.what, found.drift_microcredits) for found in report.differences] == [
        ("balance of acme: granted", 40)
    ]


async def test_a_balance_that_went_back_in_time_is_built_anew_though_nothing_changes_any_more(
    bank: Bank,
) -> None:
    await lose_the_latest_change(bank)
    await bank.bookkeeper.round()
    assert (await bank.balance()).granted == 140
    report = await reconcile_balances(EMPTY, bank.balances, PostgresLedger(bank.postgres))
    assert list(report.lines())[-1] == "drift 0"


async def test_a_change_that_is_delivered_while_reconciling_is_no_drift(bank: Bank) -> None:
    await bank.grant(100)
    await bank.relay.deliver()
    await bank.grant(40)

    class Delivering(PostgresLedger):
        async def balances(self, queries: Sequence[BalanceQuery]) -> list[BalanceBooks]:
            await bank.relay.deliver()
            return await super().balances(queries)

    report = await reconcile_balances(EMPTY, bank.balances, Delivering(bank.postgres))
    assert list(report.lines())[-1] == "drift 0"


async def test_a_key_of_a_grant_of_before_the_ledger_is_no_key_of_a_refund(bank: Bank) -> None:
    await bank.postgres.execute(
        "INSERT INTO credit_grants (grant_id, org_id, idempotency_key, amount_microcredits, reason, granted_by, "
        "granted_at) VALUES ('g1', 'acme', 'k', 100, 'r', 'cli:root', now())"
    )
    await bank.use(100)
    await bank.post()
    usage = await bank.postgres.fetch_value("SELECT id FROM ledger_transactions WHERE kind = 'usage'")
    with pytest.raises(IdempotencyConflict):
        await bank.ledger.refund("acme", usage, 100, reason="r", actor="admin", idempotency_key="k")


async def test_usage_that_a_gateway_of_before_the_ledger_writes_or_settles_is_paid_by_balance(
    bank: Bank,
) -> None:
    await bank.grant(100)
    await bank.use(30)
    columns = (
        "started_at, finished_at, key_id, tags, provider, model, operation, route, streamed, input_tokens, "
        "cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, buckets, cost_usd, "
        "credits_microcredits, held_microcredits, usage_source, status, flags, gateway_id, partition, sequence"
    )
    for request_id, org in (("old", "acme"), ("other", "globex")):
        await bank.postgres.execute(
            f"INSERT INTO usage_events (request_id, org_id, {columns}) SELECT $1, $2, {columns} FROM usage_events "
            "WHERE request_id NOT IN ('old', 'other')",
            request_id,
            org,
        )
    settled = merge(entry("settled", charged_microcredits=5))
    assert settled.from_balance is None
    await UsageTable(bank.postgres).write([settled])
    pending = await bank.postgres.fetch(
        "SELECT org_id, from_balance, sum(microcredits)::bigint FROM ledger_pending GROUP BY 1, 2 ORDER BY 1"
    )
    assert [tuple(row.values()) for row in pending] == [("acme", True, 65), ("globex", False, 30)]


async def test_a_statement_says_what_was_used_beside_the_balance_posted_or_not(bank: Bank) -> None:
    await bank.use(3_000_000, minute=1, prepaid=False)
    await bank.use(500_000, minute=2)
    reading = LedgerReading(bank.postgres)
    span = bank.in_minutes(0), bank.in_minutes(60)
    before = await reading.statement("acme", *span)
    await bank.poster.post("acme", bank.in_minutes(60))
    after = await reading.statement("acme", *span)
    assert [(one.postpaid, one.not_posted, one.of(Kind.USAGE), one.closing) for one in (before, after)] == [
        (3_000_000, 500_000, 0, 0),
        (3_000_000, 0, -500_000, -500_000),
    ]
