"""A thousand requests at once through three gateways, on a budget that fits a third of them."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import (
    INPUT_MICROCREDITS,
    LEAST_OUTPUT_TOKENS,
    ORG_TOTAL,
    OUTPUT_MICROCREDITS,
    OUTPUT_TOKENS_MAX,
    Fleet,
    cost_of,
    limits,
    running_fleet,
)
from tests.support.load import DIALECTS, Outcome, Request, new_session, send_all
from tests.support.servers import TestPostgres
from tests.support.simulator import SimulatorProcess

REQUESTS = 1_000
CONVERSATION = "storm"
ABSURD_CAP = 64_000
INPUT_TOKENS_AT_MOST = 1_000
"""More than any bound that a request of this size can be given for its input."""
LEAST_HOLD = INPUT_TOKENS_AT_MOST * INPUT_MICROCREDITS + LEAST_OUTPUT_TOKENS * OUTPUT_MICROCREDITS
WALL_S_MAX = 60.0


class Sampler:
    """Reads settled and held together, over and over, on a connection and in a thread of its own."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.samples = 0
        self.highest = 0
        self.settled: list[tuple[float, int]] = []
        """(monotonic seconds, settled) at each change."""

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def settled_at(self, instant_s: float) -> int:
        """What was settled at an instant or a moment later."""
        return next((settled for at_s, settled in self.settled if at_s >= instant_s), self.settled[-1][1])

    def _run(self) -> None:
        last = -1
        with self._fleet.redis() as client:
            while not self._stop.is_set():
                settled, held = (int(value or 0) for value in client.hmget(ORG_TOTAL, "s", "h"))
                self.samples += 1
                self.highest = max(self.highest, settled + held)
                if settled != last:
                    self.settled.append((time.monotonic(), settled))
                    last = settled


@pytest.fixture(scope="module")
def fleet(
    server_directory: Path, postgres_server: TestPostgres, simulator_process: SimulatorProcess
) -> Iterator[Fleet]:
    with running_fleet(server_directory, postgres_server, simulator_process, size=3, name="storm") as fleet:
        yield fleet


def mixed_requests() -> list[Request]:
    """Dialects, unary and streaming, tight and absurd caps in all combinations; the same on every run."""
    chance = random.Random(20_26)
    kinds = itertools.cycle(itertools.product(DIALECTS, (False, True), ("tight", "absurd", "none")))
    requests = []
    for dialect, streamed, size in itertools.islice(kinds, REQUESTS):
        wanted = chance.randint(50, 700)
        knobs: dict[str, object] = {"output_tokens": wanted, "tokens_per_event": 50}
        if streamed:
            knobs["chunk_ms"] = 5
        else:
            knobs["first_byte_ms"] = chance.randint(0, 50)
        cap = {"tight": chance.randint(20, wanted + 50), "absurd": ABSURD_CAP, "none": None}[size]
        requests.append(Request(dialect, streamed, cap, knobs, conversation=CONVERSATION))
    chance.shuffle(requests)
    return requests


def expected_cost(request: Request) -> int:
    """What a request costs if its cap is not lowered, short of its (few) input tokens."""
    wanted = int(str(request.knobs["output_tokens"]))
    cap = request.cap or (1024 if request.dialect == "anthropic" else OUTPUT_TOKENS_MAX)
    return min(wanted, cap) * OUTPUT_MICROCREDITS


def assert_books_agree(fleet: Fleet, outcomes: list[Outcome], settled_before: int) -> int:
    """One exact row for each admitted request and for nothing else; returns what they cost together."""
    entries = {entry["label"]: entry for entry in fleet.simulator.requests(wait_s=10)}
    admitted = {outcome.request_id: entries[outcome.request.label] for outcome in outcomes if outcome.ok}
    assert len(admitted) == len(entries), "the provider was asked for something that no client got"
    rows = fleet.rows(CONVERSATION)
    assert rows.keys() == admitted.keys()
    for request_id, entry in admitted.items():
        row = rows[request_id]
        found = (row["input_tokens"], row["output_tokens"], row["credits_microcredits"])
        count = entry["count"]
        assert found == (count["input_tokens"], count["output_tokens"], cost_of(entry))
        assert (row["usage_source"], row["status"]) == ("provider", "ok")
    settled, held = fleet.counter()
    spent = sum(map(cost_of, admitted.values()))
    assert (settled - settled_before, held) == (spent, 0)
    fleet.reconcile()
    return spent


def assert_caps_kept(fleet: Fleet, outcomes: list[Outcome]) -> None:
    """No reply is longer than the cap that went out, and the client is told of every lowered one."""
    entries: dict[str, dict[str, Any]] = {entry["label"]: entry for entry in fleet.simulator.so_far()}
    for outcome in outcomes:
        if not outcome.ok:
            continue
        entry = entries[outcome.request.label]
        caps = list(entry["caps"].values())
        if caps:
            assert entry["count"]["output_tokens"] <= min(caps)
        if outcome.output_cap is not None:
            assert caps == [outcome.output_cap]
            assert outcome.output_cap < (outcome.request.cap or OUTPUT_TOKENS_MAX)


@pytest.mark.slow
async def test_a_storm_never_passes_the_limit_and_every_admitted_request_has_one_exact_row(
    fleet: Fleet, simulator: SimulatorProcess
) -> None:
    requests = mixed_requests()
    settled_before, _ = fleet.counter()
    limit = settled_before + sum(map(expected_cost, requests)) // 3
    await fleet.enforce(limits(limit))
    began_s = time.monotonic()
    with Sampler(fleet) as sampler:
        async with new_session() as session:
            outcomes = await send_all(session, fleet.bases, requests, patient=True)
        await fleet.quiet()
    wall_s = time.monotonic() - began_s

    assert sampler.highest <= limit
    assert sampler.samples > 1_000
    for outcome in outcomes:
        if outcome.ok:
            outcome.assert_whole()
        else:
            outcome.assert_refusal()
            assert outcome.status == 402, "a contended request was given up"
            # What was settled left no room for even the least that this request could be given.
            assert limit - sampler.settled_at(outcome.finished_s) < LEAST_HOLD
    assert_caps_kept(fleet, outcomes)
    spent = assert_books_agree(fleet, outcomes, settled_before)
    assert limit - LEAST_HOLD < settled_before + spent <= limit
    assert wall_s < WALL_S_MAX


async def test_a_budget_mostly_unspent_is_not_starved_by_absurd_caps(
    fleet: Fleet, simulator: SimulatorProcess
) -> None:
    """Three worst cases fill the budget, two hundred real costs are a twentieth of it: nobody is turned away."""
    settled_before, _ = fleet.counter()
    room = 3 * (OUTPUT_TOKENS_MAX * OUTPUT_MICROCREDITS + INPUT_TOKENS_AT_MOST * INPUT_MICROCREDITS)
    await fleet.enforce(limits(settled_before + room))
    knobs = {"output_tokens": 40, "tokens_per_event": 10, "first_byte_ms": 20}
    requests = [
        Request(dialect, streamed, ABSURD_CAP, knobs)
        for dialect, streamed in itertools.islice(
            itertools.cycle(itertools.product(DIALECTS, (False, True))), 200
        )
    ]
    with Sampler(fleet) as sampler:
        async with new_session() as session, asyncio.timeout(WALL_S_MAX):
            outcomes = await send_all(session, fleet.bases, requests, patient=True)
        await fleet.quiet()
    for outcome in outcomes:
        outcome.assert_whole()
    assert_caps_kept(fleet, outcomes)
    assert sampler.highest <= settled_before + room
    settled, held = fleet.counter()
    assert held == 0
    assert settled - settled_before < room // 20
    fleet.reconcile()
