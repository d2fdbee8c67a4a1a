"""``@record(frozen=True, slots=True)``: a dataclass of which many are made for every request.

To mypy it is `dataclasses.dataclass`, so nothing can change a field. At run time nothing watches over that: a
frozen dataclass sets each of its fields through ``object.__setattr__``, which takes four times as long, and a
request makes some twenty of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass

    T = TypeVar("T")

    def record(*, frozen: bool, slots: bool) -> Callable[[type[T]], type[T]]:
        """``frozen`` stands there for mypy; equal records hash alike, as frozen ones do."""
        return dataclass(slots=slots, unsafe_hash=frozen)


__all__ = ["record"]
