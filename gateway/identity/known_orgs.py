"""Whether there is an organisation at all: a misspelt one is told so, rather than given money or shown zeros.

When Postgres is down this raises `PostgresUnavailable`, except of what limits.yaml declares.
"""

from __future__ import annotations

from gateway.errors import NotFound
from gateway.identity.declared import Declarations
from gateway.stores.postgres import Postgres
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.identity", "orgs.sql")


class KnownOrgs:
    def __init__(self, postgres: Postgres, declarations: Declarations) -> None:
        self._postgres = postgres
        self._declarations = declarations

    async def check(self, org: str) -> None:
        """Of what is given to ``org``. Raises `NotFound` unless limits.yaml declares it or it was made here."""
        await self._check(org, "org_is_made")

    async def check_read(self, org: str) -> None:
        """Of what is asked about ``org``: one that was taken out of limits.yaml still has a past. Raises `NotFound`."""
        await self._check(org, "org_has_a_past")

    async def _check(self, org: str, query: str) -> None:
        if org in self._declarations.current.orgs:
            return
        if not await self._postgres.fetch_value(_SQL[query], org):
            raise no_such_org(org)


def no_such_org(org: str) -> NotFound:
    return NotFound(
        f"There is no organisation {org!r}: limits.yaml does not declare it, and it was not made here.",
        param="org",
    )
