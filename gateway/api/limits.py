"""/api/limits: what may be spent, how it stands, and changing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from gateway.api.amount import Amount
from gateway.api.cursor import read_cursor, write_cursor
from gateway.api.limit_book import LimitBook
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, OrgParams, PageParams, Strict
from gateway.budgets.model import Grace, Limit, Scope, Window
from gateway.budgets.standings import GraceState, LimitStanding, Source
from gateway.identity.roles import Action, named_org
from gateway.settings.limits import GraceSettings, Id, Microcredits, ModelPattern, ModelText, OperationName

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PLACE_PARTS = 6
ScopeName = Literal["org", "team", "user", "key"]
WindowName = Literal["day", "week", "month", "total"]
Level = Annotated[int, Field(ge=1, le=1000)]


class LimitName(Strict):
    """What makes it this limit. Amount, grace and the rest may change."""

    scope: Annotated[ScopeName, Field(description="Whose spending is counted.")] = "org"
    scope_id: Annotated[
        Id | None, Field(description="Which team, user or key; nothing for the organisation itself.")
    ] = None
    window: Annotated[WindowName, Field(description="Calendar windows in the organisation's time zone.")]
    operation: Annotated[OperationName | None, Field(description="Count only this operation.")] = None
    model: Annotated[
        ModelPattern | None, Field(description="Count only this model; `*` stands for any run of characters.")
    ] = None

    each_end_user: Annotated[
        bool,
        Field(
            description="true: of each end user within it apart, whom x-tollgate-user names on keys with "
            "trusted_attribution."
        ),
    ] = False

    @model_validator(mode="after")
    def _named(self) -> LimitName:
        if self.scope != "org" and self.scope_id is None:
            raise ValueError(f"scope_id: say which {self.scope} is meant")
        if self.each_end_user and self.window == "total":
            raise ValueError(
                "window: an end user has no total limit, since it would have to be kept for ever; use another window"
            )
        return self

    def limit(self, org: str) -> Limit:
        return Limit(
            Scope(self.scope),
            self.scope_id or org,
            Window(self.window),
            0,
            self.operation,
            self.model,
            each_end_user=self.each_end_user,
        )


class LimitNameParams(LimitName, OrgParams):
    """Of taking a limit away, be it one whose model would be refused by now."""

    model: Annotated[
        ModelText | None, Field(description="Count only this model; `*` stands for any run of characters.")
    ] = None


class LimitSetting(LimitName):
    """A limit as it shall be from now on."""

    credits: Annotated[
        Microcredits, Field(description="How many credits per window, with up to six decimals.")
    ]
    grace: Annotated[
        GraceSettings | None, Field(description="How far and how long it may be passed, once per window.")
    ] = None
    enforce: Annotated[bool, Field(description="false: nothing is refused, what would be is counted.")] = True
    alert_levels: Annotated[
        tuple[Level, ...] | None,
        Field(max_length=10, description="Percent at which people are told; nothing: the organisation's."),
    ] = None

    @model_validator(mode="after")
    def _told(self) -> LimitSetting:
        if self.each_end_user and self.alert_levels:
            raise ValueError("alert_levels: nobody is told of the limits of single end users; leave them out")
        return self

    def limit(self, org: str) -> Limit:
        return replace(
            super().limit(org),
            amount=self.credits,
            grace=Grace(self.grace.percent, self.grace.minutes) if self.grace else None,
            enforce=self.enforce,
            alerts=None if self.alert_levels is None else tuple(sorted(set(self.alert_levels))),
        )


class GraceView(BaseModel):
    percent: int
    minutes: int
    state: Annotated[GraceState, Field(description="Whether it was used in this window.")]
    ends_at: Annotated[datetime | None, Field(description="While it runs, or since when it is over.")]


class LimitView(BaseModel):
    """A limit and how it stands in its present window. One of each end user stands apart for each of them: of it there
    is no spent, held and left here."""

    scope: ScopeName
    scope_id: str
    window: WindowName
    operation: str | None
    model: str | None
    each_end_user: Annotated[bool, Field(description="Of each end user within the scope apart.")]
    limit: Amount
    spent: Amount | None
    held: Annotated[Amount | None, Field(description="By calls that are still running.")]
    left: Annotated[
        Amount | None,
        Field(description="Limit less spent and held; negative where more was spent than it allows."),
    ]
    percent: Annotated[
        float | None, Field(description="Spent of the limit, rounded down to a tenth.", examples=[74.9])
    ]
    starts_at: Annotated[datetime | None, Field(description="Of the window; nothing for total.")]
    resets_at: Annotated[
        datetime | None, Field(description="When the next window begins; nothing for total.")
    ]
    resets_at_local: Annotated[str | None, Field(examples=["2026-04-01 00:00 (Europe/Paris)"])]
    time_zone: str
    grace: GraceView | None
    enforce: bool
    alert_levels: list[int] | None
    source: Annotated[
        Source, Field(description="`file`: declared in limits.yaml and only changed there. `api`: set here.")
    ]

    @classmethod
    def of(cls, standing: LimitStanding) -> LimitView:
        limit, window = standing.limit, standing.window
        return cls(
            scope=limit.scope.value,
            scope_id=limit.scope_id,
            window=limit.window.value,
            operation=limit.operation,
            model=limit.model,
            each_end_user=limit.each_end_user,
            limit=Amount.of(limit.amount),
            spent=None if limit.each_end_user else Amount.of(standing.spent),
            held=None if limit.each_end_user else Amount.of(standing.held),
            left=None if limit.each_end_user else Amount.of(standing.left),
            percent=None if limit.each_end_user or standing.permille is None else standing.permille / 10,
            starts_at=None if window.end_us is None else _instant(window.start_us),
            resets_at=_instant(window.end_us),
            resets_at_local=standing.resets_at_local,
            time_zone=standing.time_zone,
            grace=_grace(standing),
            enforce=limit.enforce,
            alert_levels=None if limit.alerts is None else list(limit.alerts),
            source=standing.source,
        )


class LimitPage(BaseModel):
    items: list[LimitView]
    next_cursor: str | None


class LimitsParams(PageParams):
    scope: Annotated[ScopeName | None, Field(description="Only limits on these.")] = None
    scope_id: Annotated[Id | None, Field(description="Only those of this team, user or key.")] = None


class _Handlers:
    def __init__(self, book: LimitBook) -> None:
        self._book = book

    async def list(self, call: Call[LimitsParams, NoBody]) -> LimitPage:
        params = call.params
        limits = [
            limit
            for limit in await self._book.within(named_org(call.reach), call.reach)
            if params.scope in (None, limit.scope.value) and params.scope_id in (None, limit.scope_id)
        ]
        position = read_cursor(params.cursor, PLACE_PARTS)
        if position is not None:
            limits = [limit for limit in limits if _place(limit) > tuple(map(str, position))]
        page, rest = limits[: params.limit], limits[params.limit :]
        standings = await self._book.standings(named_org(call.reach), page, call.now)
        return LimitPage(
            items=_views(standings), next_cursor=write_cursor(*_place(page[-1])) if rest else None
        )

    async def set(self, call: Call[OrgParams, LimitSetting]) -> LimitView:
        org = named_org(call.reach)
        standing = await self._book.set(org, call.body.limit(org), call)
        return LimitView.of(standing)

    async def remove(self, call: Call[LimitNameParams, NoBody]) -> None:
        org = named_org(call.reach)
        await self._book.remove(org, call.params.limit(org), call)


def limit_operations(book: LimitBook) -> list[AnyOperation]:
    handlers = _Handlers(book)
    example = {"scope": "team", "scope_id": "research", "window": "month", "credits": "5000"}
    return [
        Operation(
            method="GET",
            path="/api/limits",
            name="list_limits",
            tag="Limits",
            summary="What is limited, spent, held and left, and when it resets",
            action=Action.SEE_LIMITS,
            handler=handlers.list,
            params=LimitsParams,
            reply=LimitPage,
        ),
        Operation(
            method="PUT",
            path="/api/limits",
            name="set_limit",
            tag="Limits",
            summary="Add a limit or change one, on all gateways before the reply",
            action=Action.SET_LIMITS,
            handler=handlers.set,
            params=OrgParams,
            body=LimitSetting,
            reply=LimitView,
            errors=(404, 409),
            description="A limit is known by scope, window, operation, model and each_end_user; the rest becomes what "
            "is sent. Limits of limits.yaml are changed there (409). Team leads set those of keys in their teams, and "
            "of people in them who have no role above theirs and are in no other team; what binds a "
            "lead, a lead can only make tighter, with the alert levels that it has.",
            example=example,
        ),
        Operation(
            method="DELETE",
            path="/api/limits",
            name="remove_limit",
            tag="Limits",
            summary="Take a limit away",
            action=Action.SET_LIMITS,
            handler=handlers.remove,
            params=LimitNameParams,
            errors=(404, 409),
        ),
    ]


def _grace(standing: LimitStanding) -> GraceView | None:
    grace = standing.limit.grace
    if grace is None:
        return None
    ends_at = _instant(standing.grace_ends_us)
    return GraceView(percent=grace.percent, minutes=grace.minutes, state=standing.grace, ends_at=ends_at)


def _views(standings: Sequence[LimitStanding]) -> list[LimitView]:
    return [LimitView.of(standing) for standing in standings]


def _place(limit: Limit) -> tuple[str, ...]:
    """Where it stands in the list."""
    return tuple(part or "" for part in limit.identity)


def _instant(us: int | None) -> datetime | None:
    return None if us is None else _EPOCH + timedelta(microseconds=us)
