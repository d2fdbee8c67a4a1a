"""What could not be written, seen and put back. When Postgres is down everything raises `PostgresUnavailable`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import orjson

from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.row import Entry, Unreadable, merge
from gateway.stores import postgres_audit
from gateway.stores.postgres import DataRefused, Postgres, Row
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.ledger", "dead_letters.sql")
_PARTITION = re.compile(r"\{p(\d+)\}")


@dataclass(frozen=True, slots=True)
class BuriedLetter:
    """An entry that was charged and has no row, so it shows as drift."""

    entry: Entry
    request_id: str
    reason: str
    recorded_at: datetime

    @property
    def org(self) -> str | None:
        """Whose it is, where that can be read."""
        try:
            said = orjson.loads(self.entry.fields.get(b"a", b""))
        except orjson.JSONDecodeError:
            return None
        org = said.get("org_id") if isinstance(said, dict) else None
        return org if isinstance(org, str) else None

    @property
    def microcredits(self) -> int | None:
        cost = self.entry.fields.get(b"c", b"")
        return int(cost) if cost.isdigit() else None


class DeadLetters:
    """A letter is put back by what wrote it aside: a newer version that can read it, or a database that takes it."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._table = UsageTable(postgres)

    async def list(self) -> list[BuriedLetter]:
        """Oldest first."""
        return [_letter(row) for row in await self._postgres.fetch(_SQL["list"])]

    async def retry(self, letter: BuriedLetter, *, actor: str) -> str | None:
        """Write its row and forget the letter, audited. Returns why it still cannot be written, None if it was.

        Interrupted between the two, it is written again to no effect the next time.
        """
        identity = (letter.entry.stream, letter.entry.entry_id, letter.request_id)
        try:
            await self._table.write([merge(letter.entry)])
        except (Unreadable, DataRefused) as error:
            reason = str(error).replace("\0", "\ufffd")
            await self._postgres.execute(_SQL["explain"], *identity, reason)
            return reason
        async with self._postgres.transaction() as session:
            await session.execute(_SQL["remove"], *identity)
            await postgres_audit.record(
                session,
                actor=actor,
                action="dead_letter.retry",
                object=f"dead_letter:{letter.entry.stream}/{letter.entry.entry_id}",
                org=letter.org,
                before={"request_id": letter.request_id, "reason": letter.reason},
                after={"microcredits": letter.microcredits},
            )
        return None


def _letter(row: Row) -> BuriedLetter:
    fields = orjson.loads(row["fields"])
    stream: str = row["stream"]
    number = _PARTITION.search(stream)
    entry = Entry(
        stream,
        row["entry_id"],
        int(number[1]) if number else 0,
        {name.encode("latin-1"): value.encode("latin-1") for name, value in fields.items()},
    )
    return BuriedLetter(entry, row["request_id"], row["reason"], row["recorded_at"])
