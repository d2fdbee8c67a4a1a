"""How much memory the request bodies of all clients of this process may take together.

Every request has a bound of its own; without this one, as many clients as there are sockets could each come near it.
A body counts from its first byte until its request has ended, and once more while it is decoded. A request whose
client went away has not ended before what it used is known: that may be counted in its body.

No organisation takes all of it: whoever lets its bodies drip in would keep everybody else out.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from gateway.errors import GatewayBusy


class BodyRoom:
    """Of one process. ``body_bytes_max``: so much is left to others by any one organisation, where the room is at least
    twice as large.
    """

    def __init__(self, bytes_max: int, body_bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._each_max = bytes_max - body_bytes_max if bytes_max >= 2 * body_bytes_max else bytes_max
        self._taken_by: dict[str, int] = {}
        self.taken = 0

    def share(self, org: str) -> Share:
        """For one request of ``org``: ``with room.share(org) as share: ...``."""
        return Share(self, org)

    def take(self, org: str, size: int) -> None:
        """Raises `GatewayBusy` when there is not so much left; nothing is taken then."""
        own = self._taken_by.get(org, 0) + size
        if own > self._each_max or self.taken + size > self._bytes_max:
            raise GatewayBusy
        self._taken_by[org] = own
        self.taken += size

    def give_back(self, org: str, size: int) -> None:
        self.taken -= size
        self._taken_by[org] -= size
        if not self._taken_by[org]:
            del self._taken_by[org]


class Share:
    """What one request holds of the room; all of it goes back when the block ends, or when `give_back` is called if it
    was handed over.
    """

    __slots__ = ("_handed_over", "_org", "_room", "_taken")

    def __init__(self, room: BodyRoom, org: str) -> None:
        self._room = room
        self._org = org
        self._taken = 0
        self._handed_over = False

    def take(self, size: int) -> None:
        """As `BodyRoom.take`."""
        if size:
            self._room.take(self._org, size)
            self._taken += size

    def hand_over(self) -> None:
        """The end of the block is not the end of the request: somebody else will give it back."""
        self._handed_over = True

    def give_back(self) -> None:
        """Idempotent."""
        if self._taken:
            self._room.give_back(self._org, self._taken)
            self._taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._handed_over:
            self.give_back()
