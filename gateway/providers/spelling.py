"""Protobuf's JSON names: ``maxOutputTokens`` and ``max_output_tokens`` are the same member."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_UPPER = re.compile(r"(?<!\A)([A-Z])")


@lru_cache(maxsize=64)
def snake(camel: str) -> str:
    return _UPPER.sub(r"_\1", camel).lower()


def both(*camel: str) -> frozenset[str]:
    """The names in both spellings."""
    return frozenset(camel) | frozenset(snake(name) for name in camel)


def pick(holder: Mapping[str, Any], camel: str) -> tuple[str, Any]:
    """The spelling of a member that ``holder`` uses (the camelCase one when it uses none), and its value."""
    other = snake(camel)
    return (other, holder[other]) if other in holder and camel not in holder else (camel, holder.get(camel))
