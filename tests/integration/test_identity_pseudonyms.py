"""Pseudonyms over the real database: stable everywhere, traceable with the organisation's key alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.identity.postgres_secrets import OrgSecrets, Purpose
from gateway.identity.pseudonyms import Pseudonyms
from gateway.identity.vault import EncryptionNotConfigured, Unsealable, Vault
from gateway.ledger.migrate import migrate
from gateway.settings.encryption import EncryptionSettings
from gateway.stores.postgres import Postgres
from tests.support.people import vault


@pytest.fixture
async def postgres(postgres_dsn: str) -> AsyncIterator[Postgres]:
    await migrate(postgres_dsn)
    postgres = Postgres(postgres_dsn)
    await postgres.start()
    yield postgres
    await postgres.stop()


def pseudonyms(postgres: Postgres) -> Pseudonyms:
    return Pseudonyms(OrgSecrets(postgres, vault()))


async def test_all_gateways_give_a_user_the_same_pseudonym_also_when_they_begin_at_once(
    postgres: Postgres,
) -> None:
    answers = await asyncio.gather(*(pseudonyms(postgres).of("acme", ["ada", "bob"]) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["ada"] != answers[0]["bob"]
    assert all(name.startswith("anon-") and "ada" not in name for name in answers[0].values())


async def test_one_person_has_another_pseudonym_in_another_organisation(postgres: Postgres) -> None:
    ours = pseudonyms(postgres)
    assert await ours.of("acme", ["ada"]) != await ours.of("other", ["ada"])


async def test_a_destroyed_key_takes_every_pseudonym_with_it(postgres: Postgres) -> None:
    ours = pseudonyms(postgres)
    before = await ours.of("acme", ["ada"])
    async with postgres.transaction() as session:
        await OrgSecrets(postgres, vault()).destroy(session, "acme", Purpose.PSEUDONYMS)
    ours.forget("acme")
    assert await ours.of("acme", ["ada"]) != before


async def test_the_key_is_kept_sealed_in_its_own_row(postgres: Postgres) -> None:
    secrets = OrgSecrets(postgres, vault())
    key = await secrets.get("acme", Purpose.PSEUDONYMS)
    stored = await postgres.fetch_value("SELECT secret_sealed FROM org_secrets")
    assert stored.startswith("k1.")
    assert key.hex() not in stored
    await postgres.execute(
        "INSERT INTO org_secrets (org_id, purpose, secret_sealed) VALUES ('evil', 'pseudonyms', $1)", stored
    )
    with pytest.raises(Unsealable):
        await secrets.get("evil", Purpose.PSEUDONYMS)


async def test_without_encryption_there_are_no_pseudonyms(postgres: Postgres) -> None:
    bare = Pseudonyms(OrgSecrets(postgres, Vault(EncryptionSettings())))
    with pytest.raises(EncryptionNotConfigured):
        await bare.of("acme", ["ada"])
