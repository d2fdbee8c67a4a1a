"""What was read from the stores, for as long as one may go by it without reading it again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

AGE_S_MAX = 60.0
"""How long a change can go unnoticed that was committed and never announced: by a gateway that died in between, or that
could not reach Redis. One more read a minute for each key in use is cheap.
"""


class Remembered(Generic[Key, Value]):
    """At most ``most`` values: the least recently used go first."""

    def __init__(self, most: int, monotonic_s: Callable[[], float]) -> None:
        self._most = most
        self._monotonic_s = monotonic_s
        self._kept: OrderedDict[Key, tuple[Value, float]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """None: it is not there, or so old that it has to be asked for again."""
        found = self._kept.get(key)
        if found is None or self._monotonic_s() >= found[1]:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def last(self, key: Key) -> Value | None:
        """However old: for when nobody answers."""
        found = self._kept.get(key)
        return None if found is None else found[0]

    def keep(self, key: Key, value: Value) -> None:
        self._kept[key] = (value, self._monotonic_s() + AGE_S_MAX)
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def doubt(self) -> None:
        """All have to be asked for again, and stay for when nobody answers."""
        for key, (value, _) in self._kept.items():
            self._kept[key] = (value, self._monotonic_s())

    def drop(self, key: Key) -> None:
        self._kept.pop(key, None)

    def clear(self) -> None:
        self._kept.clear()
