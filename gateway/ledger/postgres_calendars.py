"""The calendars by which usage is cut into days and hours, and the cutting anew when one changes.

When Postgres is down everything here raises `PostgresUnavailable`; the zone in force then stays what it was, and so
do the days and hours that were cut by it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.settings.time_zones import in_postgres
from gateway.stores.postgres import DataRefused, Postgres
from gateway.stores.sql import Queries

log = logging.getLogger("tollgate.ledger")

_SQL = Queries.load("gateway.ledger", "cuts.sql")
RECUT_TIMEOUT_S = 600.0
"""A recut reads all quarters of an hour of an org: some seconds for a million of them."""


@dataclass(frozen=True, slots=True)
class OrgCalendar:
    """How an org counts its days: an IANA zone, and the first day of its week (0: Monday)."""

    org_id: str
    time_zone: str
    week_start: int


class Calendars:
    """`keep` takes down what is wanted, `recut` brings it about. Both may run on any number of gateways."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def keep(self, calendars: Iterable[OrgCalendar]) -> None:
        """Remember these orgs' calendars. A changed zone is in force after the next `recut`, a week at once."""
        kept = sorted(calendars, key=lambda calendar: calendar.org_id)
        if kept:
            await self._postgres.execute(
                _SQL["keep_calendars"],
                [calendar.org_id for calendar in kept],
                [in_postgres(calendar.time_zone) for calendar in kept],
                [calendar.week_start for calendar in kept],
            )

    async def recut(self) -> list[str]:
        """Put every wanted zone in force that is not; returns the orgs that changed.

        An org's days and hours change together with its zone, in one transaction, so whoever reads them sees the old
        ones or the new ones. Its usage is not written meanwhile: it waits in the stream. A zone that Postgres does not
        know is refused and logged, and the one in force stays.
        """
        changed = []
        for row in await self._postgres.fetch(_SQL["unlike_calendars"]):
            org = row["org_id"]
            try:
                await self._recut(org)
            except DataRefused as error:
                log.error("time zone refused by Postgres", extra={"org": org, "reason": str(error)})
            else:
                changed.append(org)
        return changed

    async def orgs(self) -> list[str]:
        """All that have a calendar."""
        return [row["org_id"] for row in await self._postgres.fetch(_SQL["all_calendars"])]

    async def rebuild(self, org: str) -> None:
        """Make the days and hours of an org anew."""
        await self._recut(org)

    async def _recut(self, org: str) -> None:
        async with self._postgres.transaction() as session:
            zone = await session.fetch_value(_SQL["lock_calendar"], org)
            if zone is not None:
                await session.execute(_SQL["recut"], org, zone, timeout_s=RECUT_TIMEOUT_S)
                await session.execute(_SQL["move_zone"], org, zone)
