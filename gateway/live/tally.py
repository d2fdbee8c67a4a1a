"""How many listen, and how many may."""

from __future__ import annotations

from collections import Counter

from gateway.errors import RateLimited

LISTENERS_MAX = 5_000
"""Of one process: a file descriptor and some 300 KB each at the very worst, 30 KB as a rule."""
LISTENERS_MAX_ORG = LISTENERS_MAX // 2
"""Of one organisation, however many people it has: the others have as much room left."""
LISTENERS_MAX_EACH = 20
"""Of one person, or of a team's keys that belong to nobody: tabs of a browser and a script or two."""
RETRY_S = 10


class Tally:
    """``caller``: see `gateway.identity.roles.Principal.counted_as`; ``org``: which organisation they listen to."""

    def __init__(
        self,
        most: int = LISTENERS_MAX,
        most_org: int = LISTENERS_MAX_ORG,
        most_each: int = LISTENERS_MAX_EACH,
    ) -> None:
        self._most = most
        self._most_org = most_org
        self._most_each = most_each
        self._of: Counter[str] = Counter()
        self._of_org: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._of.total()

    def enter(self, caller: str, org: str) -> None:
        """One more. Raises `RateLimited` when that is one too many."""
        if self._of.total() >= self._most:
            raise RateLimited(
                "This gateway has as many live listeners as it serves; try again.", retry_after_s=RETRY_S
            )
        if self._of_org[org] >= self._most_org:
            raise RateLimited(
                f"{org} has as many live listeners as this gateway serves for one organisation; try again.",
                retry_after_s=RETRY_S,
            )
        if self._of[caller] >= self._most_each:
            raise RateLimited(
                f"You have {self._most_each} live connections open, which is as many as you may; close one.",
                retry_after_s=RETRY_S,
            )
        self._of[caller] += 1
        self._of_org[org] += 1

    def leave(self, caller: str, org: str) -> None:
        for counted, name in ((self._of, caller), (self._of_org, org)):
            counted[name] -= 1
            if counted[name] <= 0:
                del counted[name]
