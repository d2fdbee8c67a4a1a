"""Encryption at rest: what is sealed opens in its own place under any configured key, and nowhere else."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from gateway.identity.vault import EncryptionNotConfigured, Unsealable, Vault, place
from gateway.settings.encryption import EncryptionSettings

OLD = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
NEW = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ADA = place("people", "email_sealed", "acme", "ada")


def vault(active: str | None = "k1", **keys: str) -> Vault:
    found = {key_id: SecretStr(key) for key_id, key in (keys or {"k1": OLD}).items()}
    return Vault(EncryptionSettings(active=active, keys=found))


def test_what_is_sealed_opens_in_its_own_place_and_says_its_key_but_not_itself() -> None:
    sealed = vault().seal("ada@example.com", ADA)
    assert sealed.startswith("k1.")
    assert "ada" not in sealed
    assert vault().open(sealed, ADA) == "ada@example.com"


def test_the_same_text_is_sealed_differently_each_time() -> None:
    assert vault().seal("ada@example.com", ADA) != vault().seal("ada@example.com", ADA)


@pytest.mark.parametrize(
    "elsewhere",
    [
        place("people", "email_sealed", "acme", "bob"),
        place("people", "email_sealed", "other", "ada"),
        place("people", "phone_sealed", "acme", "ada"),
        place("contacts", "email_sealed", "acme", "ada"),
    ],
)
def test_a_ciphertext_moved_to_another_row_column_table_or_org_is_refused(elsewhere: str) -> None:
    sealed = vault().seal("ada@example.com", ADA)
    with pytest.raises(Unsealable, match="moved from another row"):
        vault().open(sealed, elsewhere)


def test_ids_cannot_be_chosen_so_that_two_places_look_alike() -> None:
    assert place("people", "email_sealed", "a/b", "c") != place("people", "email_sealed", "a", "b/c")


@pytest.mark.parametrize("position", [3, 20, -3])
def test_a_changed_ciphertext_is_refused(position: int) -> None:
    sealed = vault().seal("ada@example.com", ADA)
    changed = "B" if sealed[position] == "A" else "A"
    index = position % len(sealed)
    with pytest.raises(Unsealable):
        vault().open(sealed[:index] + changed + sealed[index + 1 :], ADA)


@pytest.mark.parametrize("sealed", ["", "k1.", "k1.!!", "k1.AAAA", "plain text", "k9.AAAA"])
def test_what_was_never_sealed_is_refused_and_not_shown(sealed: str) -> None:
    with pytest.raises(Unsealable):
        vault().open(sealed, ADA)


def test_while_keys_are_replaced_both_open_and_the_active_one_seals() -> None:
    sealed = vault().seal("ada@example.com", ADA)
    both = vault("k2", k1=OLD, k2=NEW)
    assert both.open(sealed, ADA) == "ada@example.com"
    assert not both.is_current(sealed)
    assert both.is_current(both.seal("x", ADA))
    with pytest.raises(Unsealable, match="'k1', which is not configured"):
        vault("k2", k2=NEW).open(sealed, ADA)


def test_another_key_under_the_same_id_does_not_open() -> None:
    with pytest.raises(Unsealable):
        vault("k1", k1=NEW).open(vault().seal("x", ADA), ADA)


def test_without_a_key_storing_is_refused_and_says_what_to_do() -> None:
    empty = Vault(EncryptionSettings())
    assert not empty.configured
    with pytest.raises(EncryptionNotConfigured, match="openssl rand -hex 32"):
        empty.seal("ada@example.com", ADA)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"active": "k2", "keys": {"k1": OLD}}, "is not one of `keys`"),
        ({"keys": {"k1": OLD}}, "say here which"),
        ({"active": "k1"}, "is not one of `keys`"),
        ({"active": "k1", "keys": {"k1": "short"}}, "32 random bytes"),
        ({"active": "k1", "keys": {"k1": ""}}, "32 random bytes"),
        ({"active": "k1", "keys": {"k1": "00" * 32}}, "repeats a few bytes"),
        ({"active": "K 1", "keys": {"K 1": OLD}}, "lower-case letters"),
        ({"active": "k1", "keys": {"k1": OLD}, "cipher": "none"}, "Extra inputs"),
    ],
)
def test_keys_that_cannot_serve_are_refused_without_showing_them(document: object, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason) as refused:
        EncryptionSettings.model_validate(document)
    assert OLD not in str(refused.value.errors(include_input=False))
