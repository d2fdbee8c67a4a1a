"""Which migrations are still to be applied, and when that is refused."""

from __future__ import annotations

import re

import pytest

from gateway.ledger.migrate import Migration, MigrationError, bundled, pending

FIRST = Migration(1, "first", "CREATE TABLE a ()")
SECOND = Migration(2, "second", "CREATE TABLE b ()")
APPLIED = [(m.version, m.name, m.checksum) for m in (FIRST, SECOND)]

# What takes something away from gateways of the previous version, which still run while this one starts.
CONTRACTING = re.compile(
    r"\bDROP\s+(TABLE|COLUMN|VIEW)\b|\bRENAME\b|\bALTER\s+COLUMN\s+\S+\s+(SET\s+NOT\s+NULL|TYPE)\b|"
    r"\bADD\s+COLUMN\b[^,;]*\bNOT\s+NULL\b(?![^,;]*\bDEFAULT\b)",
    re.IGNORECASE,
)


def test_only_what_was_not_applied_is_pending_in_order() -> None:
    assert pending([FIRST, SECOND], []) == [FIRST, SECOND]
    assert pending([FIRST, SECOND], APPLIED[:1]) == [SECOND]
    assert pending([FIRST, SECOND], APPLIED) == []


def test_a_database_newer_than_this_gateway_is_left_alone() -> None:
    assert pending([FIRST], APPLIED) == []


def test_an_edited_migration_is_refused_by_name() -> None:
    with pytest.raises(MigrationError, match=r"0001_first\.sql was edited"):
        pending([Migration(1, "first", "CREATE TABLE edited ()"), SECOND], APPLIED)


def test_a_migration_that_was_overtaken_is_refused() -> None:
    with pytest.raises(MigrationError, match=r"0001_first\.sql was never applied"):
        pending([FIRST, SECOND], APPLIED[1:])


@pytest.mark.parametrize("versions", [(2,), (1, 1), (1, 3)])
def test_numbers_run_on_without_gaps_or_repeats(versions: tuple[int, ...]) -> None:
    with pytest.raises(MigrationError, match="without gaps"):
        pending([Migration(version, "x", "") for version in versions], [])


def test_those_shipped_run_on_from_one() -> None:
    assert pending(bundled(), []) == list(bundled())
    assert bundled()[0].version == 1


@pytest.mark.parametrize("migration", bundled(), ids=lambda migration: migration.name)
def test_a_migration_only_contracts_when_it_says_what_nobody_uses_any_more(migration: Migration) -> None:
    if CONTRACTING.search(migration.sql):
        assert re.search(r"^-- contracts: \d{4}", migration.sql, re.MULTILINE), (
            "an old gateway may still run: expand now, and contract in a later migration that has a line "
            "'-- contracts: NNNN'"
        )
