"""What one organisation is shown of its usage, at every place that shows it."""

from __future__ import annotations

import csv
import http.client
import io
import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from pypdf import PdfReader

from benchmarks.child import BenchmarkError

READ_TIMEOUT_S = 600.0
CREDIT_USD = Decimal("0.01")
SPLITS = ("provider", "model", "operation", "team", "user", "key")
SERIES = ("day", "week", "month")


@dataclass(frozen=True, slots=True)
class Shown:
    """An amount in microcredits, and the place that shows it."""

    place: str
    microcredits: int


class Page:
    """The API as the holder of ``key`` sees it."""

    def __init__(self, port: int, key: str) -> None:
        self._base = f"http://127.0.0.1:{port}/api"
        self._headers = {"authorization": f"Bearer {key}"}

    @contextmanager
    def _opened(self, path: str) -> Iterator[http.client.HTTPResponse]:
        request = urllib.request.Request(f"{self._base}/{path}", headers=self._headers)
        with urllib.request.urlopen(request, timeout=READ_TIMEOUT_S) as reply:
            yield reply

    def _json(self, path: str) -> Any:
        with self._opened(path) as reply:
            return json.load(reply)

    def _column(self, path: str, *names: str) -> list[Decimal]:
        """Sums of columns of a CSV export, read line by line."""
        sums = [Decimal(0)] * len(names)
        with self._opened(path) as reply:
            for line in csv.DictReader(io.TextIOWrapper(reply, "utf-8", newline="")):
                sums = [total + Decimal(line[name]) for total, name in zip(sums, names, strict=True)]
        return sums

    def now(self) -> Iterator[Shown]:
        """The balance and what it says was used."""
        balance = self._json("credits/balance")
        for name, amount in balance["used"].items():
            yield Shown(f"balance: {name}", amount["microcredits"])
            parts = (one[name]["microcredits"] for one in balance["breakdown"])
            yield Shown(f"balance: {name}, its operations", sum(parts))
        yield Shown("balance: left", balance["balance"]["total"]["microcredits"])
        newest = self._json("credits/ledger?limit=1")["items"][0]
        yield Shown("ledger: balance after the newest entry", newest["balance_after"]["microcredits"])

    def limits(self) -> list[dict[str, Any]]:
        """Each limit as `GET /api/limits` has it."""
        limits: list[dict[str, Any]] = self._json("limits?limit=1000")["items"]
        return limits

    def usage(self, first: date, after: date) -> Iterator[Shown]:
        """From ``first`` until before ``after``, added up in every way and request by request."""
        period = f"start={first}&end={after}"
        yield Shown("usage", _cost(self._json(f"credits/usage?{period}")["total"]))
        for split in SPLITS:
            shown = self._json(f"credits/usage?{period}&group_by={split}&limit=1000")
            yield Shown(f"usage by {split}", sum(map(_cost, shown["items"])))
            dearest = self._json(f"credits/usage?{period}&group_by={split}&sort=cost&limit=3")
            shares = [*dearest["items"], dearest["other"]]
            yield Shown(f"usage by {split}, the dearest and the rest", sum(map(_cost, shares)))
        for step in SERIES:
            shown = self._json(f"credits/usage?{period}&granularity={step}&limit=1000")
            yield Shown(f"usage by {step}", sum(map(_cost, shown["items"])))
        (talks,) = self._column(f"credits/usage?{period}&group_by=conversation&format=csv", "credits")
        yield Shown("usage by conversation, CSV", _microcredits(talks))
        (lines,) = self._column(f"credits/usage/lines?{period}&format=csv", "credits")
        yield Shown("usage request by request, CSV", _microcredits(lines))

    def month(self, month: date) -> Iterator[Shown]:
        """One month's report in every format, and its statement."""
        path = f"credits/report?period=monthly&day={month}"
        report = self._json(path)
        yield Shown("report, JSON", report["totalCost"]["microcredits"])
        for name, parts in (
            ("operations", report["operationBreakdown"].values()),
            ("models", (one["cost"] for one in report["models"])),
            ("days", (one["cost"] for one in report["days"])),
            (
                "conversations",
                [*(c["cost"] for c in report["conversationCosts"]), report["withoutConversation"]],
            ),
        ):
            yield Shown(f"report, JSON: {name}", sum(part["microcredits"] for part in parts))
        (listed,) = self._column(f"{path}&format=csv", "credits")
        yield Shown("report, CSV", _microcredits(listed))
        usd, quantity = self._column(f"{path}&format=focus", "BilledCost", "PricingQuantity")
        yield Shown("report, FOCUS: PricingQuantity", _microcredits(quantity))
        yield Shown("report, FOCUS: BilledCost", _microcredits(usd / CREDIT_USD))
        with self._opened(f"{path}&format=pdf") as reply:
            text = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(reply.read())).pages)
        for number, total in enumerate(re.findall(r"Total\s+[\d,]+\s+([\d,]+\.\d{6})", text)):
            yield Shown(f"report, PDF: table {number + 1}", _microcredits(Decimal(total.replace(",", ""))))
        statement = self._json(f"credits/statement?month={month:%Y-%m}")
        yield Shown("statement", statement["usage"]["microcredits"])


def _cost(sums: dict[str, Any]) -> int:
    cost: int = sums["cost"]["microcredits"]
    return cost


def _microcredits(credits: Decimal) -> int:
    microcredits = credits.scaleb(6)
    if microcredits != microcredits.to_integral_value():
        raise BenchmarkError(f"{credits} credits are no whole microcredits")
    return int(microcredits)
