"""What organisations and people said about their alerts, and where people are reached.

Addresses are opened only for the message that goes to them. When Postgres is down everything raises
`PostgresUnavailable`; changes are audited in the transaction that makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal, Protocol

from gateway.alerts.identifiers import new_id
from gateway.alerts.org_settings import OrgAlertChoices
from gateway.errors import Conflict, NotFound
from gateway.identity.vault import Vault, place
from gateway.stores import postgres_audit
from gateway.stores.postgres import Postgres, Row, Session
from gateway.stores.sql import Queries

_SQL = Queries.load("gateway.alerts", "settings.sql")
DirectChannel = Literal["email", "sms"]
ADDRESSES_MAX = 100
"""Of an organisation: each gets a copy of every message."""
OWN_ADDRESSES_MAX = 5
"""Of one user."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What one user wants of one kind; kind ``*``: of all that are not named."""

    user_id: str
    kind: str
    email: bool
    sms: bool
    own: bool = False
    """Chosen by the user: it tells them no more than they may see."""


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """A mailbox or a telephone: the organisation's, or one more of somebody's own.

    Never logged, so it prints as nothing.
    """

    address_id: str
    channel: DirectChannel
    address: str
    kinds: tuple[str, ...] | None
    created_at: datetime

    def __repr__(self) -> str:
        return "Address(…)"


async def choices_of(session: Session | Postgres, org: str) -> OrgAlertChoices:
    """What ``org`` said, or the defaults."""
    row = await session.fetch_one(_SQL["get"], org)
    return OrgAlertChoices() if row is None else _choices(row)


class Publishing(Protocol):
    """How a change reaches the budgets of every gateway. See `gateway.identity.orgs.Publishing`."""

    async def newer(self, session: Session, org: str) -> None: ...

    async def announce(self) -> None: ...


class AlertChoices:
    def __init__(
        self, postgres: Postgres, vault: Vault, now: Callable[[], datetime], publishing: Publishing
    ) -> None:
        self._postgres = postgres
        self._publishing = publishing
        self._vault = vault
        self._now = now

    async def get(self, org: str) -> OrgAlertChoices:
        return await choices_of(self._postgres, org)

    async def all(self) -> dict[str, OrgAlertChoices]:
        """Of the orgs that said anything."""
        return {row["org_id"]: _choices(row) for row in await self._postgres.fetch(_SQL["all"])}

    async def orgs(self) -> list[str]:
        """Everybody whose days are counted."""
        return [row["org_id"] for row in await self._postgres.fetch(_SQL["orgs"])]

    async def set(self, org: str, choices: OrgAlertChoices, *, actor: str) -> None:
        """In force on all gateways within a second: levels and the low balance are the settle script's to know."""
        async with self._postgres.transaction() as session:
            before = await choices_of(session, org)
            await session.execute(
                _SQL["set"], org, None if choices.levels is None else list(choices.levels), choices.low_balance,
                choices.email, choices.sms, choices.daily_summary, choices.monthly_statement,
                choices.spend_anomaly, choices.summary_hour, self._now(), actor,
            )  # fmt: skip
            await self._publishing.newer(session, org)
            await _audit(session, actor, "alerts.set", org, f"org:{org}", asdict(before), asdict(choices))
        await self._publishing.announce()

    # ---------------------------------------------------------------- who wants what

    async def subscriptions(self, org: str, user: str | None = None) -> list[Subscription]:
        """``user``: only theirs."""
        return [Subscription(**row) for row in await self._postgres.fetch(_SQL["subscriptions"], org, user)]

    async def subscribe(self, org: str, wanted: Subscription, *, actor: str) -> None:
        async with self._postgres.transaction() as session:
            await session.execute(
                _SQL["subscribe"], org, wanted.user_id, wanted.kind, wanted.email, wanted.sms, wanted.own
            )
            await _audit(
                session, actor, "alerts.subscribe", org, f"user:{org}/{wanted.user_id}", None, asdict(wanted)
            )

    async def unsubscribe(self, org: str, user: str, kind: str, *, actor: str) -> None:
        """Back to what the user's role brings. Raises `NotFound`."""
        async with self._postgres.transaction() as session:
            if await session.fetch_value(_SQL["unsubscribe"], org, user, kind) is None:
                raise NotFound("There is no such subscription.", param="kind")
            await _audit(
                session, actor, "alerts.unsubscribe", org, f"user:{org}/{user}", {"kind": kind}, None
            )

    # ---------------------------------------------------------------- addresses
    # ``user``: theirs, which are told what they may see; None: the organisation's, which are told everything.

    async def addresses(self, org: str, user: str | None = None) -> list[Address]:
        return [
            Address(
                row["address_id"],
                row["channel"],
                self._vault.open(row["address_sealed"], _address_place(row["address_id"])),
                None if row["kinds"] is None else tuple(row["kinds"]),
                row["created_at"],
            )
            for row in await self._postgres.fetch(_SQL["addresses"], org, user)
        ]

    async def add_address(
        self,
        org: str,
        channel: DirectChannel,
        address: str,
        kinds: tuple[str, ...] | None,
        *,
        actor: str,
        user: str | None = None,
    ) -> Address:
        """Raises `EncryptionNotConfigured`, `Conflict`."""
        now = self._now()
        added = Address(new_id("adr", now), channel, address, kinds, now)
        sealed = self._vault.seal(address, _address_place(added.address_id))
        listed = None if kinds is None else list(kinds)
        most = ADDRESSES_MAX if user is None else OWN_ADDRESSES_MAX
        async with self._postgres.transaction() as session:
            await session.execute(_SQL["lock_addresses"], org)
            if await session.fetch_value(_SQL["count_addresses"], org, user) >= most:
                raise Conflict(f"There are {most} addresses already; remove one first.")
            await session.execute(
                _SQL["add_address"], added.address_id, org, channel, sealed, listed, now, actor, user
            )
            after = {"channel": channel, "kinds": listed}
            await _audit(
                session, actor, "alerts.add_address", org, f"address:{added.address_id}", None, after
            )
        return added

    async def remove_address(self, org: str, address_id: str, *, actor: str, user: str | None = None) -> None:
        """Raises `NotFound`."""
        async with self._postgres.transaction() as session:
            if await session.fetch_value(_SQL["remove_address"], org, address_id, user) is None:
                raise NotFound("There is no such address.", param="id")
            await _audit(session, actor, "alerts.remove_address", org, f"address:{address_id}", None, None)

    async def address_of(self, org: str, target: str, channel: DirectChannel) -> str | None:
        """Where ``target`` of a delivery is reached now; None: it is gone, or has no such address any more."""
        kind, _, target_id = target.partition(":")
        if kind == "address":
            sealed = await self._postgres.fetch_value(_SQL["address"], target_id)
            return None if sealed is None else self._vault.open(sealed, _address_place(target_id))
        row = await self._postgres.fetch_one(_SQL["person"], org, target_id)
        column = "email_sealed" if channel == "email" else "phone_sealed"
        if row is None or row[column] is None:
            return None
        return self._vault.open(row[column], place("people", column, org, target_id))


def _address_place(address_id: str) -> str:
    return place("alert_addresses", "address_sealed", address_id)


def _choices(row: Row) -> OrgAlertChoices:
    return OrgAlertChoices(
        levels=None if row["levels"] is None else tuple(row["levels"]),
        low_balance=row["low_balance_microcredits"],
        email=row["email"],
        sms=row["sms"],
        daily_summary=row["daily_summary"],
        monthly_statement=row["monthly_statement"],
        spend_anomaly=row["spend_anomaly"],
        summary_hour=row["summary_hour"],
    )


async def _audit(
    session: Session,
    actor: str,
    action: str,
    org: str,
    what: str,
    before: Mapping[str, object] | None,
    after: Mapping[str, object] | None,
) -> None:
    """Never with an address in it."""
    await postgres_audit.record(
        session, actor=actor, action=action, object=what, org=org, before=before, after=after
    )
