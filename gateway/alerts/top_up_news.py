"""What becomes of top-ups, as news for those who pay and for whoever asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from gateway.alerts.kind import AlertKind, Severity
from gateway.alerts.notice import Notice, amount
from gateway.alerts.postgres_book import AlertBook
from gateway.ledger.topups import TopUp, TopUpStatus
from gateway.stores.postgres import Session

_KINDS: Mapping[TopUpStatus, tuple[AlertKind, Severity]] = {
    TopUpStatus.PENDING: (AlertKind.TOP_UP_REQUESTED, Severity.INFO),
    TopUpStatus.CONFIRMED: (AlertKind.TOP_UP_SUCCEEDED, Severity.INFO),
    TopUpStatus.CANCELLED: (AlertKind.TOP_UP_CANCELLED, Severity.INFO),
    TopUpStatus.FAILED: (AlertKind.TOP_UP_FAILED, Severity.WARNING),
}


def of_top_up(top_up: TopUp) -> Notice:
    kind, severity = _KINDS[top_up.status]
    data: dict[str, Any] = {
        "top_up_id": top_up.top_up_id,
        "amount": amount(top_up.amount_microcredits),
        "price": top_up.price,
    }
    if top_up.status is TopUpStatus.PENDING:
        data |= {"instructions": top_up.instructions, "url": top_up.url}
    else:
        data["reason"] = top_up.reason
    subject = f"top_up|{top_up.top_up_id}"
    return Notice(
        kind,
        severity,
        top_up.org_id,
        f"{subject}|{top_up.status.value}",
        subject,
        top_up.changed_at,
        data,
        user_id=top_up.requested_by_user,
    )


class TopUpMessages:
    """For a `gateway.ledger.postgres_topups.TopUps`."""

    def __init__(self, book: AlertBook) -> None:
        self._book = book

    async def record(self, session: Session, top_up: TopUp) -> Callable[[], Awaitable[None]]:
        """Part of the transaction that moves the top-up: neither is there without the other."""
        return partial(self._book.announce, await self._book.record(session, [of_top_up(top_up)]))
