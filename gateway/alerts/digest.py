"""What summaries and statements say, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ModelSpend:
    model: str
    microcredits: int
    requests: int


@dataclass(frozen=True, slots=True)
class Digest:
    """Of one org and period. Models by what they cost, the dearest first."""

    models: tuple[ModelSpend, ...]

    @property
    def microcredits(self) -> int:
        return sum(one.microcredits for one in self.models)

    @property
    def requests(self) -> int:
        return sum(one.requests for one in self.models)


class Digests(Protocol):
    """What was used. `gateway.alerts.postgres_spend.Spend` reads it from the quarter-hourly sums."""

    async def digest(self, org: str, start: datetime, end: datetime) -> Digest: ...


@dataclass(frozen=True, slots=True)
class StatementLine:
    """``opening balance``, ``purchases``, ``usage``... in microcredits."""

    name: str
    microcredits: int


class Statements(Protocol):
    """The lines of a statement, from the ledger: opening, what was added and used, closing."""

    async def lines(self, org: str, start: datetime, end: datetime) -> list[StatementLine]: ...
