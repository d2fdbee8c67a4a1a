"""A YAML file as a mapping, with ``${NAME}`` filled in from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gateway.errors import ConfigError
from gateway.settings.problems import Problems

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Document:
    """What one file says."""

    source: Path
    values: dict[str, Any]
    variables: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    """Paths whose value names variables, and which."""
    unset: frozenset[tuple[str, ...]] = frozenset()
    """Paths that name a variable which the environment does not set; their values mean nothing."""


def read_document(path: Path, problems: Problems) -> Document | None:
    """The file with its variables filled in; None if it is not a YAML mapping. Tells every variable not set."""
    try:
        return _Filling(path, problems).fill(_parse(path))
    except ConfigError as error:
        problems.take(error.message)
        return None


def read_yaml(path: Path) -> dict[str, Any]:
    """As `read_document`. Raises `ConfigError`."""
    problems = Problems()
    document = read_document(path, problems)
    problems.raise_any()
    return document.values if document is not None else {}


def fill_environment(path: Path, problems: Problems) -> None:
    """Take ``NAME=value`` lines of ``path``, if it exists, for variables that the environment does not set."""
    if not path.exists():
        return
    try:
        text = _text(path)
    except ConfigError as error:
        problems.take(error.message)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        name, equals, value = line.strip().partition("=")
        if not name or name.startswith("#"):
            continue
        if not equals or not _NAME.fullmatch(name):
            problems.add(path, f"line {number}", "write NAME=value")
            continue
        os.environ.setdefault(name, value)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error


def _parse(path: Path) -> dict[Any, Any]:
    """Duplicate keys are an error, not a silent last-wins."""
    text = _text(path)
    try:
        document = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader that also refuses duplicates
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{path}: {at}is not valid YAML: {said}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from error
    except (ValueError, TypeError, RecursionError) as error:
        # What PyYAML lets through of the types it makes: 2026-02-30, numbers of 5,000 digits, lists as keys.
        raise ConfigError(f"{path}: holds a value that is not one: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be a mapping (name: value) at its top level")
    return document


class _Filling:
    def __init__(self, source: Path, problems: Problems) -> None:
        self._source = source
        self._problems = problems
        self._variables: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._unset: set[tuple[str, ...]] = set()

    def fill(self, document: Mapping[Any, Any]) -> Document:
        values = {str(key): self._filled((str(key),), value) for key, value in document.items()}
        return Document(self._source, values, self._variables, frozenset(self._unset))

    def _filled(self, path: tuple[str, ...], value: Any) -> Any:
        if isinstance(value, str):
            return self._text(path, value)
        if isinstance(value, Mapping):
            return {key: self._filled((*path, str(key)), item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled((*path, str(index)), item) for index, item in enumerate(value)]
        return value

    def _text(self, path: tuple[str, ...], text: str) -> str:
        names = tuple(_VARIABLE.findall(text))
        if not names:
            return text
        self._variables[path] = names
        for name in dict.fromkeys(names):
            if name not in os.environ:
                self._unset.add(path)
                self._problems.add(
                    self._source, ".".join(path), f"the environment variable {name} is not set: set it"
                )
        return _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), text)


class _StrictLoader(yaml.SafeLoader):
    """YAML as people write it, minus the trap of a key given twice."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in found:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is given twice", key_node.start_mark
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
