"""The pages about the API say what is there: no more, no less."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import GatewayProcess
from tests.support.staffed import ask
from tests.support.staffed import staffed as staffed
from tools.api_reference import renewed

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
CALLED = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/api/[^`?]*)")
TESTED = re.compile(r"`(test_\w+)`")


@pytest.fixture(scope="module")
def described(staffed: GatewayProcess) -> dict[str, Any]:
    document: dict[str, Any] = ask(staffed, "GET", "/api/openapi.json", key=None).json()
    return document


@pytest.mark.parametrize("page", sorted(page.name for page in DOCS.glob("*.md")))
def test_every_address_that_a_page_names_is_there(described: dict[str, Any], page: str) -> None:
    own = {"/api/openapi.json"}
    missing = [
        f"{method} {path}"
        for method, path in CALLED.findall((DOCS / page).read_text(encoding="utf-8"))
        if path not in own and method.lower() not in described["paths"].get(path, {})
    ]
    assert missing == []


def test_every_line_of_the_features_has_a_test_named_after_it() -> None:
    there = {
        name
        for file in (PROJECT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8"))
    }
    named = set(TESTED.findall((DOCS / "features.md").read_text(encoding="utf-8")))
    assert named - there == set()


def test_the_reference_is_that_of_this_api(described: dict[str, Any]) -> None:
    """Write it anew with tools/api_reference.py."""
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    assert renewed(page, described) == page


def test_every_operation_is_described_for_people(described: dict[str, Any]) -> None:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], f"{method} {path}"
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                assert "example" in content, f"{method} {path} has no example"
