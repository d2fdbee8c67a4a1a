"""SQL kept in `.sql` files as named blocks, loaded once.

A block starts with a line ``-- name: insert_key`` and runs to the next such line. Comments before the first
name belong to the file. Whoever needs blocks loads them at import, so that a missing file fails at start.
"""

from __future__ import annotations

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)[ \t]*$", re.MULTILINE)


class Queries:
    """The blocks of one file. ``queries["insert_key"]`` is the text of the block; `KeyError` if there is
    none.
    """

    def __init__(self, text: str, origin: str = "<text>") -> None:
        self._origin = origin
        self._blocks: dict[str, str] = {}
        marks = list(_NAME.finditer(text))
        if not marks:
            raise ValueError(f"{origin}: no block starts with a line '-- name: ...'")
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        for mark, end in zip(marks, ends, strict=True):
            name, block = mark["name"], text[mark.end() : end].strip()
            if name in self._blocks:
                raise ValueError(f"{origin}: block {name!r} is there twice")
            if not block:
                raise ValueError(f"{origin}: block {name!r} is empty")
            self._blocks[name] = block

    @classmethod
    def load(cls, package: str, file: str) -> Queries:
        """The blocks of ``file`` beside the modules of ``package``."""
        return cls(files(package).joinpath(file).read_text("utf-8"), f"{package}/{file}")

    def __getitem__(self, name: str) -> str:
        try:
            return self._blocks[name]
        except KeyError:
            raise KeyError(f"{self._origin} has no block {name!r}; it has {sorted(self._blocks)}") from None
