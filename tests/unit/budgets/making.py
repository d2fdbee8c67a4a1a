"""Values that budget tests are made of."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import orjson

from gateway.budgets.directory import Directory, OrgRules
from gateway.budgets.model import Ask, Grace, Limit, Scope, Subject, Window

ADA = Subject("acme", "research", "ada", "ada-laptop")
_numbers = itertools.count(1)


def ask_for(
    fixed: int = 0,
    least: int = 0,
    most: int | None = None,
    *,
    subject: Subject = ADA,
    operation: str = "chat",
    model: str = "gpt-4o",
    request_id: str | None = None,
    requests_per_minute: int | None = None,
    open_calls_max: int | None = None,
) -> Ask:
    request_id = request_id or f"request-{next(_numbers)}"
    return Ask(
        request_id=request_id,
        subject=subject,
        operation=operation,
        model=model,
        fixed=fixed,
        least=least,
        most=least if most is None else most,
        admission=orjson.dumps(
            {
                "request_id": request_id,
                "org_id": subject.org,
                "team_id": subject.team,
                "user_id": subject.user,
                "key_id": subject.key,
                "operation": operation,
                "model": model,
                "end_user": subject.end_user,
                "end_user_trusted": subject.end_user is not None,
            }
        ),
        requests_per_minute=requests_per_minute,
        open_calls_max=open_calls_max,
    )


def limit_on(
    scope: Scope,
    scope_id: str,
    amount: int,
    window: Window = Window.TOTAL,
    *,
    operation: str | None = None,
    model: str | None = None,
    grace: Grace | None = None,
    enforce: bool = True,
    each_end_user: bool = False,
) -> Limit:
    return Limit(
        scope, scope_id, window, amount, operation, model, grace, enforce, each_end_user=each_end_user
    )


def key_limit(amount: int, window: Window = Window.TOTAL, *, enforce: bool = True) -> Limit:
    return limit_on(Scope.KEY, ADA.key, amount, window, enforce=enforce)


def directory_of(
    limits: Iterable[Limit] = (),
    *,
    version: int = 1,
    time_zone: str = "Europe/Paris",
    balance_required: bool = False,
    org: str = "acme",
) -> Directory:
    rules = OrgRules(
        org, limits=limits, time_zone=time_zone, version=version, balance_required=balance_required
    )
    return Directory({org: rules})
