"""The hub behind ``GET /api/credits/live``: one subscription to Redis, any number of listeners.

When Redis is down listeners stay and hear nothing; when it is back they get what they missed, or a `reset`. When
Postgres is down settlements and balances go on; sums that need it are null until it is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from datetime import datetime
from typing import Protocol

import orjson

from gateway.budgets.balances import BalanceReading
from gateway.budgets.directory import OrgRules
from gateway.budgets.keyspace import partition_of
from gateway.budgets.windows import Calendar
from gateway.errors import ShuttingDown, StoreUnavailable, Unauthenticated
from gateway.identity.roles import Action, Principal, Reach
from gateway.ledger.row import microseconds
from gateway.live import channels, wire
from gateway.live.audience import Audience
from gateway.live.backlog import Backlog, TooMuch
from gateway.live.bases import Bases
from gateway.live.follower import Feed, Follower
from gateway.live.listener import Listener
from gateway.live.redis_feed import Message
from gateway.live.room import Room
from gateway.live.settlement import Settlement
from gateway.live.tally import Tally
from gateway.stores.postgres import PostgresError

log = logging.getLogger("tollgate.live")

FLUSH_S = 0.1
FLUSH_S_MAX = 0.5
FLUSH_S_EACH = 0.0002
"""Settlements are told together, because a write costs some 20 us whatever is in it: ten times a second for up to 500
listeners, twice a second for 2,500 and more, so that writing takes a tenth of a core at most.
"""
TOTALS_S = 1.0
CHECK_S = 1.0
"""How soon a listener whose key was revoked, or whose role has changed, is sent away."""
HEARTBEAT_S = 15.0
"""Proxies close connections that are quiet for 30 to 60 s."""
UP_WAIT_S = 5.0
CHECKED_AT_ONCE = 100

Recheck = Callable[[], Awaitable[Principal]]
"""Who the credential of a listener stands for now. Raises `Unauthenticated` and its kin, or `StoreUnavailable`."""


class Balances(Protocol):
    """See `gateway.budgets.redis_balances.RedisBalances`."""

    async def reading(self, org: str) -> BalanceReading | None: ...


class LiveHub:
    """`start` and `stop` are idempotent. Nothing is asked of Redis while nobody listens."""

    def __init__(
        self,
        feed: Feed,
        backlog: Backlog,
        balances: Balances,
        rules: Callable[[str], OrgRules],
        *,
        now: Callable[[], datetime],
        partitions: int = 1,
        tally: Tally | None = None,
    ) -> None:
        """``rules``: of an organisation, as they are now."""
        self._backlog = backlog
        self._balances = balances
        self._rules = rules
        self._now = now
        self._partitions = partitions
        self._tally = tally or Tally()
        self._feed = feed
        self._follower = self._new_follower()
        self._rooms: dict[str, Room] = {}
        self._rechecks: dict[Listener, Recheck] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._bases = Bases(backlog, self._calendar, now)
        self._stopped = True

    def __len__(self) -> int:
        """How many listen."""
        return len(self._tally)

    async def start(self) -> None:
        self._stopped = False

    async def stop(self) -> None:
        """Tell every listener that this gateway stops. To be called before waiting for requests in flight."""
        self._stopped = True
        for room in self._rooms.values():
            room.flush()
            room.end("shutting_down")
        self._bases.stop()
        await self._rest()

    # ---------------------------------------------------------------- one listener

    async def listen(
        self, principal: Principal, reach: Reach, last_event_id: int | None, recheck: Recheck
    ) -> AsyncGenerator[bytes, None]:
        """The bytes to send to one client, from its first totals on; closing the iterator ends it.

        The caller iterates at once: errors come from the first step. ``reach`` names an organisation. Raises
        `RateLimited` (too many listeners), `ShuttingDown`, `StoreUnavailable`.
        """
        assert reach.org_id is not None
        if self._stopped:
            raise ShuttingDown
        self._tally.enter(principal.counted_as, reach.org_id)
        try:
            await self._follow()
            # From here to the first await: whatever is settled after this position reaches the listener.
            room = self._room(reach.org_id)
            audience = room.audience(reach, names=principal.names_people(Action.SEE_USAGE))
            position = self._follower.positions[room.partition]
            listener = Listener(principal, position, audience.charged_microcredits)
            audience.listeners.add(listener)
            try:
                self._rechecks[listener] = recheck
                await self._follower.add(channels.flights(room.org))
                yield await self._opening(room, audience, listener, last_event_id)
                chunks = listener.chunks(
                    lambda: self._bases.known(audience),
                    lambda why: self._reset(room, audience, listener, why),
                )
                async for chunk in chunks:
                    yield chunk
            finally:
                self._rechecks.pop(listener, None)
                if room.leave(audience, listener):
                    self._bases.drop(audience)
                if not len(room) and self._rooms.get(room.org) is room:
                    del self._rooms[room.org]
                    await self._follower.drop(channels.flights(room.org))
        finally:
            self._tally.leave(principal.counted_as, reach.org_id)
            if not len(self._tally):
                await self._rest()

    async def _opening(
        self, room: Room, audience: Audience, listener: Listener, last_event_id: int | None
    ) -> bytes:
        """What a client gets first: what it missed, or a `reset` if that cannot be told, and totals."""
        position = listener.after
        self._bases.need(audience, room.partition, position)
        await self._bases.known(audience)
        if room.balance is None:
            room.balance = await self._balances.reading(room.org)
        missed: list[Settlement] | None = []
        if last_event_id is not None:
            missed = await self._missed_by(room, last_event_id, position)
        if missed is None:
            return wire.RETRY + self._reset(room, audience, listener, "too_old")
        if last_event_id is not None and last_event_id > position:
            listener.after = last_event_id  # another gateway was ahead of this one
        seen = [
            settlement
            for settlement in missed
            if audience.reach.covers(settlement.team, settlement.user, settlement.key)
        ]
        listener.baseline -= sum(settlement.microcredits for settlement in seen)
        told = b"".join(settlement.told(audience.names) for settlement in seen)
        return wire.RETRY + told + self._totals(b"totals", room, audience, listener, listener.after)

    async def _missed_by(self, room: Room, after: int, position: int) -> list[Settlement] | None:
        """Settlements in (after, position]; None when they cannot be told."""
        if after > position:
            return [] if after <= await self._backlog.position(room.partition) else None
        found = room.history.after(after)
        if found is None:
            async with room.reading:  # thousands come back at once after a gateway died: one of them reads
                floor = room.history.floor
                if after < floor:
                    try:
                        older = await self._backlog.between(room.partition, after, floor, [room.org])
                    except (TooMuch, StoreUnavailable, PostgresError):
                        return None
                    if room.history.floor != floor:
                        return None  # it moved on meanwhile, so that there is a hole
                    room.history.prepend(older, floor=after)
                found = room.history.after(after)
        return None if found is None else [each for each in found if each.sequence <= position]

    def _totals(
        self,
        name: bytes,
        room: Room,
        audience: Audience,
        listener: Listener,
        sequence: int,
        more: bytes = b"",
    ) -> bytes:
        shared = audience.encoded(self._calendar(room.org), self._now_us(), room.balance)
        return wire.framed(name, shared + more + audience.ending(listener, sequence), sequence)

    def _reset(self, room: Room, audience: Audience, listener: Listener, reason: str) -> bytes:
        """Fresh totals for a client that cannot be told all that happened. What is in them is not told again."""
        position = max(listener.after, self._follower.positions[room.partition])
        listener.after = position
        why = b',"reason":' + orjson.dumps(reason)
        return self._totals(b"reset", room, audience, listener, position, why)

    # ---------------------------------------------------------------- what is told to all (Hearer)

    def orgs(self, partition: int) -> Collection[str]:
        return [room.org for room in self._rooms.values() if room.partition == partition]

    def settled(self, settlement: Settlement) -> None:
        room = self._rooms.get(settlement.org)
        if room is not None:
            room.take(settlement)

    def missed(self, partition: int, position: int) -> None:
        for room in self._rooms.values():
            if room.partition == partition:
                room.history.restart(position)
                for audience in room.audiences:
                    audience.spending.forget()
                    self._bases.read(audience, room.partition, position)
                    for listener in audience.listeners:
                        listener.fall_behind("missed")

    def published(self, message: Message) -> None:
        org = channels.org_of_flights(message.channel)
        try:
            document = orjson.loads(message.data)
            room = self._rooms.get(document["org"] if org is None else org)
            if room is None:
                return
            if org is not None:
                room.flights.take(document["gateway"], document["calls"], self._time_s())
            else:
                told = wire.event(b"alert", document["alert"])
                room.tell_alert(told, *(document.get(scope) for scope in ("team", "user", "key")))
        except (ValueError, KeyError, TypeError) as error:
            log.error("something published cannot be read", extra={"reason": type(error).__name__})

    # ---------------------------------------------------------------- life while somebody listens

    async def _follow(self) -> None:
        """Begin to follow if nobody listened before; wait until it is known where things stand."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._follower.follow()),
                asyncio.create_task(self._repeat(self._flush, self._flush_s)),
                asyncio.create_task(self._repeat(self._tell_totals, lambda: TOTALS_S)),
                asyncio.create_task(self._repeat(self._check, lambda: CHECK_S)),
            ]
        try:
            async with asyncio.timeout(UP_WAIT_S):
                await self._follower.up.wait()
        except TimeoutError:
            raise StoreUnavailable("Live events need Redis, which does not answer.") from None

    async def _rest(self) -> None:
        """Nobody listens: let go of Redis."""
        tasks, self._tasks = self._tasks, []
        self._follower = self._new_follower()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _new_follower(self) -> Follower:
        return Follower(self._feed, self._backlog, self, partitions=self._partitions)

    def _room(self, org: str) -> Room:
        room = self._rooms.get(org)
        if room is None:
            partition = partition_of(org, self._partitions)
            room = self._rooms[org] = Room(org, partition, self._follower.positions[partition])
        return room

    async def _flush(self) -> None:
        for room in self._rooms.values():
            room.flush()

    async def _tell_totals(self) -> None:
        now_s = self._time_s()
        rooms = list(self._rooms.values())
        for room in rooms:
            room.flush()
            room.tell_flights(now_s)
            room.keep_alive(now_s, HEARTBEAT_S)
        balances = await asyncio.gather(*(self._balances.reading(room.org) for room in rooms))
        for room, balance in zip(rooms, balances, strict=True):
            room.flush()  # what was settled while Redis was asked
            position = self._follower.positions.get(room.partition, room.history.floor)
            room.tell_totals(self._calendar(room.org), self._now_us(), position, balance)

    async def _check(self) -> None:
        """Send away who may not listen any more."""
        listeners = list(self._rechecks.items())
        for start in range(0, len(listeners), CHECKED_AT_ONCE):
            await asyncio.gather(
                *(self._recheck(*each) for each in listeners[start : start + CHECKED_AT_ONCE])
            )

    async def _recheck(self, listener: Listener, recheck: Recheck) -> None:
        try:
            principal = await recheck()
        except Unauthenticated:
            listener.end("revoked")
        except (StoreUnavailable, PostgresError):
            return
        else:
            if principal != listener.principal:
                listener.end("role_changed")

    def _flush_s(self) -> float:
        return min(max(FLUSH_S, len(self) * FLUSH_S_EACH), FLUSH_S_MAX)

    async def _repeat(self, work: Callable[[], Awaitable[None]], every_s: Callable[[], float]) -> None:
        while True:
            await asyncio.sleep(every_s())
            try:
                await work()
            except StoreUnavailable:
                continue
            except Exception:
                # The edge of supervision: one bad round must not be the last one.
                log.exception("a round of live events failed; the next one tries again")

    def _calendar(self, org: str) -> Calendar:
        return self._rules(org).calendar

    def _now_us(self) -> int:
        return microseconds(self._now())

    def _time_s(self) -> float:
        return asyncio.get_running_loop().time()
