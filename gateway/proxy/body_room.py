"""How much memory the request bodies of all clients of this process may take together.

Every request has a bound of its own; without this one, as many clients as there are sockets could each come near it.
A body counts from its first byte until its request has ended, and once more while it is decoded. A request whose
client went away has not ended before what it used is known: that may be counted in its body.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from gateway.errors import GatewayBusy


class BodyRoom:
    """Of one process."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.taken = 0

    def share(self) -> Share:
        """For one request: ``with room.share() as share: ...``."""
        return Share(self)

    def take(self, size: int) -> None:
        """Raises `GatewayBusy` when there is not so much left; nothing is taken then."""
        if self.taken + size > self._bytes_max:
            raise GatewayBusy
        self.taken += size


class Share:
    """What one request holds of the room; all of it goes back when the block ends, or when `give_back` is called if it
    was handed over.
    """

    __slots__ = ("_handed_over", "_room", "_taken")

    def __init__(self, room: BodyRoom) -> None:
        self._room = room
        self._taken = 0
        self._handed_over = False

    def take(self, size: int) -> None:
        """As `BodyRoom.take`."""
        self._room.take(size)
        self._taken += size

    def hand_over(self) -> None:
        """The end of the block is not the end of the request: somebody else will give it back."""
        self._handed_over = True

    def give_back(self) -> None:
        """Idempotent."""
        self._room.taken -= self._taken
        self._taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._handed_over:
            self.give_back()
