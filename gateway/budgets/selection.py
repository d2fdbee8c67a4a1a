"""Which requests a limit's selectors (operation, model) pick."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(maxsize=1024)
def _pattern(wildcard: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in wildcard.split("*")), re.DOTALL)


def model_matches(wildcard: str, model: str) -> bool:
    """Whether ``model`` is picked by ``wildcard``, where ``*`` stands for any run of characters."""
    if "*" not in wildcard:
        return wildcard == model
    return _pattern(wildcard).fullmatch(model) is not None


def selects(operation: str | None, model: str | None, of_operation: str, of_model: str) -> bool:
    """Whether a limit on (operation, model), None meaning any, counts a request of the given ones."""
    if operation is not None and operation != of_operation:
        return False
    return model is None or model_matches(model, of_model)
