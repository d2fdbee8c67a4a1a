"""Replacing the encryption key: everything sealed is found, moved, and readable without the old key."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.identity.people import NewPerson
from gateway.identity.postgres_rotation import Progress, Rotation
from gateway.identity.profile import Profile
from gateway.identity.roles import Reach
from gateway.identity.vault import EncryptionNotConfigured, Unsealable, Vault
from gateway.settings.encryption import EncryptionSettings
from tests.support.people import ROOT, Office, office, vault


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str) -> AsyncIterator[Office]:
    async with office(redis_url, postgres_dsn) as made:
        yield made


async def rotate(place: Office, used: Vault) -> dict[str, Progress]:
    return {progress.column: progress async for progress in Rotation(place.postgres, used).run()}


async def people_under_k1(place: Office, count: int) -> None:
    for number in range(count):
        profile = Profile(name=f"Person {number}", email=f"p{number}@example.com")
        await place.people.create(
            "acme", NewPerson(f"p/{number}".replace("/", ":"), profile=profile), by=ROOT
        )


async def test_everything_is_readable_with_the_new_key_alone(place: Office) -> None:
    await people_under_k1(place, 7)
    done = await rotate(place, vault("k2", "k1", "k2"))
    assert done["people.name_sealed"].replaced == done["people.email_sealed"].replaced == 7
    assert done["org_secrets.secret_sealed"].replaced == 1
    only_new = place.made_with(vault("k2")).people
    found = await only_new.get("acme", "p:3", Reach("acme"))
    assert (found.profile.name, found.profile.email) == ("Person 3", "p3@example.com")
    with pytest.raises(Unsealable):
        await place.people.get("acme", "p:3", Reach("acme"))


async def test_again_it_finds_nothing_left_to_do(place: Office) -> None:
    await people_under_k1(place, 3)
    await rotate(place, vault("k2", "k1", "k2"))
    assert {progress.total for progress in (await rotate(place, vault("k2"))).values()} == {0}


async def test_every_column_named_sealed_is_text_in_a_table_with_a_primary_key(place: Office) -> None:
    rows = await place.postgres.fetch(
        "SELECT table_name || '.' || column_name AS name, data_type FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_name LIKE '%\\_sealed'"
    )
    assert {row["data_type"] for row in rows} == {"text"}
    assert {row["name"] for row in rows} == set(await rotate(place, vault()))


async def test_what_cannot_be_opened_is_named_and_left_and_does_not_stop_the_rest(place: Office) -> None:
    await people_under_k1(place, 3)
    await place.postgres.execute(
        "UPDATE people SET name_sealed = (SELECT name_sealed FROM people WHERE user_id = 'p:0') "
        "WHERE user_id = 'p:1'"
    )
    done = (await rotate(place, vault("k2", "k1", "k2")))["people.name_sealed"]
    assert (done.total, done.replaced) == (3, 2)
    assert done.unsealable == ("people.name_sealed/acme/p%3A1",)


async def test_without_an_active_key_nothing_is_touched(place: Office) -> None:
    with pytest.raises(EncryptionNotConfigured):
        await rotate(place, Vault(EncryptionSettings()))
