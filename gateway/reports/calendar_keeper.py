"""Keeps the calendars by which usage is cut equal to those of the configuration.

Looks every few seconds: an org that is new, or whose zone or week changed, is told to Postgres, and its days and hours
are cut anew. While Postgres is down the calendars in force stay; they are told as soon as it is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from gateway.budgets.directory import OrgRules
from gateway.errors import TollgateError
from gateway.ledger.postgres_calendars import Calendars, OrgCalendar

log = logging.getLogger("tollgate.reports")

EVERY_S = 5.0


class CalendarKeeper:
    """``orgs``: all there are now. `start` and `stop` are idempotent."""

    def __init__(
        self,
        calendars: Calendars,
        orgs: Callable[[], Mapping[str, OrgRules]],
        *,
        every_s: float = EVERY_S,
    ) -> None:
        self._calendars = calendars
        self._orgs = orgs
        self._every_s = every_s
        self._kept: frozenset[OrgCalendar] = frozenset()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def keep(self) -> list[str]:
        """Look once; returns the orgs whose usage was cut anew. Raises `StoreUnavailable`."""
        wanted = frozenset(
            OrgCalendar(org, rules.calendar.time_zone, int(rules.calendar.week_start))
            for org, rules in self._orgs().items()
        )
        if wanted == self._kept:
            return []
        await self._calendars.keep(wanted - self._kept)
        changed = await self._calendars.recut()
        self._kept = wanted
        return changed

    async def _run(self) -> None:
        while True:
            try:
                changed = await self.keep()
                if changed:
                    log.info("usage cut anew by changed time zones", extra={"orgs": changed})
            except TollgateError as error:
                log.warning("calendars not kept yet", extra={"reason": str(error)})
            except Exception:
                # The edge of a loop that reports depend on: it goes on whatever happens.
                log.exception("keeping calendars failed; trying again")
            await asyncio.sleep(self._every_s)
