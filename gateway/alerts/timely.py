"""News that come by the clock: summaries, statements, unusual hours, credits about to expire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from gateway.alerts.anomaly import LEAST, same_hours, unusual
from gateway.alerts.digest import Digest, Digests, Statements
from gateway.alerts.kind import AlertKind, Severity
from gateway.alerts.notice import Notice, amount, instant
from gateway.alerts.postgres_book import AlertBook
from gateway.alerts.postgres_choices import AlertChoices, choices_of
from gateway.alerts.postgres_spend import Spend
from gateway.budgets.windows import Calendar
from gateway.jobs.job import Job, NotYet, Trade
from gateway.jobs.local_times import Period, day_named, days_around, month_named, months_around
from gateway.stores.postgres import Session

MODELS_SAID_MAX = 10
EXPIRY_DAYS = (1, 7, 30)
"""How many days ahead people are told that credits expire."""
SETTLING = timedelta(minutes=10)
"""How long after an hour its usage is all written, while all is well."""
_HOUR = timedelta(hours=1)
Around = Callable[[datetime, ZoneInfo, int], Iterator[Period]]


@dataclass(frozen=True, slots=True)
class ByOrg:
    """A schedule in every org's own zone, at the hour that it chose."""

    kind: AlertKind
    around: Around
    choices: AlertChoices
    calendar: Callable[[str], Calendar]
    hour: int

    async def jobs(self, now: datetime) -> Iterable[Job]:
        chosen = await self.choices.all()
        found = []
        for org in await self.choices.orgs():
            choice = chosen.get(org)
            if choice is not None and not choice.wants(self.kind):
                continue
            hour = self.hour if choice is None or choice.summary_hour is None else choice.summary_hour
            zone = ZoneInfo(self.calendar(org).time_zone)
            found += [
                Job(self.kind.value, org, period.name, max(period.run_at, _settled(period)))
                for period in self.around(now, zone, hour)
            ]
        return found


@dataclass(frozen=True, slots=True)
class Hourly:
    """For the installation as a whole: the hour that has just settled, and the next."""

    kind: AlertKind

    async def jobs(self, now: datetime) -> Iterable[Job]:
        last = (now - SETTLING).replace(minute=0, second=0, microsecond=0)
        return [
            Job(self.kind.value, "", instant(end - _HOUR), end + SETTLING) for end in (last, last + _HOUR)
        ]


class TimelyNews:
    """The work of the jobs; `trades` are for a `gateway.jobs.runner.JobRunner`."""

    def __init__(
        self,
        book: AlertBook,
        spend: Spend,
        choices: AlertChoices,
        calendar: Callable[[str], Calendar],
        now: Callable[[], datetime],
        *,
        summary_hour: int,
        digests: Digests,
        statements: Statements,
    ) -> None:
        self._book = book
        self._spend = spend
        self._choices = choices
        self._calendar = calendar
        self._now = now
        self._hour = summary_hour
        self._digests = digests
        self._statements = statements

    def trades(self) -> list[Trade]:
        day, month = AlertKind.DAILY_SUMMARY, AlertKind.MONTHLY_STATEMENT
        shared = (self._choices, self._calendar, self._hour)
        return [
            Trade(day.value, self.summarize, ByOrg(day, days_around, *shared)),
            Trade(month.value, self.state, ByOrg(month, months_around, *shared)),
            Trade(AlertKind.SPEND_ANOMALY.value, self.look, Hourly(AlertKind.SPEND_ANOMALY)),
            Trade(AlertKind.CREDITS_EXPIRING.value, self.warn, Hourly(AlertKind.CREDITS_EXPIRING)),
        ]

    async def summarize(self, job: Job, session: Session) -> None:
        """A day on which nothing was used is not told."""
        day = self._over(day_named(job.period, self._zone(job.org_id), self._hour))
        used = await self._digests.digest(job.org_id, day.start, day.end)
        if not used.requests:
            return
        former = (date.fromisoformat(job.period) - timedelta(days=1)).isoformat()
        former_start = day_named(former, self._zone(job.org_id), self._hour).start
        before = await self._digests.digest(job.org_id, former_start, day.start)
        data = {
            "day": job.period,
            "from": instant(day.start),
            "to": instant(day.end),
            "spent": amount(used.microcredits),
            "spent_before": amount(before.microcredits),
            "requests": used.requests,
            "models": _models(used),
        }
        await self._tell(
            session, AlertKind.DAILY_SUMMARY, job.org_id, f"summary|{job.period}", job.run_at, data
        )

    async def state(self, job: Job, session: Session) -> None:
        """A month in which nothing was used, added or expired is not told."""
        month = self._over(month_named(job.period, self._zone(job.org_id), self._hour))
        used = await self._digests.digest(job.org_id, month.start, month.end)
        lines = await self._statements.lines(job.org_id, month.start, month.end)
        if not used.requests and not any(line.microcredits for line in lines):
            return
        data = {
            "month": job.period,
            "from": instant(month.start),
            "to": instant(month.end),
            "spent": amount(used.microcredits),
            "requests": used.requests,
            "models": _models(used),
            "lines": [{"name": line.name, "amount": amount(line.microcredits)} for line in lines],
        }
        kind = AlertKind.MONTHLY_STATEMENT
        await self._tell(session, kind, job.org_id, f"statement|{job.period}", job.run_at, data)

    async def look(self, job: Job, session: Session) -> None:
        """At an hour of everybody who spent something in it."""
        start = datetime.fromisoformat(job.period)
        for org, spent in (await self._spend.spenders(start, start + _HOUR, LEAST)).items():
            if not (await choices_of(session, org)).spend_anomaly:
                continue
            found = unusual(spent, await self._spend.hours(org, same_hours(start, self._zone(org))))
            if found is not None:
                data = {
                    "hour_start": instant(start),
                    "spent": amount(found.spent),
                    "median": amount(found.median),
                    "most": amount(found.most),
                    "weeks": found.weeks,
                }
                key, kind = f"anomaly|{job.period}", AlertKind.SPEND_ANOMALY
                await self._tell(session, kind, org, key, job.run_at, data, Severity.WARNING)

    async def warn(self, job: Job, session: Session) -> None:
        """Of everything that expires soon: each grant once for each of `EXPIRY_DAYS`."""
        now = self._now()
        for grant in await self._spend.expiring(now, now + timedelta(days=max(EXPIRY_DAYS))):
            ahead = grant.expires_at - now
            step = min(days for days in EXPIRY_DAYS if ahead <= timedelta(days=days))
            data = {
                "grant_id": grant.grant_id,
                "expires_at": instant(grant.expires_at),
                "left": amount(grant.left),
                "days": -(-ahead // timedelta(days=1)),
            }
            key, kind = f"expiring|{grant.grant_id}|{step}", AlertKind.CREDITS_EXPIRING
            await self._tell(session, kind, grant.org_id, key, now, data, Severity.WARNING)

    async def _tell(
        self,
        session: Session,
        kind: AlertKind,
        org: str,
        key: str,
        at: datetime,
        data: dict[str, object],
        severity: Severity = Severity.INFO,
    ) -> None:
        notice = Notice(kind, severity, org, key, kind.value, at, data)
        # Live listeners see summaries and the like in the inbox: nothing here is a matter of seconds.
        await self._book.record(session, [notice])

    def _over(self, period: Period) -> Period:
        """Raises `NotYet`: the organisation has moved to a zone in which it ends later than when this was planned."""
        if self._now() < _settled(period):
            raise NotYet(_settled(period))
        return period

    def _zone(self, org: str) -> ZoneInfo:
        return ZoneInfo(self._calendar(org).time_zone)


def _settled(period: Period) -> datetime:
    return period.end + SETTLING


def _models(digest: Digest) -> list[dict[str, object]]:
    said = [
        {"name": one.model, "spent": amount(one.microcredits), "requests": one.requests}
        for one in digest.models[:MODELS_SAID_MAX]
    ]
    rest = digest.models[MODELS_SAID_MAX:]
    if rest:
        others = Digest(rest)
        said.append({"name": "others", "spent": amount(others.microcredits), "requests": others.requests})
    return said
