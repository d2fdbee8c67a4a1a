"""Redis and Postgres killed under load: what is promised while they are down, and that nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest

from gateway.stores.postgres import Postgres
from tests.chaos.conftest import HOLD_TTL_S
from tests.chaos.test_gateway_death import all_forwarded, lasting
from tests.support.fleet import KEYS, Fleet, aside, cost_of, until
from tests.support.load import DIALECTS, Outcome, Request, new_session, send, send_all
from tests.support.servers import TestPostgres

CLIENTS = 12
KINDS = list(itertools.product(DIALECTS, (False, True)))
EARLY_COMMITS = 10
IMPATIENT_RETRY_S = 0.05
"""Sooner than clients are told to, so that an outage is felt."""


class Load:
    """Clients that call one after the other, in a thread of their own: servers are started from the main one."""

    def __init__(self, fleet: Fleet, conversation: str) -> None:
        self._fleet = fleet
        self._conversation = conversation
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.seen: list[Outcome] = []

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def count(self, status: int) -> int:
        """How many calls have ended with this status so far, in whole."""
        return sum(outcome.status == status and not outcome.broken for outcome in list(self.seen))

    def wait_for_more(self, status: int, more: int) -> None:
        """Until so many more calls have ended with this status."""
        wanted = self.count(status) + more
        aside(until(lambda: self.count(status) >= wanted, f"no {more} more calls end with {status}"))

    async def _run(self) -> None:
        async with new_session() as session, asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._client(session, number))

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        dialect, streamed = KINDS[number % len(KINDS)]
        knobs = {"output_tokens": 30, "chunk_ms": 3} if streamed else {"first_byte_ms": 60}
        base = self._fleet.bases[number % len(self._fleet.bases)]
        while not self._stop.is_set():
            request = Request(dialect, streamed, 50, knobs, conversation=self._conversation)
            outcome = await send(session, base, request)
            self.seen.append(outcome)
            if outcome.status == 503:
                await asyncio.to_thread(self._stop.wait, IMPATIENT_RETRY_S)


def assert_all_charged(fleet: Fleet, seen: list[Outcome], conversation: str) -> None:
    """Every call that the provider answered has its one row; whole ones an exact row."""
    entries = {entry["label"]: entry for entry in fleet.simulator.requests()}
    rows = {row["end_user"]: row for row in fleet.rows(conversation).values()}
    assert rows.keys() == entries.keys()
    for outcome in seen:
        if outcome.ok:
            row, entry = rows[outcome.request.label], entries[outcome.request.label]
            outcome.assert_whole()
            if row["status"] != "reaped":
                assert row["credits_microcredits"] == cost_of(entry)
            else:
                assert row["credits_microcredits"] >= cost_of(entry)


@pytest.mark.slow
def test_nothing_is_admitted_while_redis_is_down_and_nothing_is_lost_when_it_is_back(
    fleet: Fleet, conversation: str
) -> None:
    with Load(fleet, conversation) as load:
        load.wait_for_more(200, 50)
        fleet.redis_server.kill()
        asked_before = len(fleet.simulator.so_far())
        load.wait_for_more(503, 40)
        # What was admitted before may still have been on its way to the provider; nothing after it.
        assert len(fleet.simulator.so_far()) <= asked_before + CLIENTS
        fleet.redis_server.start()
        load.wait_for_more(200, 50)
    for outcome in load.seen:
        if not outcome.ok:
            assert outcome.status == 503, f"{outcome.status} {outcome.body[:300]!r}"
            assert int(outcome.headers["retry-after"]) >= 1
            assert outcome.reason == outcome.headers["x-tollgate-error"]
    aside(fleet.quiet())
    assert fleet.counter()[1] == 0
    assert_all_charged(fleet, load.seen, conversation)
    fleet.reconcile()


def test_calls_that_end_while_redis_is_down_are_settled_exactly_once_it_is_back(
    fleet: Fleet, conversation: str
) -> None:
    """A short outage, as of a restart: the deadlines of the holds have not passed."""
    requests = lasting(conversation, 12, first_byte_ms=600, chunk_ms=3)

    async def calls() -> list[Outcome]:
        async with new_session() as session:
            return await send_all(session, fleet.bases, requests)

    with ThreadPoolExecutor(1) as clients:
        called = clients.submit(asyncio.run, calls())
        aside(all_forwarded(fleet, requests))
        fleet.redis_server.kill()
        fleet.simulator.requests(at_least=len(requests))  # once all of them have ended
        fleet.redis_server.start()
        outcomes = called.result()
    aside(fleet.quiet())
    assert all(outcome.ok for outcome in outcomes)
    assert_all_charged(fleet, outcomes, conversation)
    assert {row["status"] for row in fleet.rows(conversation).values()} == {"ok"}


@pytest.mark.slow
def test_calls_whose_holds_cannot_be_renewed_are_ended_before_they_cost_more_than_was_held(
    fleet: Fleet, conversation: str
) -> None:
    """An outage longer than the holds live: whoever reaps first afterwards charges them, so they must not go on."""
    requests = lasting(conversation, 12, first_byte_ms=60_000, chunk_ms=300)

    async def calls() -> list[Outcome]:
        async with new_session() as session:
            return await send_all(session, fleet.bases, requests)

    with ThreadPoolExecutor(1) as clients:
        called = clients.submit(asyncio.run, calls())
        aside(all_forwarded(fleet, requests))
        held = fleet.held_requests()
        fleet.redis_server.kill()
        ended_s = aside(until(called.done, "calls go on without a hold"))
        fleet.redis_server.start()
    assert ended_s <= HOLD_TTL_S * 1.5 + 1
    for outcome in called.result():
        assert outcome.broken or outcome.status == 503
    assert all(entry["outcome"] == "client_closed" for entry in fleet.simulator.requests())
    aside(fleet.quiet())
    rows = fleet.rows(conversation)
    assert rows.keys() == held.keys()
    assert all(row["credits_microcredits"] <= held[request_id] for request_id, row in rows.items())


@pytest.mark.slow
def test_calls_go_on_while_postgres_is_down_and_their_rows_come_when_it_is_back(
    fleet: Fleet, chaos_postgres: TestPostgres, conversation: str
) -> None:
    with Load(fleet, conversation) as load:
        load.wait_for_more(200, 20)
        chaos_postgres.kill()
        load.wait_for_more(200, 100)
        with fleet.redis() as client:
            waiting = client.xlen(KEYS.stream)
        assert waiting >= 100 - CLIENTS, "settled calls do not wait in the stream"
        chaos_postgres.restart_after_kill()
        load.wait_for_more(200, 20)
    assert all(outcome.ok for outcome in load.seen)
    aside(fleet.quiet())
    assert_all_charged(fleet, load.seen, conversation)


@pytest.mark.slow
def test_what_was_committed_survives_a_crash_of_a_postgres_that_is_set_to_answer_early(
    running: Fleet, chaos_postgres: TestPostgres
) -> None:
    """What is committed is struck off the stream in Redis. `synchronous_commit` is off on this server."""

    async def commit() -> None:
        postgres = Postgres(running.dsn)
        await postgres.start()
        await postgres.execute("CREATE TABLE IF NOT EXISTS committed_early (n int)")
        for n in range(EARLY_COMMITS):
            await postgres.execute("INSERT INTO committed_early VALUES ($1)", n)
        # No statement may come between: what another one waits for would write these too.
        chaos_postgres.kill()
        await postgres.stop()

    aside(commit())
    chaos_postgres.restart_after_kill()
    (found,) = running.fetch("SELECT count(*) AS rows FROM committed_early")
    assert found["rows"] == EARLY_COMMITS


@pytest.mark.slow
def test_a_postgres_that_is_stopped_in_good_order_loses_nothing_either(
    fleet: Fleet, chaos_postgres: TestPostgres, conversation: str
) -> None:
    chaos_postgres.stop()
    with Load(fleet, conversation) as load:
        load.wait_for_more(200, 30)
    chaos_postgres.start()
    assert all(outcome.ok for outcome in load.seen)
    aside(fleet.quiet())
    assert_all_charged(fleet, load.seen, conversation)


@pytest.mark.slow
def test_a_gateway_starts_without_a_postgres_whose_schema_was_right_before(
    fleet: Fleet, chaos_postgres: TestPostgres, conversation: str
) -> None:
    with Load(fleet, conversation) as before:
        before.wait_for_more(200, 20)
    chaos_postgres.stop()
    for gateway in fleet.gateways:
        gateway.stop()
        gateway.serve()
    with Load(fleet, conversation) as load:
        load.wait_for_more(200, 20)
        chaos_postgres.start()
        load.wait_for_more(200, 20)
    seen = [*before.seen, *load.seen]
    assert all(outcome.ok for outcome in seen)
    aside(fleet.quiet())
    assert_all_charged(fleet, seen, conversation)
