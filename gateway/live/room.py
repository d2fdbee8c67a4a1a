"""One organisation that somebody listens to: who listens, what they missed lately, what is in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from gateway.budgets.balances import BalanceReading
from gateway.budgets.windows import Calendar
from gateway.identity.roles import Reach
from gateway.live import wire
from gateway.live.audience import Audience
from gateway.live.flights import Flights
from gateway.live.history import History
from gateway.live.listener import Listener
from gateway.live.settlement import Settlement

REFRESH_US = 60_000_000


class Room:
    """Audiences are found by what they may see, so that an event costs nothing to those that may not."""

    def __init__(self, org: str, partition: int, position: int) -> None:
        self.org = org
        self.partition = partition
        self.history = History(position)
        self.balance: BalanceReading | None = None
        self.flights = Flights()
        self.reading = asyncio.Lock()
        """Held while what somebody missed is read from the stores."""
        self._told_day_us = 0
        self._told_at_us = 0
        self._audiences: dict[tuple[Reach, bool], Audience] = {}
        self._by_sight: dict[tuple[str, str], set[Audience]] = {}
        self._whole: set[Audience] = set()

    def __len__(self) -> int:
        return sum(len(audience.listeners) for audience in self._audiences.values())

    @property
    def audiences(self) -> tuple[Audience, ...]:
        return tuple(self._audiences.values())

    def audience(self, reach: Reach, *, names: bool = True) -> Audience:
        """The audience of ``reach`` that sees people by ``names`` or does not, made if it is not there."""
        found = self._audiences.get((reach, names))
        if found is None:
            found = self._audiences[reach, names] = Audience(reach, names=names)
            if reach.whole:
                self._whole.add(found)
            for sight in _sights(reach):
                self._by_sight.setdefault(sight, set()).add(found)
        return found

    def leave(self, audience: Audience, listener: Listener) -> bool:
        """Idempotent. An audience that nobody is left in goes; says whether it did."""
        audience.listeners.discard(listener)
        known_as = (audience.reach, audience.names)
        if audience.listeners or self._audiences.get(known_as) is not audience:
            return False
        del self._audiences[known_as]
        self._whole.discard(audience)
        for sight in _sights(audience.reach):
            others = self._by_sight[sight]
            others.discard(audience)
            if not others:
                del self._by_sight[sight]
        return True

    def take(self, settlement: Settlement) -> None:
        """Count a settlement and have it told at the next flush."""
        self.history.append(settlement)
        self.flights.end(settlement.request_id)
        found = set(self._whole)
        for sight in (
            ("team", settlement.team or ""),
            ("user", settlement.user or ""),
            ("key", settlement.key),
        ):
            found |= self._by_sight.get(sight, set())
        for audience in found:
            audience.take(settlement)

    def flush(self) -> None:
        for audience in self._audiences.values():
            audience.flush()

    def tell_totals(
        self, calendar: Calendar, now_us: int, position: int, balance: BalanceReading | None
    ) -> None:
        """`totals` to every audience that something changed for; to all when the balance or the day changed, and
        from time to time, because rates fall by themselves.
        """
        day_us = calendar.around(now_us).day.start_us
        old = (
            _shown(balance) != _shown(self.balance)
            or day_us != self._told_day_us
            or now_us - self._told_at_us >= REFRESH_US
        )
        if old:
            self._told_day_us, self._told_at_us = day_us, now_us
        self.balance = balance
        for audience in self._audiences.values():
            if not (audience.changed or old):
                continue
            audience.changed = False
            shared = audience.encoded(calendar, now_us, self.balance)
            for listener in audience.listeners:
                document = shared + audience.ending(listener, position)
                listener.push(wire.framed(b"totals", document, max(position, listener.after)))

    def tell_flights(self, now_s: float) -> None:
        """`in_flight` to every audience that has calls open, and once to those that have none left."""
        calls = self.flights.now(now_s)
        for audience in self._audiences.values():
            seen = [
                call
                for call in calls
                if audience.reach.covers(call.get("team"), call.get("user"), call["key"])
            ]
            if not seen and not audience.showed_flights:
                continue
            audience.showed_flights = bool(seen)
            told = wire.event(b"in_flight", Flights.said(seen, names=audience.names))
            for listener in audience.listeners:
                listener.push(told)

    def tell_alert(self, data: bytes, team: str | None, user: str | None, key: str | None) -> None:
        """An alert of the organisation (all three None), or of one team, user or key, to those who see it."""
        whole = team is None and user is None and key is None
        for audience in self._audiences.values():
            if audience.reach.whole or (not whole and audience.reach.covers(team, user, key)):
                for listener in audience.listeners:
                    listener.push(data)

    def keep_alive(self, now_s: float, after_s: float) -> None:
        for audience in self._audiences.values():
            for listener in audience.listeners:
                listener.keep_alive(now_s, after_s)

    def end(self, reason: str) -> None:
        for audience in self._audiences.values():
            for listener in audience.listeners:
                listener.end(reason)


def _shown(balance: BalanceReading | None) -> tuple[int, int] | None:
    return None if balance is None else (balance.left, balance.held)


def _sights(reach: Reach) -> Iterator[tuple[str, str]]:
    for kind, names in (("team", reach.teams), ("user", reach.users), ("key", reach.keys)):
        for name in names or ():
            yield kind, name
