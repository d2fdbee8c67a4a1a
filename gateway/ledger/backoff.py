"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Doubles from ``first_s`` to ``most_s``; shortened at random by up to half, so that all differ."""

    first_s: float = 0.1
    most_s: float = 5.0
    jitter: Callable[[], float] = random.random
    _tries: int = 0

    def next_s(self) -> float:
        full_s = min(self.most_s, self.first_s * float(1 << min(self._tries, 16)))
        self._tries += 1
        return full_s * (1 - self.jitter() / 2)

    def reset(self) -> None:
        self._tries = 0
