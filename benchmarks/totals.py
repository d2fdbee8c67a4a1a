"""`python -m benchmarks.totals`: every place that shows a total shows the same one, over a made-up year.

Rows are generated, paid from prepaid balances and posted to the ledger; then calls of now are made while somebody
listens. What each place shows is compared with the sum of the rows themselves, to the microcredit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.child import BenchmarkError
from benchmarks.shown import Page, Shown
from benchmarks.year import BOUGHT, PROMISED, Year, reader_key
from gateway.cli.progress import Bar
from gateway.ledger.generated_usage import MadeOrg
from gateway.reports.period import DAY, OrgCalendar, ReportPeriod, next_month

LISTEN_TIMEOUT_S = 30.0
GRANTED = (PROMISED + BOUGHT) * 1_000_000
SUM = "SELECT coalesce(sum(credits_microcredits), 0)::bigint FROM"
_ROWS = f"{SUM} usage_events WHERE org_id = $1 AND started_at >= $2 AND started_at < $3"
_REVENUE = """
SELECT coalesce(sum(l.amount_microcredits), 0)::bigint FROM ledger_lines l
JOIN ledger_transactions t ON t.id = l.transaction_id WHERE t.org_id = $1 AND l.account = 'usage_revenue'
"""


@dataclass(frozen=True, slots=True)
class Compared:
    """What a place shows, beside what the rows add up to."""

    org: str
    place: str
    rows: int
    shown: int

    @property
    def agrees(self) -> bool:
        return self.shown == self.rows


class Rows:
    """Sums of the rows themselves: what everything else is measured by."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def sum(self, org: str, start: datetime | None, end: datetime | None, where: str = "true") -> int:
        """Of requests that began from ``start`` until before ``end`` (None: of all)."""
        edges = (start or datetime(2000, 1, 1, tzinfo=UTC), end or datetime(2100, 1, 1, tzinfo=UTC))
        return self.ask(f"{_ROWS} AND ({where})", org, *edges)

    def ask(self, query: str, *arguments: object) -> int:
        async def ask() -> int:
            connection = await asyncpg.connect(self._dsn)
            try:
                found: int = await connection.fetchval(query, *arguments)
            finally:
                await connection.close()
            return found

        return asyncio.run(ask())


class Ear:
    """Listens to one organisation from now on; keeps the last `totals` and adds up the `usage` events."""

    def __init__(self, port: int, key: str) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/credits/live", headers={"authorization": f"Bearer {key}"}
        )
        self._reply = urllib.request.urlopen(request, timeout=LISTEN_TIMEOUT_S)
        self.since = datetime.now(UTC)
        self._told = threading.Condition()
        self.totals: dict[str, Any] = {}
        self.heard = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def wait_for(self, session: int) -> bool:
        """Until the session's total is ``session``; False if it is not in time."""
        with self._told:
            return self._told.wait_for(
                lambda: bool(self.totals) and self.amount("session") == session, LISTEN_TIMEOUT_S
            )

    def amount(self, name: str) -> int:
        found: int = self.totals[name]["microcredits"]
        return found

    def close(self) -> None:
        self._reply.close()

    def _listen(self) -> None:
        event = ""
        with contextlib.suppress(ValueError, OSError, AttributeError):  # closed while it reads
            for line in self._reply:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    event = value
                elif name == "data":
                    self._take(event, json.loads(value))

    def _take(self, event: str, data: dict[str, Any]) -> None:
        with self._told:
            if event == "totals":
                self.totals = data
            elif event == "usage":
                self.heard += data["charged"]["microcredits"]
            self._told.notify_all()


def compare_now(year: Year, rows: Rows, org: MadeOrg, ear: Ear) -> Iterator[Compared]:
    """Balance, limits, live stream and ledger, which move with every call."""
    calendar, now, own = OrgCalendar(org.time_zone), datetime.now(UTC), org.org_id
    today = calendar.day_of(now)
    day, week, month = (calendar.around(kind, today) for kind in ReportPeriod)
    edges = {
        "today": (day.start, day.end), "this_week": (week.start, week.end), "this_month": (month.start, month.end),
        "day": (day.start, day.end), "week": (week.start, week.end), "month": (month.start, month.end),
        "total": (None, None),
    }  # fmt: skip
    session = rows.sum(own, ear.since, None, "gateway_id <> 'generated'")
    ear.wait_for(session)
    yield Compared(own, "live: session", session, ear.amount("session"))
    yield Compared(own, "live: usage events", session, ear.heard)
    for name in ("today", "this_week", "this_month"):
        yield Compared(own, f"live: {name}", rows.sum(own, *edges[name]), ear.amount(name))
    spent = rows.sum(own, None, None)
    yield Compared(own, "live: balance", GRANTED - spent, ear.totals["balance"]["total"]["microcredits"])
    page = Page(year.port, reader_key(org))
    for shown in page.now():
        name = shown.place.removeprefix("balance: ").split(",")[0]
        expected = rows.sum(own, *edges[name]) if name in edges else GRANTED - spent
        yield Compared(own, shown.place, expected, shown.microcredits)
    for limit in page.limits():
        scope, window = limit["scope"], limit["window"]
        where = {"org": "true", "team": "team_id = '{}'", "user": "user_id = '{}'", "key": "key_id = '{}'"}[
            scope
        ]
        where = where.format(limit["scope_id"]) + (" AND operation = 'chat'" if limit["operation"] else "")
        place = f"limit: {scope} {window}{' chat' if limit['operation'] else ''}"
        yield Compared(own, place, rows.sum(own, *edges[window], where), limit["spent"]["microcredits"])
    for table in ("usage_rollups", "usage_days", "usage_hours"):
        yield Compared(own, table, spent, rows.ask(f"{SUM} {table} WHERE org_id = $1", own))
    yield Compared(own, "ledger: usage_revenue", spent, rows.ask(_REVENUE, own))


def compare_past(year: Year, rows: Rows, org: MadeOrg) -> Iterator[Compared]:
    """Usage of the whole time, and the report and statement of each month of it."""
    calendar, page = OrgCalendar(org.time_zone), Page(year.port, reader_key(org))
    after = calendar.day_of(datetime.now(UTC)) + DAY
    first = year.first - DAY
    whole = calendar.days(first, after)
    yield from _beside(org, rows.sum(org.org_id, whole.start, whole.end), page.usage(first, after))
    month = first.replace(day=1)
    while month < after:
        period = calendar.around(ReportPeriod.MONTHLY, month)
        expected = rows.sum(org.org_id, period.start, period.end)
        yield from _beside(org, expected, page.month(month), f" {month:%Y-%m}")
        month = next_month(month)


def _beside(org: MadeOrg, rows: int, shown: Iterator[Shown], when: str = "") -> Iterator[Compared]:
    return (Compared(org.org_id, one.place + when, rows, one.microcredits) for one in shown)


def compare_all(year: Year, calls: int) -> list[Compared]:
    """Make ``calls`` calls of each organisation, every other one streamed, and compare everything."""
    rows = Rows(year.postgres_dsn)
    found: list[Compared] = []
    ears = {org: Ear(year.port, reader_key(org)) for org in year.orgs}
    try:
        for number in range(calls):
            for org in year.orgs:
                year.call(org, streamed=number % 2 == 1)
        year.wait_until_posted()
        for org, ear in ears.items():
            found += compare_now(year, rows, org, ear)
    finally:
        for ear in ears.values():
            ear.close()
    with Bar(len(year.orgs)) as bar:
        for number, org in enumerate(year.orgs):
            for one in compare_past(year, rows, org):
                bar.show(number, f"{org.org_id}: {one.place}")
                found.append(one)
    return found


def table(compared: Sequence[Compared]) -> Iterator[str]:
    """A line for each place: what is off, or for how many organisations and periods it agrees."""
    places: dict[str, list[Compared]] = {}
    for one in compared:
        kind, _, last = one.place.rpartition(" ")
        places.setdefault(kind if last[:2] == "20" else one.place, []).append(one)
    for place, all_of_it in places.items():
        off = [one for one in all_of_it if not one.agrees]
        total = sum(one.shown for one in all_of_it)
        yield f"{place:48} {len(all_of_it):>5} {total:>24,}  {'agree' if not off else f'{len(off)} DIFFER'}"
        for one in off:
            yield f"  {one.org}, {one.place}: {one.shown:,} shown, rows {one.rows:,}"


def measure(year: Year, calls: int) -> bool:
    compared = compare_all(year, calls)
    print(f"{'place':48} {'times':>5} {'microcredits, added up':>24}")
    for line in table(compared):
        print(line)
    reconciled = year.command("reconcile").strip()
    print(reconciled)
    good = all(one.agrees for one in compared) and reconciled.splitlines()[-1] == "drift 0"
    print(
        f"{len(compared):,} totals of {year.rows:,} generated rows compared: {'all agree' if good else 'NOT ALL AGREE'}"
    )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.totals", description=__doc__)
    parser.add_argument("--org", type=int, default=6, metavar="N", help="organisations (default: 6)")
    parser.add_argument(
        "--rows", type=int, default=10_000_000, metavar="N", help="requests (default: 10000000)"
    )
    parser.add_argument("--days", type=int, default=365, metavar="N", help="over so many days (default: 365)")
    parser.add_argument("--calls", type=int, default=20, metavar="N", help="real calls of each (default: 20)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tollgate-totals-") as directory:
        Path(directory).chmod(0o755)  # servers that root starts run as somebody else
        year = Year(Path(directory), options.org, options.rows, options.days)
        try:
            year.start()
            return 0 if measure(year, options.calls) else 1
        except BenchmarkError as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
        finally:
            year.stop()


if __name__ == "__main__":
    raise SystemExit(main())
