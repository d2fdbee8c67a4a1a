"""How many listen, and how many may."""

from __future__ import annotations

from collections import Counter

from gateway.errors import RateLimited

LISTENERS_MAX = 5_000
"""Of one process: a file descriptor and some 300 KB each at the very worst, 30 KB as a rule."""
LISTENERS_MAX_EACH = 20
"""Of one person or key: tabs of a browser and a script or two."""
RETRY_S = 10


class Tally:
    def __init__(self, most: int = LISTENERS_MAX, most_each: int = LISTENERS_MAX_EACH) -> None:
        self._most = most
        self._most_each = most_each
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._of.total()

    def enter(self, actor: str) -> None:
        """One more of ``actor``. Raises `RateLimited` when that is one too many."""
        if self._of.total() >= self._most:
            raise RateLimited(
                "This gateway has as many live listeners as it serves; try again.", retry_after_s=RETRY_S
            )
        if self._of[actor] >= self._most_each:
            raise RateLimited(
                f"You have {self._most_each} live connections open, which is as many as you may; close one.",
                retry_after_s=RETRY_S,
            )
        self._of[actor] += 1

    def leave(self, actor: str) -> None:
        self._of[actor] -= 1
        if self._of[actor] <= 0:
            del self._of[actor]
