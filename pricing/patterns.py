"""Names of models with wildcards: `*` stands for any run of characters. Case does not matter."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A model's name, or a family of names."""

    text: str
    _regex: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = (re.escape(part) for part in self.text.lower().split("*"))
        object.__setattr__(self, "_regex", re.compile(".*".join(parts), re.DOTALL))

    @property
    def exact(self) -> bool:
        return "*" not in self.text

    @property
    def rank(self) -> tuple[bool, int]:
        """Sorts by precedence: an exact name above any wildcard, a longer wildcard above a shorter."""
        return self.exact, len(self.text.replace("*", ""))

    def matches(self, model: str) -> bool:
        return self._regex.fullmatch(model.lower()) is not None


def best(entries: Iterable[tuple[Pattern, T]], model: str) -> T | None:
    """What stands beside the most specific pattern that matches, or None."""
    matching = [(pattern.rank, value) for pattern, value in entries if pattern.matches(model)]
    return max(matching, key=lambda item: item[0])[1] if matching else None
