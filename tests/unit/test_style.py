"""The rules of this house that no linter knows. A failure names the file, the line and the rule."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SHIPPED = ("gateway", "pricing", "migrations")
CHECKED = (*SHIPPED, "benchmarks", "tests")
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "helper", "models", "manager", "misc"}
# A driver may be imported by the adapters of its store; HTTP by what serves or calls it.
DRIVER_HOMES = {
    "asyncpg": ("gateway/stores/", "postgres_"),
    "redis": ("gateway/stores/", "redis_"),
    "aiohttp": (
        *("gateway/proxy/", "gateway/api/", "gateway/app.py", "gateway/alerts/"),
        *("gateway/simulator/", "gateway/cli/", "gateway/__main__.py"),
    ),
}


def files(*folders: str) -> list[Path]:
    found = (path for folder in folders for path in (PROJECT / folder).rglob("*.py"))
    return sorted(path for path in found if "node_modules" not in path.parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def where(path: Path, node: ast.AST | None = None) -> str:
    line = f":{node.lineno}" if isinstance(node, ast.stmt | ast.expr | ast.ExceptHandler) else ""
    return f"{path.relative_to(PROJECT)}{line}"


def test_files_are_short_enough_to_read() -> None:
    lengths = {where(path): len(path.read_bytes().splitlines()) for path in files(*CHECKED)}
    assert {path: lines for path, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_functions_fit_a_screen() -> None:
    too_long = {
        f"{where(path, node)} {node.name}": lines
        for path in files(*CHECKED)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert too_long == {}


def test_files_are_named_after_what_they_hold() -> None:
    assert [where(path) for path in files(*CHECKED) if path.stem in NAMES_THAT_SAY_NOTHING] == []


def test_catching_everything_has_a_reason_beside_it() -> None:
    unexplained = [
        where(path, handler)
        for path in files(*SHIPPED)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Try)
        for handler in node.handlers
        if _is_broad(handler) and not _is_explained(path, node, handler)
    ]
    assert unexplained == []


@pytest.mark.parametrize("driver", DRIVER_HOMES)
def test_drivers_are_imported_by_their_adapters_alone(driver: str) -> None:
    homes = DRIVER_HOMES[driver]
    strays = [
        where(path)
        for path in files("gateway", "pricing")
        if driver in set(_imported(path))
        and not any(where(path).startswith(home) or path.name.startswith(home) for home in homes)
    ]
    assert strays == []


def test_tests_wait_for_events_not_for_time() -> None:
    sleeps = [
        where(path, node)
        for path in files("tests")
        if path.name.startswith("test_")  # what tests/support polls is a process, and it has a deadline
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep"}
        if not (node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0)
    ]
    assert sleeps == []


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0]


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = {"Exception", "BaseException"}
    return any(kind is None or (isinstance(kind, ast.Name) and kind.id in broad) for kind in caught)


def _is_explained(path: Path, attempt: ast.Try, handler: ast.ExceptHandler) -> bool:
    """By a comment at the try or at the except, or by handing the exception on, which catches nothing."""
    lines = path.read_text().splitlines()
    beside = [lines[attempt.lineno - 2], *lines[handler.lineno - 2 : handler.body[0].lineno]]
    hands_on = any(isinstance(node, ast.Raise) for node in handler.body)
    return hands_on or any("#" in line for line in beside)
