"""The registry of organisations, teams and people, for one command."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from gateway.cli.stores import Stores, actor
from gateway.errors import BadRequest
from gateway.identity.declared import Declarations
from gateway.identity.known_orgs import KnownOrgs
from gateway.identity.registry import Registry
from gateway.identity.roles import Principal, Role
from gateway.identity.vault import Vault
from gateway.settings.config import Settings
from gateway.settings.limits import load_limits
from gateway.stores.postgres import Postgres


def registry_of(stores: Stores) -> Registry:
    limits = load_limits(stores.settings.limits)
    return Registry(
        stores.postgres,
        stores.redis,
        stores.holds,
        Vault(stores.settings.encryption),
        partitions=stores.settings.redis.partitions,
        limits=lambda: limits,
        file=stores.settings.limits,
        # An operator is bound by no key.
        limited=lambda org, key: False,
    )


def known_orgs(postgres: Postgres, settings: Settings) -> KnownOrgs:
    """For commands that need nothing else of the registry."""
    limits = load_limits(settings.limits)
    return KnownOrgs(postgres, Declarations(lambda: limits, settings.limits))


def operator() -> Principal:
    """Whoever may run commands here may do anything."""
    return Principal(actor(), frozenset({Role.ADMIN}))


def valid(kind: Any, value: str, param: str) -> str:
    """``value`` if it is of ``kind``, a type of `gateway.settings.limits`. Raises `BadRequest` naming ``param``."""
    try:
        return str(TypeAdapter(kind).validate_python(value))
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise BadRequest(f"{param}: {value!r}: {reason}") from error
