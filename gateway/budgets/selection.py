"""Which requests a limit's selectors (operation, model) pick."""

from __future__ import annotations

from pricing.catalogue import RESOURCE_PATH


def plain(model: str) -> str:
    """A model's name, or a wildcard, without what makes no other model of it: case, and Google's resource path.

    Prices do not tell such spellings apart either, and where a provider does not, a limit must not.
    """
    lowered = model.lower()
    path = RESOURCE_PATH.match(lowered)
    return lowered if path is None else lowered[path.end() :]


def model_matches(wildcard: str, model: str) -> bool:
    """Whether ``model`` is picked by ``wildcard``, where ``*`` stands for any run of characters. Compared `plain`.

    Each part is looked for once, from where the one before it ended: whoever writes patterns and models may be anybody
    with a key, so the work must not grow faster than their lengths.
    """
    wildcard, model = plain(wildcard), plain(model)
    first, *others = wildcard.split("*")
    if not others:
        return wildcard == model
    *between, last = others
    at, end = len(first), len(model) - len(last)
    if at > end or not (model.startswith(first) and model.endswith(last)):
        return False
    for part in between:
        found = model.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def selects(operation: str | None, model: str | None, of_operation: str, of_model: str) -> bool:
    """Whether a limit on (operation, model), None meaning any, counts a request of the given ones."""
    if operation is not None and operation != of_operation:
        return False
    return model is None or model_matches(model, of_model)
