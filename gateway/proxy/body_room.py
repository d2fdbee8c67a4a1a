"""How much memory the request bodies of all clients of this process may take together.

Every request has a bound of its own; without this one, as many clients as there are sockets could each come near it.
A body counts from its first byte until its request has ended, and once more while it is decoded.
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
    """What one request holds of the room; all of it goes back when the block ends."""

    __slots__ = ("_room", "_taken")

    def __init__(self, room: BodyRoom) -> None:
        self._room = room
        self._taken = 0

    def take(self, size: int) -> None:
        """As `BodyRoom.take`."""
        self._room.take(size)
        self._taken += size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.taken -= self._taken
        self._taken = 0
