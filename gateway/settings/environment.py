"""Settings from the environment: ``TOLLGATE_SERVER__PORT=9000`` goes over ``server.port`` of the file.

Which setting came from where is kept, so that what is wrong with it is said of the right one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gateway.settings.problems import Problems, suggestion

PREFIX = "TOLLGATE_"
SOURCE = "environment"
_BETWEEN = "__"

Origins = dict[tuple[str, ...], str]
"""Paths that the environment gives, and the variable that does."""


def overlay(
    document: dict[str, Any], environment: Mapping[str, str], sections: Collection[str], problems: Problems
) -> Origins:
    """Put what the environment gives into ``document``.

    A variable whose first part is no section is left alone if it has no other part (``TOLLGATE_KEY`` is a shell's
    own business, and Kubernetes makes ``TOLLGATE_PORT``); with more parts it can only be a mistyped setting.
    """
    origins: Origins = {}
    for name in sorted(environment):
        if not name.upper().startswith(PREFIX):
            continue
        path = tuple(name[len(PREFIX) :].lower().split(_BETWEEN))
        if path[0] not in sections:
            if len(path) > 1:
                problems.add(
                    SOURCE, name, f"there is no section {path[0]!r}; {suggestion(path[0], list(sections))}"
                )
            continue
        for leaf, value in _leaves(path, _value(environment[name])):
            if _put(document, leaf, value):
                origins[leaf] = name
            else:
                problems.add(SOURCE, name, f"{'.'.join(leaf)}: the file has a single value above this path")
    return origins


def origin(origins: Origins, path: tuple[str, ...]) -> str | None:
    """The variable that gave what is at ``path``, if one did."""
    return next((name for given, name in origins.items() if path[: len(given)] == given), None)


def _value(text: str) -> Any:
    """Mappings and lists are written as JSON; everything else is text, which each setting reads as what it is."""
    if text[:1] in ("{", "["):
        try:
            return json.loads(text)
        except ValueError:
            return text  # a secret may begin so
    return text


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves((*path, str(key)), item)
    else:
        yield path, value


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any) -> bool:
    holder = document
    for part in path[:-1]:
        if holder.get(part) is None:
            holder[part] = {}
        holder = holder[part]
        if not isinstance(holder, dict):
            return False
    holder[path[-1]] = value
    return True
