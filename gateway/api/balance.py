"""GET /api/credits/balance: what is there, what was used, how fast it goes, and which limits are nearest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Protocol

from pydantic import BaseModel, Field

from gateway.api.amount import Amount
from gateway.api.limit_book import LimitBook
from gateway.api.limits import LimitView
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, OrgParams
from gateway.budgets.balances import BalanceReading
from gateway.budgets.directory import OrgRules
from gateway.budgets.model import Limit, Scope
from gateway.budgets.standings import LimitStanding
from gateway.budgets.windows import Calendar
from gateway.identity.roles import Action, Reach, named_org
from gateway.ledger.row import microseconds
from gateway.live.backlog import Backlog
from gateway.live.spending import Cells, Stretch, Sums

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHOWN_LIMITS = 5
LOOKED_AT_LIMITS = 200
"""Each costs a look at Redis; an organisation's own and its teams' come first."""


class Balances(Protocol):
    """See `gateway.budgets.redis_balances.RedisBalances`."""

    async def read(self, org: str) -> BalanceReading: ...


class Expiry(BaseModel):
    at: datetime
    at_most: Annotated[Amount, Field(description="So much is gone then, unless it is used before.")]


class BalanceView(BaseModel):
    total: Annotated[Amount, Field(description="Granted less used less expired.")]
    held: Annotated[Amount, Field(description="Set aside for calls that are still running.")]
    available: Annotated[Amount, Field(description="What a new call can begin with.")]
    next_expiry: Expiry | None


class Used(BaseModel):
    today: Amount
    this_week: Amount
    this_month: Amount


class UsedBy(Used):
    operation: Annotated[str, Field(examples=["chat"])]


class CreditBalance(BaseModel):
    """All figures are of one instant: the same settlements are in each of them."""

    org: str
    at: datetime
    time_zone: Annotated[str, Field(description="In which days, weeks and months begin.")]
    prepaid: Annotated[bool, Field(description="Whether nothing runs without credits.")]
    balance: Annotated[
        BalanceView | None, Field(description="Nothing where credits were never granted and none are needed.")
    ]
    whole: Annotated[
        bool, Field(description="Whether what follows is of the whole organisation, or of what you may see.")
    ]
    used: Used
    breakdown: list[UsedBy]
    per_hour: Annotated[Amount, Field(description="Rate of the last hour to hour and a quarter.")]
    per_day: Annotated[Amount, Field(description="Rate of the last day to day and a quarter of an hour.")]
    tightest_limits: Annotated[
        list[LimitView], Field(description="The five of which the least part is left, nearest first.")
    ]


@dataclass(frozen=True, slots=True)
class _Handler:
    balances: Balances
    backlog: Backlog
    book: LimitBook
    rules: Callable[[str], OrgRules]

    async def balance(self, call: Call[OrgParams, NoBody]) -> CreditBalance:
        org = named_org(call.reach)
        rules = self.rules(org)
        now_us = microseconds(call.now)
        reading = await self.balances.read(org)
        reach = call.principal.reach(Action.SEE_USAGE, call.params.org)
        cells = await self.backlog.cells(
            reach, reading.partition, reading.sequence, Stretch.of(rules.calendar, now_us)
        )
        sums = Sums.of(_merged(cells), rules.calendar, now_us)
        return CreditBalance(
            org=org,
            at=call.now,
            time_zone=rules.calendar.time_zone,
            prepaid=rules.balance_required,
            balance=_view(reading) if rules.balance_required or reading.granted else None,
            whole=reach.whole,
            used=Used(**_used(sums)),
            breakdown=_breakdown(cells, rules.calendar, now_us),
            per_hour=Amount.of(sums.per_hour),
            per_day=Amount.of(sums.per_day),
            tightest_limits=await self._tightest(org, call),
        )

    async def _tightest(self, org: str, call: Call[OrgParams, NoBody]) -> list[LimitView]:
        reach = call.principal.reach(Action.SEE_LIMITS, call.params.org)
        limits = [limit for limit in await self.book.within(org, reach) if _binds(limit, reach)]
        standings = await self.book.standings(org, limits[:LOOKED_AT_LIMITS], call.now)
        nearest = sorted(standings, key=_part_left)
        return [LimitView.of(standing) for standing in nearest[:SHOWN_LIMITS]]


def balance_operations(
    balances: Balances, backlog: Backlog, book: LimitBook, rules: Callable[[str], OrgRules]
) -> list[AnyOperation]:
    """``rules``: of an organisation, as they are now."""
    return [
        Operation(
            method="GET",
            path="/api/credits/balance",
            name="get_balance",
            tag="Credits",
            summary="Credits left, held and used, how fast they go, and the limits that are nearest",
            action=Action.SEE_BALANCE,
            handler=_Handler(balances, backlog, book, rules).balance,
            params=OrgParams,
            reply=CreditBalance,
        )
    ]


def _merged(cells: Cells) -> Mapping[int, int]:
    merged: dict[int, int] = {}
    for of_operation in cells.values():
        for cell_us, microcredits in of_operation.items():
            merged[cell_us] = merged.get(cell_us, 0) + microcredits
    return merged


def _used(sums: Sums) -> dict[str, Amount]:
    return {name: Amount.of(getattr(sums, name)) for name in ("today", "this_week", "this_month")}


def _breakdown(cells: Cells, calendar: Calendar, now_us: int) -> list[UsedBy]:
    """The dearest of this month first."""
    found = {name: Sums.of(of_operation, calendar, now_us) for name, of_operation in cells.items()}
    ordered = sorted(found.items(), key=lambda item: (-item[1].this_month, -item[1].this_week, item[0]))
    return [UsedBy(operation=name, **_used(sums)) for name, sums in ordered]


def _view(reading: BalanceReading) -> BalanceView:
    expiry_us = reading.next_expiry_us
    return BalanceView(
        total=Amount.of(reading.left),
        held=Amount.of(reading.held),
        available=Amount.of(reading.available),
        next_expiry=None
        if expiry_us is None
        else Expiry(at=_EPOCH + timedelta(microseconds=expiry_us), at_most=Amount.of(reading.next_expiry)),
    )


def _binds(limit: Limit, reach: Reach) -> bool:
    """Who sees the whole organisation is shown what bounds it and its teams, not everybody's own limits. A limit of
    each end user bounds none of those who ask."""
    if limit.each_end_user:
        return False
    return not reach.whole or limit.scope in (Scope.ORG, Scope.TEAM)


def _part_left(standing: LimitStanding) -> float:
    return standing.left / standing.limit.amount if standing.limit.amount else -1.0
