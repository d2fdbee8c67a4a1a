"""/api/credits/ledger and statement: every line behind a balance, and what a month came to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, Field

from gateway.api.amount import Amount
from gateway.api.credit_fields import Instant
from gateway.api.cursor import read_cursor, write_cursor
from gateway.api.operation import AnyOperation, Call, NoBody, Operation, OrgParams, PageParams
from gateway.budgets.windows import Calendar
from gateway.errors import BadRequest
from gateway.identity.roles import Action, named_org
from gateway.ledger.drafts import Account, Kind
from gateway.ledger.postgres_reading import LedgerEntry, LedgerReading, Statement

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LineView(BaseModel):
    account: Account
    grant_id: str | None
    amount: Annotated[
        Amount, Field(description="Positive: the account is given credits; negative: it gives.")
    ]


class EntryView(BaseModel):
    """A transaction of the ledger. Its lines sum to zero."""

    id: str
    kind: Kind
    occurred_at: Annotated[datetime, Field(description="When it came to pass: usage began, a grant expired.")]
    recorded_at: datetime
    by: str
    reason: str
    ref: Annotated[str | None, Field(description="What it is about: a top-up, a transaction, a grant.")]
    change: Annotated[Amount, Field(description="By how much it changed the balance.")]
    balance_after: Annotated[Amount, Field(description="The balance once this was recorded.")]
    lines: list[LineView]

    @classmethod
    def of(cls, entry: LedgerEntry) -> EntryView:
        change = sum(line.amount for line in entry.lines if line.account is Account.CUSTOMER_CREDIT)
        return cls(
            id=str(entry.id),
            kind=entry.kind,
            occurred_at=entry.occurred_at,
            recorded_at=entry.recorded_at,
            by=entry.actor,
            reason=entry.reason,
            ref=entry.ref,
            change=Amount.of(change),
            balance_after=Amount.of(entry.balance_after),
            lines=[
                LineView(account=line.account, grant_id=line.grant_id, amount=Amount.of(line.amount))
                for line in entry.lines
            ],
        )


class EntryPage(BaseModel):
    items: list[EntryView]
    next_cursor: str | None


class EntriesParams(PageParams):
    kind: Annotated[Kind | None, Field(description="Only transactions of this kind.")] = None
    since: Annotated[Instant | None, Field(description="Only what came to pass at or after it.")] = None
    until: Annotated[Instant | None, Field(description="Only what came to pass before it.")] = None


class StatementParams(OrgParams):
    month: Annotated[
        str | None,
        Field(
            pattern=r"^20[2-9][0-9]-(0[1-9]|1[0-2])$",
            description="In the organisation's time zone. Nothing: the present one.",
            examples=["2026-11"],
        ),
    ] = None


class StatementLineView(BaseModel):
    kind: Kind
    change: Amount
    transactions: Annotated[int, Field(description="How many.")]
    first_id: Annotated[str, Field(description="The first of them in the ledger.")]
    last_id: str


class StatementView(BaseModel):
    """opening + purchases + grants + refunds + adjustments - usage - expiry = closing."""

    org: str
    month: str
    time_zone: str
    starts_at: datetime
    ends_at: datetime
    opening: Amount
    purchases: Amount
    grants: Annotated[Amount, Field(description="Given for free.")]
    refunds: Annotated[Amount, Field(description="Of usage, less those of purchases.")]
    adjustments: Amount
    usage: Annotated[Amount, Field(description="Charged to the balance.")]
    postpaid: Annotated[
        Amount,
        Field(
            description="Used beside it, to be paid afterwards: of an organisation that is not prepaid, all usage."
        ),
    ]
    expiry: Amount
    closing: Amount
    not_posted: Annotated[
        Amount, Field(description="Usage of this month that is recorded and will be posted within seconds.")
    ]
    lines: list[StatementLineView]

    @classmethod
    def of(cls, org: str, month: str, time_zone: str, statement: Statement) -> StatementView:
        def amount(*kinds: Kind) -> Amount:
            return Amount.of(statement.of(*kinds))

        return cls(
            org=org,
            month=month,
            time_zone=time_zone,
            starts_at=statement.start,
            ends_at=statement.end,
            opening=Amount.of(statement.opening),
            purchases=amount(Kind.PURCHASE),
            grants=amount(Kind.PROMOTION),
            refunds=amount(Kind.REFUND),
            adjustments=amount(Kind.ADJUSTMENT),
            usage=Amount.of(-statement.of(Kind.USAGE)),
            postpaid=Amount.of(statement.postpaid),
            expiry=Amount.of(-statement.of(Kind.EXPIRY, Kind.EXPIRY_REVERSAL)),
            closing=Amount.of(statement.closing),
            not_posted=Amount.of(statement.not_posted),
            lines=[
                StatementLineView(
                    kind=line.kind,
                    change=Amount.of(line.microcredits),
                    transactions=line.transactions,
                    first_id=str(line.first_id),
                    last_id=str(line.last_id),
                )
                for line in sorted(statement.lines.values(), key=lambda line: line.first_id)
            ],
        )


def month_of(calendar: Calendar, month: str | None, now: datetime) -> tuple[str, datetime, datetime]:
    """The month as text, and [start, end) of it by ``calendar``. None: the one that ``now`` is in."""
    # The middle of a month is in it, whatever the zone.
    middle = (
        now if month is None else datetime.strptime(f"{month}-15 12:00", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    )
    window = calendar.around(int(middle.timestamp()) * 1_000_000).month
    assert window.end_us is not None
    text = month or calendar.local(window.start_us)[:7]
    return text, _instant(window.start_us), _instant(window.end_us)


def place_in_ledger(value: object) -> int:
    """A transaction's id out of a cursor. Raises `BadRequest`."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise BadRequest("cursor: is not one that a page before gave out", param="cursor")
    return value


def _instant(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def ledger_operations(reading: LedgerReading, calendar_of: Callable[[str], Calendar]) -> list[AnyOperation]:
    async def entries(call: Call[EntriesParams, NoBody]) -> EntryPage:
        params = call.params
        position = read_cursor(params.cursor, 1)
        found = await reading.entries(
            named_org(call.reach),
            params.limit + 1,
            None if position is None else place_in_ledger(position[0]),
            kind=params.kind,
            since=params.since,
            until=params.until,
        )
        page = found[: params.limit]
        cursor = write_cursor(page[-1].id) if len(found) > params.limit else None
        return EntryPage(items=[EntryView.of(entry) for entry in page], next_cursor=cursor)

    async def statement(call: Call[StatementParams, NoBody]) -> StatementView:
        org = named_org(call.reach)
        calendar = calendar_of(org)
        month, start, end = month_of(calendar, call.params.month, call.now)
        return StatementView.of(org, month, calendar.time_zone, await reading.statement(org, start, end))

    return [
        Operation(
            method="GET",
            path="/api/credits/ledger",
            name="list_ledger",
            tag="Credits",
            summary="The ledger, newest first: every transaction with its lines and the balance after it",
            action=Action.SEE_LEDGER,
            handler=entries,
            params=EntriesParams,
            reply=EntryPage,
        ),
        Operation(
            method="GET",
            path="/api/credits/statement",
            name="get_statement",
            tag="Credits",
            summary="What a month came to: opening, what was given, used and expired, closing",
            description="By when things came to pass. Calls still running at the month's end are added when they end.",
            action=Action.SEE_LEDGER,
            handler=statement,
            params=StatementParams,
            reply=StatementView,
        ),
    ]
