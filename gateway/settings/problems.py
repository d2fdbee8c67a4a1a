"""Everything that is wrong with a configuration, collected before any of it is told.

One line for each problem: the file (or ``environment``), the path inside it, the reason, and what to do where the
reason does not say so. A value is never shown: it may be a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gateway.errors import ConfigError

Path = tuple[str, ...]

_REASONS = {
    "missing": "is required: add it",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping (name: value)",
    "model_type": "must be a mapping (name: value)",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}


class Problems:
    """Collects; raises once."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, source: object, where: str, reason: str) -> None:
        lines = reason.splitlines() or [reason]
        for line in lines:
            self._lines[f"{source}: {where}: {line}" if where else f"{source}: {line}"] = None

    def take(self, told: str) -> None:
        """Lines that name source and path already."""
        self._lines.update(dict.fromkeys(told.splitlines()))

    def raise_any(self) -> None:
        """Raises `ConfigError` with one line for each problem, if there are any."""
        if self._lines:
            raise ConfigError("\n".join(self._lines))


def violations(model: type[BaseModel], error: ValidationError) -> Iterator[tuple[Path, str, str]]:
    """Each problem as (path, kind of problem, reason)."""
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        loc = problem["loc"]
        path = tuple(str(part) for part in loc if part != "[key]")
        kind = problem["type"]
        if kind == "extra_forbidden":
            reason = f"unknown key; {suggestion(path[-1], known_keys(model, loc[:-1]))}"
        else:
            said = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
            reason = _REASONS.get(kind) or said
        yield path, kind, reason


def suggestion(given: str, known: Sequence[str]) -> str:
    """What may have been meant by a name that is not one of ``known``."""
    close = difflib.get_close_matches(given, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"


def known_keys(annotation: Any, path: Sequence[int | str]) -> tuple[str, ...]:
    """The keys that a mapping at ``path`` inside a value of this type may have."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {field.alias or name: field for name, field in annotation.model_fields.items()}
        if not path:
            return tuple(fields)
        field = fields.get(str(path[0]))
        return known_keys(field.annotation, path[1:]) if field is not None else ()
    origin, choices = get_origin(annotation), get_args(annotation)
    if origin in (dict, Mapping):
        return known_keys(choices[1], path[1:]) if path else ()
    if origin in (tuple, list):
        return known_keys(choices[0], path[1:]) if path else ()
    return tuple(name for choice in choices for name in known_keys(choice, path))
