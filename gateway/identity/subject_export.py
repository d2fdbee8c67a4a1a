"""Everything that is kept of one person, as one JSON document: what a data subject may ask for.

Not in it, because nobody keeps it: prompts and completions. Nor digests of keys, which say nothing to anybody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import orjson

from gateway.identity.people import Person
from gateway.identity.profile import Profile
from gateway.identity.vault import Vault, place
from gateway.stores.postgres import Postgres
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.identity", "subject.sql")
FORMAT = "tollgate-person-1"
SECTIONS = (
    *("keys", "limits", "conversations", "alerts", "subscriptions", "deliveries", "top_ups"),
    *("audit", "usage_by_day"),
)
_PAGE = 1_000
_START = datetime(1, 1, 1, tzinfo=UTC)


class SubjectExport:
    def __init__(self, postgres: Postgres, vault: Vault) -> None:
        self._postgres = postgres
        self._vault = vault

    async def document(self, person: Person, now: datetime) -> AsyncIterator[bytes]:
        """The document in pieces; usage comes last and page by page, however much it is."""
        org, user = person.org_id, person.user_id
        head = {"format": FORMAT, "generated_at": now, "person": _about(person)}
        yield orjson.dumps(head)[:-1]
        for section in SECTIONS:
            rows = await self._postgres.fetch(_SQL[section], org, user)
            yield _member(section) + b",".join(row["item"].encode() for row in rows) + b"]"
        yield _member("addresses") + orjson.dumps(await self._addresses(org, user))[1:]
        yield _member("usage")
        after, separator = (_START, ""), b""
        while page := await self._postgres.fetch(_SQL["usage"], org, user, *after, _PAGE):
            yield separator + b",".join(row["item"].encode() for row in page)
            after, separator = (page[-1]["started_at"], page[-1]["request_id"]), b","
        yield b"]}\n"

    async def _addresses(self, org: str, user: str) -> list[dict[str, object]]:
        """Where else they are told of alerts."""
        found = []
        for row in await self._postgres.fetch(_SQL["addresses"], org, user):
            where = place("alert_addresses", "address_sealed", row["address_id"])
            about = {name: row[name] for name in ("channel", "kinds", "created_at")}
            found.append({**about, "address": self._vault.open(row["address_sealed"], where)})
        return found


def _member(name: str) -> bytes:
    return b"," + orjson.dumps(name) + b":["


def _about(person: Person) -> dict[str, object]:
    profile: Profile = person.profile
    return {
        "org": person.org_id,
        "id": person.user_id,
        "kind": person.kind,
        "state": person.state,
        "source": person.source,
        "name": profile.name,
        "email": profile.email,
        "phone": profile.phone,
        "roles": [{"team": held.team_id, "role": held.role.value} for held in person.memberships],
        "created_at": person.created_at,
    }
