"""`tollgate credits`: balances, what they are made of, and who buys."""

from __future__ import annotations

import argparse
import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from gateway.alerts.ledger_statements import LedgerStatements
from gateway.alerts.postgres_book import AlertBook
from gateway.alerts.service import AlertSections
from gateway.alerts.top_up_news import TopUpMessages
from gateway.api.ledger_entries import month_of
from gateway.budgets.balances import BalanceReading
from gateway.cli.keys import print_table
from gateway.cli.moments import instant, month
from gateway.cli.registry import registry_of
from gateway.cli.stores import Stores, actor, open_stores
from gateway.errors import BadRequest
from gateway.identity.declared import Declared
from gateway.identity.orgs import Org
from gateway.ledger.burning import GrantKind
from gateway.ledger.credits import Credits
from gateway.ledger.drafts import Kind
from gateway.ledger.grants import NOT_PREPAID_NOTE, PRIORITY_DEFAULT, NewGrant
from gateway.ledger.topups import ManualPayments, TopUp, TopUpStatus
from gateway.reload import LiveConfig
from pricing.money import format_credits, parse_credits

GRANTS_SHOWN = 20
Run = Callable[[argparse.Namespace, Stores, Credits], Awaitable[None]]


def add_commands(commands: Any, with_config: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "credits", help="prepaid balances", description="Prepaid balances of organisations, and their ledger."
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_giving(actions, with_config)
    show = _command(actions, with_config, "show", _show, "an organisation's balance and its grants")
    show.add_argument("org", metavar="ORG")
    ledger = _command(
        actions, with_config, "ledger", _ledger, "the transactions behind a balance, newest first"
    )
    ledger.add_argument("org", metavar="ORG")
    ledger.add_argument("--kind", choices=[kind.value for kind in Kind])
    ledger.add_argument("--limit", type=int, default=20, metavar="N", help="how many; default: 20")
    statement = _command(
        actions,
        with_config,
        "statement",
        _statement,
        "what a month came to, in the organisation's own calendar",
    )
    statement.add_argument("org", metavar="ORG")
    statement.add_argument("--month", type=month, metavar="YYYY-MM", help="default: the present one")
    _add_top_ups(actions, with_config)


def _add_giving(actions: Any, with_config: argparse.ArgumentParser) -> None:
    grant = _command(actions, with_config, "grant", _grant, "add credits to an organisation's balance")
    grant.add_argument("org", metavar="ORG")
    grant.add_argument("credits", metavar="CREDITS", help="e.g. 500 or 0.25")
    grant.add_argument(
        "--reason", default="granted on the command line", help="for the ledger and the audit log"
    )
    grant.add_argument(
        "--kind", choices=("promotion", "purchase"), default="promotion", help="default: promotion"
    )
    grant.add_argument(
        "--priority", type=int, default=PRIORITY_DEFAULT, metavar="N", help="lower ones are used first"
    )
    grant.add_argument(
        "--expires", type=instant, metavar="WHEN", help="a whole minute, UTC: 2027-01-01 or 2027-01-01T08:00"
    )
    adjust = _command(actions, with_config, "adjust", _adjust, "correct a balance, up or down")
    adjust.add_argument("org", metavar="ORG")
    adjust.add_argument("credits", metavar="CREDITS", help="e.g. 5 or -2.5")
    refund = _command(actions, with_config, "refund", _refund, "give back what a transaction charged")
    refund.add_argument("org", metavar="ORG")
    refund.add_argument("transaction", type=int, metavar="TRANSACTION", help="see `tollgate credits ledger`")
    refund.add_argument("--credits", help="how much of it; default: all that is left")
    for command in (adjust, refund):
        command.add_argument("--reason", required=True, help="for the ledger and the audit log")
    for command in (grant, adjust, refund):
        command.add_argument("--idempotency-key", help="repeat safely: the same key does nothing twice")


def _add_top_ups(actions: Any, with_config: argparse.ArgumentParser) -> None:
    parser = actions.add_parser("top-ups", help="credits that somebody wants to buy")
    moves = parser.add_subparsers(required=True, metavar="ACTION")
    listing = _command(moves, with_config, "list", _list_top_ups, "newest first")
    listing.add_argument("--org", metavar="ID", help="only this organisation's")
    listing.add_argument("--status", choices=[status.value for status in TopUpStatus])
    confirm = _command(moves, with_config, "confirm", _confirm, "the money came: grant the credits, once")
    cancel = _command(moves, with_config, "cancel", _cancel, "nobody will pay this")
    for command in (confirm, cancel):
        command.add_argument(
            "top_up", metavar="TOP-UP", help="the first column of `tollgate credits top-ups list`"
        )
        command.add_argument("--reason", default="", help="for the audit log")


def _command(
    actions: Any, with_config: argparse.ArgumentParser, name: str, run: Run, help: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, parents=[with_config], help=help, description=help
    )
    parser.set_defaults(run=lambda options: asyncio.run(_run(options, run)))
    return parser


async def _run(options: argparse.Namespace, run: Run) -> int:
    async with open_stores(options.config) as stores:
        credits = Credits.build(stores.postgres, stores.holds.balances, ManualPayments(), _now, _news(stores))
        await run(options, stores, credits)
    return 0


def _news(stores: Stores) -> TopUpMessages:
    """People are told as if it had been done over the API; a running gateway delivers the messages."""
    settings = stores.settings
    sections = AlertSections(settings.alerts, settings.mail, settings.sms, settings.webhooks)

    def declared() -> Declared:
        return Declared(LiveConfig(settings).current.limits, settings.limits.name)

    return TopUpMessages(AlertBook(stores.postgres, stores.redis, declared, _now, sections.channels))


async def _grant(options: argparse.Namespace, stores: Stores, credits: Credits) -> None:
    text = options.credits.strip()
    if text.startswith("-"):
        raise BadRequest("CREDITS: must not be negative; to take credits away, use `tollgate credits adjust`")
    new = NewGrant(
        options.org,
        GrantKind(options.kind),
        parse_credits(text),
        options.reason,
        actor(),
        _key(options),
        options.priority,
        options.expires,
    )
    there = await registry_of(stores).orgs.get(options.org)
    written = await credits.ledger.grant(new)
    print(f"transaction {written.transaction_id}{'' if written.new else ' (made before with this key)'}")
    await _print_balance(stores, options.org)
    _print_note(there)


async def _adjust(options: argparse.Namespace, stores: Stores, credits: Credits) -> None:
    text = options.credits.strip()
    amount = -parse_credits(text[1:]) if text.startswith("-") else parse_credits(text)
    await registry_of(stores).known_orgs.check(options.org)
    written = await credits.ledger.adjust(
        options.org, amount, reason=options.reason, actor=actor(), idempotency_key=_key(options)
    )
    print(f"transaction {written.transaction_id}{'' if written.new else ' (made before with this key)'}")
    await _print_balance(stores, options.org)


async def _refund(options: argparse.Namespace, stores: Stores, credits: Credits) -> None:
    await registry_of(stores).known_orgs.check(options.org)
    written = await credits.ledger.refund(
        options.org,
        options.transaction,
        None if options.credits is None else parse_credits(options.credits),
        reason=options.reason,
        actor=actor(),
        idempotency_key=_key(options),
    )
    print(f"transaction {written.transaction_id}{'' if written.new else ' (made before with this key)'}")
    await _print_balance(stores, options.org)


async def _show(options: argparse.Namespace, stores: Stores, credits: Credits) -> None:
    await registry_of(stores).known_orgs.check_read(options.org)
    await credits.poster.post(options.org, _now())
    await _print_balance(stores, options.org)
    grants = await credits.reading.grants(options.org, GRANTS_SHOWN, alive_at=_now())
    if grants:
        rows = [("GRANT", "KIND", "GIVEN", "LEFT", "PRIORITY", "EXPIRES", "REASON")]
        for grant in grants:
            expires = "never" if grant.expires_at is None else _minute(grant.expires_at)
            rows.append(
                (grant.grant_id, grant.kind.value, format_credits(grant.amount), format_credits(grant.left),
                 str(grant.priority), expires, grant.reason)
            )  # fmt: skip
        print()
        print_table(rows)


async def _ledger(options: argparse.Namespace, stores: Stores, credits: Credits) -> None:
    kind = None if options.kind is None else Kind(options.kind)
    await registry_of(stores).known_orgs.check_read(options.org)
    await credits.poster.post(options.org, _now())
    entries = await credits.reading.entries(options.org, max(1, options.limit), kind=kind)
    if not entries:
        print("no transactions")
        return
    rows = [("TRANSACTION", "AT", "KIND", "AMOUNT", "CHANGE", "BALANCE", "BY", "REASON")]
    for entry in entries:
        change = sum(line.amount for line in entry.lines if line.account == "customer_credit")
        # What was not charged to the balance changes nothing in it, and was moved all the same.
        moved = sum(line.amount for line in entry.lines if line.amount > 0)
        rows.append(
            (str(entry.id), _minute(entry.occurred_at), entry.kind.value, format_credits(moved),
             format_credits(change), format_credits(entry.balance_after), entry.actor, entry.reason)
        )  # fmt: skip
    print_table(rows)


async def _statement(options: argparse.Namespace, stores: Stores, credits: Credits) -> None:
    await registry_of(stores).known_orgs.check_read(options.org)
    await credits.poster.post(options.org, _now())
    calendar = (await stores.holds.limits(options.org)).calendar
    month, start, end = month_of(calendar, options.month, _now())
    lines = await LedgerStatements(credits.reading).lines(options.org, start, end)
    print(f"{options.org}, {month} ({calendar.time_zone})")
    if not lines:
        print("nothing was given and nothing was used")
        return
    print_table([("", "CREDITS"), *((line.name, format_credits(line.microcredits)) for line in lines)])


async def _list_top_ups(options: argparse.Namespace, stores: Stores, credits: Credits) -> None:
    status = None if options.status is None else TopUpStatus(options.status)
    if options.org is not None:
        await registry_of(stores).known_orgs.check_read(options.org)
    found = await credits.top_ups.page(options.org, 100, status=status)
    if not found:
        print("no top-ups")
        return
    rows = [("TOP-UP", "ORG", "CREDITS", "PRICE", "STATUS", "REFERENCE", "ASKED BY", "AT")]
    rows += [
        (one.top_up_id, one.org_id, format_credits(one.amount_microcredits), one.price, one.status.value,
         one.reference or "", one.requested_by, _minute(one.created_at))
        for one in found
    ]  # fmt: skip
    print_table(rows)


async def _confirm(options: argparse.Namespace, stores: Stores, credits: Credits) -> None:
    org = await credits.top_ups.org_of(options.top_up)
    there = await registry_of(stores).orgs.get(org)
    _print_top_up(await credits.top_ups.confirm(org, options.top_up, actor=actor(), reason=options.reason))
    await _print_balance(stores, org)
    _print_note(there)


async def _cancel(options: argparse.Namespace, stores: Stores, credits: Credits) -> None:
    org = await credits.top_ups.org_of(options.top_up)
    _print_top_up(await credits.top_ups.cancel(org, options.top_up, actor=actor(), reason=options.reason))


def _print_top_up(top_up: TopUp) -> None:
    print(f"{top_up.top_up_id}: {top_up.status.value}, {format_credits(top_up.amount_microcredits)} credits")


def _print_note(org: Org) -> None:
    if not org.profile.balance_required:
        print(f"note: {NOT_PREPAID_NOTE}")


async def _print_balance(stores: Stores, org: str) -> None:
    balance = await stores.holds.balances.read(org)
    print(
        f"{org}: {format_credits(balance.left)} credits left of "
        f"{format_credits(balance.granted - balance.expired)} granted, "
        f"{format_credits(balance.held)} of them held by calls in flight"
    )
    if balance.next_expiry_us is not None:
        print(_expiry(balance))


def _expiry(balance: BalanceReading) -> str:
    at = datetime.fromtimestamp((balance.next_expiry_us or 0) / 1_000_000, UTC)
    return (
        f"{format_credits(balance.next_expiry)} credits expire on {_minute(at)} unless they are used before"
    )


def _key(options: argparse.Namespace) -> str:
    return options.idempotency_key or secrets.token_hex(16)


def _now() -> datetime:
    return datetime.now(UTC)


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
