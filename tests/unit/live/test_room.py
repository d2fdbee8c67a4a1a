"""Who hears what: by reach, once, and in order."""

from __future__ import annotations

import orjson
import pytest

from gateway.identity.roles import Reach
from gateway.live.flights import TOLD_FOR_S, Flights
from gateway.live.history import KEPT, History
from gateway.live.listener import Listener
from gateway.live.room import Room
from tests.unit.live.making import ORG, PRINCIPAL, WHOLE, of_user, settlement


class Ear(Listener):
    """A listener that shows what it was pushed."""

    def __init__(self, after: int = 0) -> None:
        super().__init__(PRINCIPAL, after, 0)
        self.heard: list[bytes] = []

    def push(self, data: bytes) -> None:
        self.heard.append(data)

    @property
    def ids(self) -> list[int]:
        lines = b"".join(self.heard).split(b"\n")
        return [int(line[4:]) for line in lines if line.startswith(b"id: ")]


@pytest.mark.parametrize(
    ("reach", "heard"),
    [
        (WHOLE, [1, 2, 3]),
        (of_user("ada"), [1]),
        (of_user("bob"), [2, 3]),
        (Reach(ORG, frozenset({"sales"}), frozenset({"ada"}), frozenset()), [1, 3]),
        (Reach(ORG, None, None, frozenset({"bob-key"})), [2, 3]),
        (Reach(ORG, frozenset(), None, frozenset()), []),
    ],
)
def test_settlements_reach_those_who_may_see_them(reach: Reach, heard: list[int]) -> None:
    room, ear = Room(ORG, 0, 0), Ear()
    room.audience(reach).listeners.add(ear)
    for told in (settlement(1), settlement(2, user="bob"), settlement(3, user="bob", team="sales")):
        room.take(told)
    room.flush()
    assert ear.ids == heard
    assert room.audience(reach).charged_microcredits == 10 * len(heard)


def test_who_may_not_see_people_by_name_hears_no_users() -> None:
    room, owner, auditor = Room(ORG, 0, 0), Ear(), Ear()
    room.audience(WHOLE, names=True).listeners.add(owner)
    blind = room.audience(WHOLE, names=False)
    blind.listeners.add(auditor)
    call = {
        "id": "r2",
        "model": "m",
        "operation": "chat",
        "team": None,
        "user": "ada",
        "key": "k",
        "seconds": 1,
    }
    room.flights.take("one", [{**call, "bytes": 0, "tokens": 0, "microcredits": 1, "held": 2}], now_s=0.0)
    room.take(settlement(1))
    room.flush()
    room.tell_flights(0.0)
    assert b'"ada"' in b"".join(owner.heard)
    assert auditor.ids == [1]
    assert b'"ada"' not in b"".join(auditor.heard)
    assert room.leave(blind, auditor)
    room.take(settlement(2))
    room.flush()
    assert (owner.ids, auditor.ids) == ([1, 2], [1])


def test_who_joins_between_two_flushes_hears_only_what_came_after() -> None:
    room, early, late = Room(ORG, 0, 0), Ear(), Ear(after=1)
    room.audience(WHOLE).listeners.add(early)
    room.take(settlement(1))
    room.audience(WHOLE).listeners.add(late)
    room.take(settlement(2))
    room.flush()
    assert (early.ids, late.ids) == ([1, 2], [2])


def test_an_audience_that_everybody_left_is_gone() -> None:
    room, ear = Room(ORG, 0, 0), Ear()
    audience = room.audience(of_user("ada"))
    audience.listeners.add(ear)
    assert room.leave(audience, ear)
    room.take(settlement(1))
    assert audience.charged_microcredits == 0
    assert not len(room)


def test_history_tells_everything_after_a_number_or_that_it_cannot() -> None:
    history = History(floor=10)
    for sequence in range(11, 11 + KEPT):
        history.append(settlement(sequence))
    assert [each.sequence for each in history.after(KEPT + 8) or ()] == [KEPT + 9, KEPT + 10]
    assert history.after(9) is None
    history.append(settlement(11 + KEPT))
    assert history.after(10) is None
    assert len(history.after(11) or ()) == KEPT
    history.restart(5000)
    assert history.after(4999) is None
    assert history.after(5000) == []


def test_older_settlements_are_put_before_the_kept_ones() -> None:
    history = History(floor=10)
    history.append(settlement(11))
    history.prepend([settlement(8), settlement(9)], floor=7)
    assert [each.sequence for each in history.after(7) or ()] == [8, 9, 11]


def test_calls_in_flight_go_when_they_settle_or_their_gateway_is_silent() -> None:
    flights = Flights()
    flights.take("one", [{"id": "a"}, {"id": "b"}], 0.0)
    flights.take("two", [{"id": "c"}], 1.0)
    flights.end("a")
    assert [call["id"] for call in flights.now(2.0)] == ["b", "c"]
    assert [call["id"] for call in flights.now(TOLD_FOR_S)] == ["c"]


def test_alerts_of_the_organisation_are_not_for_members() -> None:
    room, owner, ada, bob = Room(ORG, 0, 0), Ear(), Ear(), Ear()
    for reach, ear in ((WHOLE, owner), (of_user("ada"), ada), (of_user("bob"), bob)):
        room.audience(reach).listeners.add(ear)
    room.tell_alert(b"org", None, None, None)
    room.tell_alert(b"ada", None, "ada", None)
    assert (owner.heard, ada.heard, bob.heard) == ([b"org", b"ada"], [b"ada"], [])


def test_calls_in_flight_are_shown_within_reach_and_their_end_once() -> None:
    room, ada = Room(ORG, 0, 0), Ear()
    room.audience(of_user("ada")).listeners.add(ada)
    call = {
        "id": "a", "model": "m", "operation": "chat", "team": None, "user": "ada", "key": "k", "seconds": 1.0,
        "bytes": 5, "tokens": 1, "microcredits": 3, "held": 9,
    }  # fmt: skip
    room.flights.take("one", [call, {**call, "id": "b", "user": "bob"}], 0.0)
    for _ in range(3):
        room.tell_flights(0.0)
        room.flights.end("a")
    shown = [orjson.loads(data.split(b"data: ")[1]) for data in ada.heard]
    assert [document["open"] for document in shown] == [1, 0]
    assert shown[0]["calls"][0]["so_far"] == {"microcredits": 3, "credits": "0.000003"}
