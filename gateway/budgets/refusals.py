"""Refusals, said so that whoever reads them knows which limit, how much, and until when."""

from __future__ import annotations

from gateway.budgets.model import Scope
from gateway.budgets.plan import Charge
from gateway.budgets.rules import Refusal, Shortage
from gateway.budgets.windows import Calendar
from gateway.budgets.wording import credits_text
from gateway.errors import (
    BalanceExhausted,
    BudgetContended,
    BudgetExceeded,
    Fault,
    RateLimited,
    TollgateError,
    TooManyOpenCalls,
)

CONTENDED_RETRY_S = 2
"""What a caller is told to wait when only holds of others are in the way: most calls end within seconds."""

_MICRO = 1_000_000


class AlreadyResolved(TollgateError):
    """This request id was held and resolved before; every request needs an id of its own."""

    status = 409
    code = "request_id_reused"
    fault = Fault.GATEWAY


def budget_refusal(refusal: Refusal, charge: Charge, calendar: Calendar, need: int) -> TollgateError:
    """The error for a counter that has no room for ``need`` microcredits: by its limit, or as it can hold no more."""
    limit = charge.limit or charge.name
    amount = refusal.cap if charge.limit is None else charge.limit.amount
    end_us, end_user, text = charge.interval.end_us, charge.name.end_user, charge.text
    detail: dict[str, object] = {
        "limit": text,
        "scope": limit.scope.value if end_user is None else "end_user",
        "scope_id": limit.scope_id if end_user is None else end_user,
        "within": None if end_user is None else f"{limit.scope.value} {limit.scope_id}",
        "window": limit.window.value,
        "operation": limit.operation,
        "model": limit.model,
        "kind": refusal.shortage.value,
        "limit_microcredits": refusal.cap,
        "settled_microcredits": refusal.settled,
        "held_microcredits": refusal.held,
        "needed_microcredits": need,
        "resets_at_us": end_us,
        "time_zone": calendar.time_zone,
    }
    spent = f"{credits_text(refusal.settled)} of {_cap_text(amount, refusal.cap)} are spent"
    resets = "it does not reset" if end_us is None else f"it resets at {calendar.local(end_us)}"
    if refusal.shortage is Shortage.NEVER:
        return BudgetExceeded(
            f"This request never fits: it needs at least {credits_text(need)} credits and the "
            f"{text} is {_cap_text(amount, refusal.cap)}. "
            f"Ask for less output, or for a higher limit.",
            detail=detail,
        )
    if refusal.shortage is Shortage.EXHAUSTED:
        left = refusal.cap - refusal.settled
        if left <= 0:
            return BudgetExceeded(f"The {text} is used up: {spent}; {resets}.", detail=detail)
        return BudgetExceeded(
            f"The {text} has too little left: {spent}, and this request needs at least {credits_text(need)} where "
            f"{credits_text(left)} are left; {resets}.",
            detail=detail,
        )
    return BudgetContended(
        f"The {text} has no room right now: {spent} and {credits_text(refusal.held)} are held "
        f"by requests in flight; try again shortly.",
        retry_after_s=CONTENDED_RETRY_S,
        detail=detail,
    )


def _cap_text(amount: int, cap: int) -> str:
    """The limit as it is declared, which people know, and how far its grace goes where that is what counts."""
    grace = "" if cap == amount else f" ({credits_text(cap)} with grace)"
    return f"{credits_text(amount)} credits{grace}"


def balance_refusal(refusal: Refusal, org: str, need: int) -> TollgateError:
    """The error for a prepaid balance that has no room for ``need`` microcredits."""
    detail: dict[str, object] = {
        "limit": f"balance of {Scope.ORG.value} {org}",
        "scope": Scope.ORG.value,
        "scope_id": org,
        "kind": refusal.shortage.value,
        "granted_microcredits": refusal.cap,
        "settled_microcredits": refusal.settled,
        "held_microcredits": refusal.held,
        "needed_microcredits": need,
    }
    left = credits_text(refusal.cap - refusal.settled)
    state = "does not suffice" if refusal.cap > refusal.settled else "is used up"
    if refusal.shortage is Shortage.EXHAUSTED:
        return BalanceExhausted(
            f"The prepaid balance of org {org} {state}: {left} credits are left and this request needs at "
            f"least {credits_text(need)}. Buy credits to go on.",
            detail=detail,
        )
    return BudgetContended(
        f"The prepaid balance of org {org} has no room right now: of {left} credits left, "
        f"{credits_text(refusal.held)} are held by requests in flight; try again shortly.",
        retry_after_s=CONTENDED_RETRY_S,
        detail=detail,
    )


def rate_refusal(wait_us: int, requests_per_minute: int) -> TollgateError:
    """The error for a key's limit on requests in any 60 seconds."""
    return RateLimited(
        f"This key may send {requests_per_minute} requests a minute.",
        retry_after_s=max(1, -(-wait_us // _MICRO)),
        detail={"requests_per_minute": requests_per_minute},
    )


def open_calls_refusal(open_calls: int, open_calls_max: int) -> TollgateError:
    """The error for a key's limit on calls in flight."""
    return TooManyOpenCalls(
        f"This key has {open_calls} calls open and may have {open_calls_max}.",
        retry_after_s=CONTENDED_RETRY_S,
        detail={"open_calls": open_calls, "open_calls_max": open_calls_max},
    )
