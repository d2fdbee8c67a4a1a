"""The latest settlements of one organisation, so that a listener that comes back gets what it missed at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from gateway.live.settlement import Settlement

KEPT = 2_000
"""About a megabyte per organisation that is listened to."""


class History:
    """Everything of the organisation with a sequence above ``floor``, in order."""

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self._kept: deque[Settlement] = deque()

    def append(self, settlement: Settlement) -> None:
        self._kept.append(settlement)
        if len(self._kept) > KEPT:
            self.floor = self._kept.popleft().sequence

    def prepend(self, settlements: Iterable[Settlement], floor: int) -> None:
        """All settlements between ``floor`` and the present floor, in order."""
        self._kept.extendleft(reversed(list(settlements)))
        self.floor = floor
        while len(self._kept) > KEPT:
            self.floor = self._kept.popleft().sequence

    def restart(self, floor: int) -> None:
        """Something was missed: nothing up to ``floor`` is known for certain any more."""
        self._kept.clear()
        self.floor = floor

    def after(self, sequence: int) -> list[Settlement] | None:
        """What came after ``sequence``; None when that is further back than what is kept."""
        if sequence < self.floor:
            return None
        return [settlement for settlement in self._kept if settlement.sequence > sequence]
