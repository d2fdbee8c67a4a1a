"""What is to be done about a header, by its name, looked up once for each spelling.

Every message has a dozen headers, nearly always of the same names: to find one of them in a dictionary costs less than
to fold its case first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Verdict = TypeVar("Verdict")

REMEMBERED_NAMES_MAX = 1024
REMEMBERED_NAME_BYTES_MAX = 64
"""Header names in use are shorter by half."""


class ByName(dict[bytes, Verdict], Generic[Verdict]):
    """``by_name[name]``: what ``of`` says of ``name`` in lower case."""

    def __init__(self, of: Callable[[bytes], Verdict]) -> None:
        super().__init__()
        self._of = of

    def __missing__(self, name: bytes) -> Verdict:
        verdict = self._of(name.lower())
        # Others choose the names: without bounds they could have names of 64 KB remembered, any number of them.
        if len(name) <= REMEMBERED_NAME_BYTES_MAX:
            if len(self) >= REMEMBERED_NAMES_MAX:
                self.clear()
            self[name] = verdict
        return verdict
