"""Random keys of an organisation's own, from which other things are derived; made when first needed, kept sealed.

When Postgres is down everything raises `PostgresUnavailable`; without encryption configured, `EncryptionNotConfigured`.
"""

from __future__ import annotations

import secrets
from enum import StrEnum

from gateway.identity.vault import Vault, place
from gateway.stores.postgres import Postgres, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.identity", "secrets.sql")
SECRET_BYTES = 32


class Purpose(StrEnum):
    """Each has a key of its own, so that none of them can be turned against another."""

    PSEUDONYMS = "pseudonyms"
    EMAIL_DIGESTS = "email_digests"


class OrgSecrets:
    def __init__(self, postgres: Postgres, vault: Vault) -> None:
        self._postgres = postgres
        self._vault = vault

    async def get(self, org: str, purpose: Purpose) -> bytes:
        """32 random bytes, always the same until they are destroyed."""
        where = place("org_secrets", "secret_sealed", org, purpose.value)
        async with self._postgres.session() as session:
            found = await session.fetch_value(_SQL["find"], org, purpose.value)
            if found is None:
                sealed = self._vault.seal(secrets.token_hex(SECRET_BYTES), where)
                await session.execute(_SQL["insert"], org, purpose.value, sealed)
                # Another gateway may have been first: what is stored counts.
                found = await session.fetch_value(_SQL["find"], org, purpose.value)
        return bytes.fromhex(self._vault.open(found, where))

    async def destroy(self, session: Session, org: str, purpose: Purpose) -> None:
        """What was derived with it can never be derived again."""
        await session.execute(_SQL["destroy"], org, purpose.value)
