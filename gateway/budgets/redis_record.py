"""The hold record as the scripts write it, read back (see hold_1.lua)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.budgets.keyspace import decode
from gateway.budgets.model import Subject
from gateway.budgets.plan import Charge, counts

_TRUSTED = b'"end_user_trusted":true'


@dataclass(frozen=True, slots=True)
class HoldRecord:
    amount: int
    """Microcredits held."""
    started_at_us: int
    balance_charged: bool
    subject: Subject
    operation: str
    model: str
    counter_keys: tuple[str, ...]
    admission: bytes

    @classmethod
    def parse(cls, record: bytes) -> HoldRecord:
        amount, started, balance, _reference, subject_line, counters, admission = record.split(b"\n", 6)
        org, team, user, key, operation, model = map(decode, subject_line.decode().split(" "))
        return cls(
            amount=int(amount),
            started_at_us=int(started),
            balance_charged=balance == b"1",
            subject=Subject(org, team or None, user or None, key, _end_user(admission)),
            operation=operation,
            model=model,
            counter_keys=tuple(counters.decode().split(" ")),
            admission=admission,
        )

    def counts_for(self, charge: Charge) -> bool:
        """Whether the counter of ``charge`` is one that this hold belongs to."""
        return charge.key in self.counter_keys or counts(
            charge, self.subject, self.operation, self.model, self.started_at_us
        )


def trusted_end_user(admission: Mapping[str, Any]) -> str | None:
    """Whom the limits of end users count, by the admission half of a usage event."""
    return admission.get("end_user") if admission.get("end_user_trusted") else None


def _end_user(admission: bytes) -> str | None:
    # Nearly all have none, and there may be thousands of records to look through.
    return trusted_end_user(orjson.loads(admission)) if _TRUSTED in admission else None
