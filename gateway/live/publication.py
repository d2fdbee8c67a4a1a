"""A published settlement becomes the row that it will be."""

from __future__ import annotations

from gateway.budgets.settled_message import SettledMessage
from gateway.ledger.row import Entry, Unreadable, UsageRow, merge


def parse(message: bytes) -> SettledMessage:
    """Raises `Unreadable`."""
    try:
        return SettledMessage.parse(message)
    except ValueError as error:
        raise Unreadable(f"what was published is no settlement: {error}") from error


def row(message: SettledMessage, partition: int) -> UsageRow:
    """Raises `Unreadable`."""
    fields = {
        b"id": message.request_id.encode(),
        b"t": b"%d" % message.started_at_us,
        b"f": b"%d" % message.finished_at_us,
        b"n": b"%d" % message.sequence,
        b"c": b"%d" % message.cost,
        b"p": b"1" if message.balance_charged else b"",
        b"a": message.admission,
        b"r": message.result,
    }
    return merge(Entry("", "", partition, fields))
