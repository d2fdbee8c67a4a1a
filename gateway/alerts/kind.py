"""What there is to be told, and how much it matters."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertKind(StrEnum):
    """Each is also the type of a webhook's message, after ``alert.``."""

    BUDGET_THRESHOLD = "budget_threshold"
    """A limit's sum has come to a level."""
    BALANCE_THRESHOLD = "balance_threshold"
    """So much is used of the balance that the last top-up made."""
    LOW_BALANCE = "low_balance"
    """The balance is at or below the amount that the organisation calls low."""
    SPEND_ANOMALY = "spend_anomaly"
    """An hour cost far more than the same hour of the same weekday did in the weeks before."""
    GRACE_STARTED = "grace_started"
    """A limit is passed within its grace, until it ends."""
    HARD_STOP = "hard_stop"
    """Calls are refused: what is settled leaves no room for them."""
    CREDITS_EXPIRING = "credits_expiring"
    DAILY_SUMMARY = "daily_summary"
    MONTHLY_STATEMENT = "monthly_statement"
    TOP_UP_REQUESTED = "top_up_requested"
    """Somebody wants to buy credits; says how they are paid."""
    TOP_UP_SUCCEEDED = "top_up_succeeded"
    TOP_UP_FAILED = "top_up_failed"
    TOP_UP_CANCELLED = "top_up_cancelled"
    TOP_UP_NEEDS_ACTION = "top_up_needs_action"
    """A payment waits for its payer, or a recharge for somebody to confirm it."""
    AUTO_RECHARGE_DISABLED = "auto_recharge_disabled"


TEST = "test"
"""What a test message calls itself in the place of a kind."""
