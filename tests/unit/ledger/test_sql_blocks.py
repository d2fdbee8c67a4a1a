"""SQL lives in named blocks."""

from __future__ import annotations

import pytest

from gateway.stores.sql import Queries


def test_blocks_are_found_by_name_without_the_preface() -> None:
    queries = Queries("-- preface\n-- name: first\nSELECT 1\n\n-- name: second\n-- why\nSELECT 2\n")
    assert queries["first"] == "SELECT 1"
    assert queries["second"] == "-- why\nSELECT 2"


@pytest.mark.parametrize(
    "text",
    ["SELECT 1", "-- name: a\n-- name: b\nSELECT 1", "-- name: a\nSELECT 1\n-- name: a\nSELECT 2"],
    ids=["no name", "empty", "twice"],
)
def test_a_file_that_is_not_made_of_blocks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="block"):
        Queries(text)


def test_an_unknown_block_is_named_with_those_there_are() -> None:
    with pytest.raises(KeyError, match=r"no block 'b'.*'a'"):
        Queries("-- name: a\nSELECT 1", "x.sql")["b"]
