"""Erasing people: no sum changes at any moment, whatever interrupts it, whatever arrives late, whoever writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.api.postgres_answers import Answer, Answers, Asked
from gateway.errors import Conflict, NotFound, RevokedKey
from gateway.identity.erasure import FORGOTTEN_AFTER, Erasure
from gateway.identity.issuing import NewKey
from gateway.identity.people import NewPerson
from gateway.identity.profile import Profile
from gateway.identity.roles import Role
from gateway.jobs.upkeep import upkeep_trades
from gateway.ledger.postgres_calendars import Calendars, OrgCalendar
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.row import UsageRow, merge, microseconds
from tests.support.people import ROOT, Office, blocked, office
from tests.support.usage_events import ADMISSION, RESULT, entry
from tests.unit.budgets.making import ask_for

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SUMS = (
    "SELECT concat((SELECT sum(credits_microcredits) FROM usage_events), ' ', "
    "(SELECT sum(credits_microcredits) FROM usage_rollups), ' ', "
    "(SELECT sum(requests) FROM usage_rollups), ' ', (SELECT sum(cost_usd) FROM usage_days))"
)

ERASED = {
    *("alert_reads.reader", "alert_subscriptions.user_id", "alerts.user_id", "deliveries.target"),
    *(
        "alert_addresses.created_by",
        "alert_addresses.user_id",
        "alert_settings.changed_by",
        "webhook_endpoints.created_by",
    ),
    *("api_answers.caller", "api_keys.created_by", "api_keys.user_id", "conversations.user_id"),
    *("managed_limits.changed_by", "memberships.granted_by", "memberships.user_id", "people.user_id"),
    *("top_ups.changed_by", "top_ups.requested_by", "top_ups.requested_by_user"),
    *("usage_days.user_id", "usage_events.user_id", "usage_rollups.user_id"),
    *("erasures.requested_by", "erasures.user_id"),
}
STAYS = {
    # Append-only, and kept by law.
    *("audit_log.actor", "credit_grants.granted_by", "ledger_transactions.actor"),
    # What clients said of others.
    *("usage_events.end_user", "usage_events.end_user_trusted"),
}


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str) -> AsyncIterator[Office]:
    async with office(redis_url, postgres_dsn) as made:
        yield made


def rows(
    name: str, days: int, user: str = "ada", begin: datetime = NOW - timedelta(days=10)
) -> list[UsageRow]:
    """Two requests on each of so many days."""
    made = []
    for number in range(days * 2):
        at_us = microseconds(begin + timedelta(days=number // 2, hours=number % 2))
        request_id = f"{name}-{user}-{number}"
        made.append(
            merge(
                entry(
                    request_id,
                    started_at_us=at_us,
                    admission=replace(ADMISSION, user_id=user),
                    result=replace(RESULT, finished_at_us=at_us + 1),
                )
            )
        )
    return made


async def agree(place: Office) -> bool:
    return (await PostgresLedger(place.postgres).books([], [])).rollup_differences == ()


async def left(place: Office, user: str = "ada") -> int:
    """Rows of usage that still carry the id."""
    count: int = await place.postgres.fetch_value(
        "SELECT (SELECT count(*) FROM usage_events WHERE user_id = $1) "
        "+ (SELECT count(*) FROM usage_rollups WHERE user_id = $1) "
        "+ (SELECT count(*) FROM usage_days WHERE user_id = $1)",
        user,
    )
    return count


async def begun(place: Office) -> Erasure:
    await place.people.create("acme", NewPerson("ada", profile=Profile(name="Ada")), by=ROOT)
    return await place.registry.erasures.request("acme", "ada", by=ROOT, now=NOW)


async def test_interrupted_after_any_day_it_goes_on_where_it_was_and_the_books_agree_throughout(
    place: Office,
) -> None:
    await UsageTable(place.postgres).write(rows("r", 4) + rows("r", 4, "bob"))
    before = await place.postgres.fetch_value(SUMS)
    erasure = await begun(place)
    for days_done in range(1, 5):
        once = iter([True, False]).__next__
        partly = await place.registry.erasures.proceed(erasure, NOW, go_on=once)
        assert await agree(place)
        assert await place.postgres.fetch_value(SUMS) == before
        moved = "SELECT count(DISTINCT started_at::date) FROM usage_events WHERE user_id LIKE 'erased-%'"
        assert await place.postgres.fetch_value(moved) == days_done
        assert (partly.completed_at is None) == (days_done < 4)
        if partly.completed_at is not None:
            break
    assert (await left(place), await left(place, "bob")) == (0, 20)
    assert await place.postgres.fetch_value(SUMS) == before


async def test_while_usage_is_being_written_nothing_is_lost_or_counted_twice(place: Office) -> None:
    table = UsageTable(place.postgres)
    await table.write(rows("first", 3))
    erasure = await begun(place)

    async def keep_writing() -> None:
        for number in range(15):
            await table.write(rows(f"late{number}", 3))

    writing = asyncio.create_task(keep_writing())
    while not writing.done():
        await place.registry.erasures.proceed(erasure, NOW)
        assert await agree(place)
    await writing
    await place.registry.erasures.run(NOW)
    assert await left(place) == 0
    assert await agree(place)
    assert await place.postgres.fetch_value("SELECT sum(requests)::int FROM usage_days") == 16 * 6


async def test_usage_waits_for_the_persons_open_calls_and_profile_and_keys_do_not(place: Office) -> None:
    await UsageTable(place.postgres).write(rows("r", 1))
    ask = ask_for(10, subject=ask_for().subject._replace(user="ada"))
    grant = await place.holds.hold(ask)
    erasure = await begun(place)
    assert await place.postgres.fetch_value("SELECT count(*) FROM people WHERE user_id = 'ada'") == 0
    waiting = await place.registry.erasures.proceed(erasure, NOW)
    assert waiting.completed_at is None
    assert await left(place) > 0
    await place.holds.release(ask.request_id, "acme")
    assert grant.amount == 10
    assert (await place.registry.erasures.proceed(erasure, NOW)).completed_at == NOW
    assert await left(place) == 0


async def test_what_arrives_late_is_moved_until_the_id_itself_is_forgotten(place: Office) -> None:
    await begun(place)
    erase = upkeep_trades(place.registry.erasures, place.registry.retention, lambda: NOW)[0]
    await place.registry.erasures.run(NOW)
    await UsageTable(place.postgres).write(rows("late", 1))
    async with place.postgres.transaction() as session:
        (job, *_) = await erase.schedule.jobs(NOW)  # type: ignore[union-attr]
        await erase.work(job, session)
    assert await left(place) == 0
    with pytest.raises(Conflict, match="is being erased"):
        await place.person("ada")
    await place.registry.erasures.run(NOW + FORGOTTEN_AFTER)
    told = await place.postgres.fetch_value("SELECT json_agg(e)::text FROM erasures e")
    assert '"user_id":null' in told
    assert '"ada"' not in told
    await place.person("ada")


async def test_somebody_whom_the_file_names_again_keeps_what_they_use(place: Office) -> None:
    await begun(place)
    await place.registry.erasures.run(NOW)
    place.declare({"orgs": [{"id": "acme", "users": [{"id": "ada"}]}]})
    await UsageTable(place.postgres).write(rows("new", 1))
    await place.registry.erasures.run(NOW + timedelta(hours=1))
    assert await left(place) > 0


async def test_the_last_owner_and_who_is_in_the_file_are_not_erased(place: Office) -> None:
    await place.person("olga", (None, Role.OWNER))
    erasures = place.registry.erasures
    with pytest.raises(Conflict, match="last owner"):
        await erasures.request("acme", "olga", by=ROOT, now=NOW)
    with pytest.raises(Conflict, match=r"limits\.yaml"):
        await erasures.request("acme", "grace", by=ROOT, now=NOW)
    with pytest.raises(NotFound):
        await erasures.request("acme", "nobody", by=ROOT, now=NOW)


async def test_somebody_known_by_usage_alone_can_be_erased(place: Office) -> None:
    await UsageTable(place.postgres).write(rows("r", 1, "ghost"))
    erasure = await place.registry.erasures.request("acme", "ghost", by=ROOT, now=NOW)
    await place.registry.erasures.proceed(erasure, NOW)
    assert await left(place, "ghost") == 0


async def test_asked_twice_at_once_it_is_one_erasure(place: Office) -> None:
    await place.person("ada")
    request = place.registry.erasures.request
    both = await asyncio.gather(*(request("acme", "ada", by=ROOT, now=NOW) for _ in range(4)))
    assert len({erasure.erasure_id for erasure in both}) == 1
    assert [line for line in await place.audited() if "erase" in line] == ["person.erase person:acme/ada"]


async def test_every_column_that_may_name_a_user_is_known_to_erasure_or_said_to_stay(place: Office) -> None:
    """A table that is added has to be thought of: here, in erasure.sql and in subject.sql."""
    found = await place.postgres.fetch(
        "SELECT c.table_name || '.' || c.column_name AS name FROM information_schema.columns c "
        "JOIN information_schema.tables t USING (table_schema, table_name) "
        "WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.table_name !~ '_[0-9]{4}_[0-9]{2}$' "
        "AND (c.column_name LIKE '%user%' OR c.column_name LIKE '%actor%' OR c.column_name LIKE '%\\_by' "
        "OR c.column_name IN ('reader', 'target', 'caller')) ORDER BY 1"
    )
    names = {row["name"] for row in found}
    assert sorted(names - ERASED - STAYS) == []
    assert sorted((ERASED | STAYS) - names) == []


async def test_days_that_are_cut_anew_meanwhile_are_counted_once(place: Office) -> None:
    await UsageTable(place.postgres).write(rows("r", 1) + rows("r", 1, "bob"))
    before = await place.postgres.fetch_value(SUMS)
    erasure, calendars = await begun(place), Calendars(place.postgres)
    await calendars.keep([OrgCalendar("acme", "Pacific/Kiritimati", 0)])
    async with place.postgres.transaction() as session:
        # Erasing moves days, and stops at the next table.
        await session.execute("LOCK TABLE conversations IN EXCLUSIVE MODE")
        erasing = asyncio.create_task(place.registry.erasures.proceed(erasure, NOW))
        await blocked(place.postgres, 1)
        cutting = asyncio.create_task(calendars.recut())
        await blocked(place.postgres, 2)
    await erasing
    assert await cutting == ["acme"]
    assert (await PostgresLedger(place.postgres).books([], [])).cut_differences == ()
    assert await place.postgres.fetch_value(SUMS) == before


async def test_usage_is_written_while_what_others_were_answered_is_looked_through(place: Office) -> None:
    erasure, table = await begun(place), UsageTable(place.postgres)
    told = Answer(200, '{"requested_by": "user:acme/ada"}')
    await Answers(place.postgres).keep(Asked("admin", "confirm_top_up", "1", b""), told)
    async with place.postgres.transaction() as session:
        await session.execute("SELECT FROM api_answers FOR UPDATE")
        erasing = asyncio.create_task(place.registry.erasures.proceed(erasure, NOW))
        await blocked(place.postgres, 1)
        async with asyncio.timeout(5):
            await table.write(rows("r", 1) + rows("r", 1, "bob"))
    assert (await erasing).completed_at == NOW
    assert await left(place) == 0
    assert await agree(place)


async def test_what_is_written_just_before_the_days_move_moves_with_them(place: Office) -> None:
    await UsageTable(place.postgres).write(rows("r", 1) + rows("r", 1, "bob", NOW - timedelta(days=2)))
    erasure = await begun(place)
    async with place.postgres.transaction() as session:
        await session.execute("SELECT FROM org_calendars FOR UPDATE")
        erasing = asyncio.create_task(place.registry.erasures.proceed(erasure, NOW))
        await blocked(place.postgres, 1)  # all that was there has moved, but for the days
        for table in ("usage_events", "usage_rollups", "usage_days"):
            await session.execute(f"UPDATE {table} SET user_id = 'ada' WHERE user_id = 'bob'")
    await erasing
    assert await left(place) == 0
    assert (await PostgresLedger(place.postgres).books([], [])).cut_differences == ()


async def test_a_key_that_is_rotated_meanwhile_and_the_erasure_do_not_wait_for_each_other(
    place: Office,
) -> None:
    issuer, erasures = place.registry.issuer, place.registry.erasures
    await place.person("ada")
    keys = [
        (await issuer.create(NewKey("acme", name, user_id="ada"), actor="x")).listed.record.key_id
        for name in ("first", "second")
    ]
    async with place.postgres.transaction() as session:
        await session.execute("SELECT pg_advisory_xact_lock(hashtext('tollgate.audit'))")
        erasing = asyncio.create_task(erasures.request("acme", "ada", by=ROOT, now=NOW))
        await blocked(place.postgres, 1)  # it has keys, and writes the log
        rotating = asyncio.create_task(issuer.rotate(keys[1], old_until=None, actor="x"))
        await blocked(place.postgres, 2)
    await erasing
    with pytest.raises(Conflict, match="is revoked"):
        await rotating


async def test_a_key_that_is_asked_for_while_its_user_is_erased_is_not_made(place: Office) -> None:
    issuer, erasures = place.registry.issuer, place.registry.erasures
    await place.person("ada")
    async with place.registry.people_table.changing("acme"):
        erasing = asyncio.create_task(erasures.request("acme", "ada", by=ROOT, now=NOW))
        await blocked(place.postgres, 1)
        making = asyncio.create_task(issuer.create(NewKey("acme", "late", user_id="ada"), actor="x"))
        await blocked(place.postgres, 2)
    await erasing
    with pytest.raises(Conflict, match="is being erased"):
        await making


async def test_a_key_that_a_gateway_of_before_made_meanwhile_stops_and_nothing_shared_names_its_user(
    place: Office,
) -> None:
    issuer, erasures = place.registry.issuer, place.registry.erasures
    await place.person("ada")
    first, late = [await issuer.create(NewKey("acme", name, user_id="ada"), actor="x") for name in "12"]
    ring, _ = place.gateway()
    for issued in (first, late):
        await ring.lookup(issued.key)
    erasure = await erasures.request("acme", "ada", by=ROOT, now=NOW)
    await place.postgres.execute(
        "UPDATE api_keys SET revoked_at = NULL WHERE digest = $1", late.listed.digest
    )
    await erasures.proceed(erasure, NOW)
    await ring.refresh()
    for issued in (first, late):
        with pytest.raises(RevokedKey):
            await ring.lookup(issued.key)
        assert b'"ada"' not in await place.redis.command("GET", f"tg:key:{issued.listed.digest}")
