"""Who may set which limit, beyond what the table of roles says of reach. Pure.

Whoever reaches the whole organisation may set any limit in it. A team lead may set those of keys in their teams and of
people whom they manage as they like; those that bind the lead (of the team as a whole, their own and their own keys') a
lead may only make tighter, or they would bind nobody, and never quieter: owners rely on being told.
"""

from __future__ import annotations

from gateway.budgets.model import Limit, Scope
from gateway.budgets.rules import Cap
from gateway.errors import NotAllowed
from gateway.identity.postgres_places import Place
from gateway.identity.roles import Principal, Reach
from gateway.identity.standing import manages


def check_change(
    principal: Principal, reach: Reach, place: Place, before: Limit | None, after: Limit | None
) -> None:
    """Raises `NotAllowed` unless the change from ``before`` (None: no such limit) to ``after`` (None: taken away) is
    within the rights of ``principal``. ``place``: where the limit's scope belongs; within ``reach``.
    """
    if reach.whole:
        return
    changed = after or before
    if changed is None:
        return
    own = place.user == principal.user_id
    if changed.scope is Scope.USER and not own and not manages(principal, place.standing):
        raise NotAllowed(
            f"{place.user} has a role above yours or is in a team that you do not lead: ask an owner, or limit their "
            "keys in your team.",
            param="scope_id",
        )
    binds_them = changed.scope in (Scope.ORG, Scope.TEAM) or own
    if binds_them and not tighter(before, after):
        raise NotAllowed(
            "A team lead may only make a limit tighter that binds the team as a whole or the lead, and leaves its "
            "alert levels as they are; ask an owner."
        )


def tighter(before: Limit | None, after: Limit | None) -> bool:
    """Whether ``after`` allows nothing that ``before`` does not, and is told of at the same levels. A new one may be
    told of at any levels, but not at none.
    """
    if before is None:
        return after is None or after.alerts != ()
    if after is None:
        return False
    old, new = Cap.of(before), Cap.of(after)
    return (
        new.amount <= old.amount
        and new.ceiling <= old.ceiling
        and new.grace_us <= old.grace_us
        and (after.enforce or not before.enforce)
        and after.alerts == before.alerts
    )
