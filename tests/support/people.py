"""What tests of people share: a migrated database, a vault, and the stores opened."""

from __future__ import annotations

from pydantic import SecretStr

from gateway.identity.vault import Vault
from gateway.settings.encryption import EncryptionSettings

VAULT_KEYS = {
    "k1": "8f0c2a5be1d34796a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718",
    "k2": "c0ffee00112233445566778899aabbccddeeff0123456789abcdef0011223344",
}


def vault(active: str = "k1", *key_ids: str) -> Vault:
    """A vault with the keys ``key_ids`` (default: the active one alone)."""
    keys = {key_id: SecretStr(VAULT_KEYS[key_id]) for key_id in key_ids or (active,)}
    return Vault(EncryptionSettings(active=active, keys=keys))
