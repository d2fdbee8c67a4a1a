"""All listeners that may see the same: what they are told is made and encoded once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import orjson

from gateway.budgets.balances import BalanceReading
from gateway.budgets.windows import Calendar
from gateway.identity.roles import Reach
from gateway.live import wire
from gateway.live.listener import Listener
from gateway.live.settlement import Settlement
from gateway.live.spending import Spending


class Audience:
    """Of one organisation and one `Reach`. ``names``: whether people are shown by name."""

    def __init__(self, reach: Reach, *, names: bool) -> None:
        self.reach = reach
        self.names = names
        self.listeners: set[Listener] = set()
        self.spending = Spending()
        self.charged_microcredits = 0
        """Since this audience came together."""
        self.changed = False
        """Something happened that its totals do not say yet."""
        self.showed_flights = False
        self.loading: asyncio.Task[None] | None = None
        """Reads what was charged before."""
        self._pending: list[Settlement] = []

    def take(self, settlement: Settlement) -> None:
        self.charged_microcredits += settlement.microcredits
        self.spending.add(settlement.started_at_us, settlement.microcredits)
        self.changed = True
        self._pending.append(settlement)

    def flush(self) -> None:
        """Hand what came since the last flush to every listener."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        first = pending[0].sequence
        everything = b"".join(settlement.told(self.names) for settlement in pending)
        for listener in self.listeners:
            if listener.after < first:
                listener.push(everything)
            else:
                self._push_later_ones(listener, pending)

    def _push_later_ones(self, listener: Listener, pending: Iterable[Settlement]) -> None:
        """To one whose client knows some of ``pending`` from another gateway or from its opening."""
        later = b"".join(
            settlement.told(self.names) for settlement in pending if settlement.sequence > listener.after
        )
        if later:
            listener.push(later)

    def encoded(self, calendar: Calendar, now_us: int, balance: BalanceReading | None) -> bytes:
        """The totals of all its listeners as JSON, but for what `ending` adds of each."""
        sums = self.spending.sums(calendar, now_us)
        document = {
            "time_zone": calendar.time_zone,
            "today": sums and wire.amount(sums.today),
            "this_week": sums and wire.amount(sums.this_week),
            "this_month": sums and wire.amount(sums.this_month),
            "per_hour": sums and wire.amount(sums.per_hour),
            "per_day": sums and wire.amount(sums.per_day),
            "balance": balance
            and {
                "total": wire.amount(balance.left),
                "held": wire.amount(balance.held),
                "left": wire.amount(balance.available),
            },
        }
        return orjson.dumps(document)[:-1]

    def session(self, listener: Listener) -> int:
        """Microcredits charged within this listener's sight since it connected."""
        return self.charged_microcredits - listener.baseline

    def ending(self, listener: Listener, position: int) -> bytes:
        session = orjson.dumps(wire.amount(self.session(listener)))
        return b',"session":%b,"sequence":%d}' % (session, position)
