"""Made-up usage in Postgres. When Postgres is down everything here raises `PostgresUnavailable`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gateway.ledger.generated_usage import HOURS, MODELS, MadeDay, MadeModel, MadeOrg, cumulative
from gateway.ledger.postgres_calendars import Calendars, OrgCalendar
from gateway.ledger.postgres_usage import UsageTable
from gateway.stores.postgres import Postgres
from gateway.stores.sql import Queries
from pricing.book import PriceBook
from pricing.price import Price
from pricing.rates import INDEX

_GENERATED = Queries.load("gateway.ledger", "generated.sql")


@dataclass(frozen=True, slots=True)
class _Priced:
    model: MadeModel
    price: Price

    def femtousd(self, bucket: str) -> int:
        schedule = self.price.tiers[self.model.tier] if self.model.tier else self.price.standard
        return schedule.bands[0].prices[INDEX[bucket]]


class GeneratedUsage:
    """Writes planned days. A day that was written is left alone when it is written again.

    ``prepaid``: what is written is paid from balances, which may leave them below zero until credits are granted.
    """

    def __init__(
        self, postgres: Postgres, book: PriceBook, priced_at: datetime, *, prepaid: bool = False
    ) -> None:
        at_s = int(priced_at.timestamp())
        self._postgres = postgres
        self._table = UsageTable(postgres)
        self._exchange = book.exchange
        self._prepaid = prepaid
        self._models = [
            _Priced(model, book.price(model.provider, model.kind, model.model, at_s)) for model in MODELS
        ]

    async def prepare(self, orgs: Sequence[MadeOrg]) -> None:
        """The calendars of the orgs, in force."""
        calendars = Calendars(self._postgres)
        await calendars.keep([OrgCalendar(org.org_id, org.time_zone, 0) for org in orgs])
        await calendars.recut()

    async def write_all(
        self, days: Iterable[MadeDay], writers: int, written: Callable[[int, MadeDay], None]
    ) -> tuple[int, int]:
        """Write every day, ``writers`` at a time; ``written`` hears how many requests are done, and of which day.

        Returns how many requests were planned, and how many of them were new.
        """
        queue = iter(days)
        done = new = 0

        async def write() -> None:
            nonlocal done, new
            for planned in queue:
                written_now = await self.write(planned)
                new += written_now
                done += planned.rows
                written(done, planned)

        await asyncio.gather(*(write() for _ in range(writers)))
        return done, new

    async def write(self, planned: MadeDay) -> int:
        """The requests of one org on one day; returns how many were new."""
        midday = datetime(planned.day.year, planned.day.month, planned.day.day, 12, tzinfo=UTC)
        for edge in (midday - timedelta(days=1), midday + timedelta(days=1)):
            await self._table.ensure_partitions(edge, 0)
        return await self._table.write_staged(_GENERATED["stage_day"], self._arguments(planned))

    def _arguments(self, planned: MadeDay) -> list[object]:
        org, models = planned.org, [priced.model for priced in self._models]
        numerator, denominator = self._exchange.ratio
        return [
            *(org.org_id, planned.day, org.time_zone, planned.rows, org.users, org.teams, HOURS),
            cumulative([model.weight for model in models]),
            [model.provider for model in models],
            [model.model for model in models],
            [model.operation for model in models],
            [model.route for model in models],
            [model.tier for model in models],
            *(
                [priced.femtousd(bucket) for priced in self._models]
                for bucket in ("input", "cache_read", "output", "reasoning")
            ),
            [model.reasoning_share for model in models],
            [priced.price.ref for priced in self._models],
            *(Decimal(numerator), Decimal(denominator), self._prepaid),
        ]
