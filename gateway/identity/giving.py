"""Keys as people make them for themselves and each other: nobody puts more into a key than they have.

Members make keys of their own, leads keys of their teams, owners any in their organisation. What the key that is used
to ask for another one may not do, the other one may not do either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.budgets.selection import model_matches
from gateway.errors import BadRequest, Conflict, NotAllowed, NotFound
from gateway.identity.declared import Declarations
from gateway.identity.issuing import IssuedKey, KeyIssuer, NewKey
from gateway.identity.keys import KeyRecord
from gateway.identity.orgs import Orgs
from gateway.identity.people import no_such_person
from gateway.identity.postgres_keys import KeyTable, ListedKey
from gateway.identity.postgres_people import PeopleTable
from gateway.identity.roles import Action, Principal, Reach
from gateway.identity.standing import Standing, acts_within, manages
from gateway.identity.teams import Teams


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Keys of limits.yaml, by id, come before those made here, oldest first."""

    declared: list[KeyRecord]
    made: list[ListedKey]


class KeyGiving:
    """``limited``: whether a key (org, key id) has spending limits of its own."""

    def __init__(
        self,
        issuer: KeyIssuer,
        table: KeyTable,
        people: PeopleTable,
        declarations: Declarations,
        orgs: Orgs,
        teams: Teams,
        limited: Callable[[str, str], bool],
    ) -> None:
        self._issuer = issuer
        self._table = table
        self._people = people
        self._declarations = declarations
        self._orgs = orgs
        self._teams = teams
        self._limited = limited

    async def page(
        self,
        reach: Reach,
        *,
        user: str | None,
        after_declared: str | None,
        after_made: tuple[datetime, str] | None,
        limit: int,
    ) -> KeyPage:
        """What is within ``reach``, at most ``limit`` of both kinds together."""
        declared: list[KeyRecord] = []
        if after_made is None:
            declared = [
                record
                for key_id, record in sorted(self._declarations.current.keys.items())
                if reach.org_id in (None, record.org_id)
                and reach.covers(record.team_id, record.user_id, record.key_id)
                and user in (None, record.user_id)
                and (after_declared is None or key_id > after_declared)
            ][:limit]
        left = limit - len(declared)
        made = await self._table.list(reach, user=user, after=after_made, limit=left) if left else []
        return KeyPage(declared, made)

    async def create(self, new: NewKey, *, by: Principal, reach: Reach, now: datetime) -> IssuedKey:
        """Raises `BadRequest`, `NotAllowed`, `NotFound` (team, user), `Conflict` (a suspended user, or one who leaves
        the team at that moment)."""
        await self._orgs.get(new.org_id)
        if new.team_id is not None:
            await self._teams.get(new.org_id, new.team_id)
        standing = await self._standing(new.org_id, new.user_id)
        new = placed(new, by, reach, standing)
        if new.trusted_attribution and not reach.whole:
            raise NotAllowed(
                "Only an owner may say that a key's attribution is trusted.", param="trusted_attribution"
            )
        self._check_access(new.access, new.user_id, standing, by)
        new = await self._narrowed(new, by)
        made_here = (new.org_id, new.user_id) not in self._declarations.current.users
        of_member = made_here and new.team_id in standing.teams
        return await self._issuer.create(new, actor=by.actor, now=now, of_member=of_member)

    async def in_own_team(self, new: NewKey) -> NewKey:
        """``new`` with the team that it counts for. Its user need not be known: an operator gives keys to anybody.

        Raises `BadRequest` if the user has several teams and none is named, `Conflict` (a suspended user).
        """
        try:
            standing = await self._standing(new.org_id, new.user_id)
        except NotFound:
            return new
        return in_own_team(new, standing)

    async def rotate(
        self, key_id: str, *, old_until: datetime | None, by: Principal, reach: Reach, now: datetime
    ) -> IssuedKey:
        """Raises `NotFound`, `Conflict` (declared in the file, revoked), `NotAllowed`, `BadRequest`."""
        record = (await self._within(key_id, reach)).record
        standing = await self._people.standing(record.org_id, record.user_id or "")
        declared = self._declarations.current.users.get((record.org_id, record.user_id or ""))
        standing = standing if declared is None else declared.standing
        _check_in_team(record, by, reach, standing)
        if key_id != by.key_id:
            if not by.may(Action.SET_KEYS):
                raise NotAllowed("A key for calls may rotate itself and no other.")
            _check_stands_for(record.user_id, by, reach, standing)
            self._check_access(record.access, record.user_id, standing, by)
            as_asked = _as_new(record)
            if await self._narrowed(as_asked, by) != as_asked:
                raise NotAllowed("This key may do more than the one that you asked with.")
        return await self._issuer.rotate(key_id, old_until=old_until, actor=by.actor, now=now)

    async def revoke(self, key_id: str, *, by: Principal, reach: Reach) -> ListedKey:
        """Raises `NotFound`, `Conflict` (declared in the file)."""
        await self._within(key_id, reach)
        return await self._issuer.revoke(key_id, actor=by.actor)

    async def _within(self, key_id: str, reach: Reach) -> ListedKey:
        declared = self._declarations.current.keys.get(key_id)
        if declared is not None:
            if reach.org_id not in (None, declared.org_id) or not reach.covers(
                declared.team_id, declared.user_id, key_id
            ):
                raise NotFound(f"There is no key {key_id!r} here.", param="id")
            self._declarations.current.refuse_key(key_id)
        return await self._table.get(key_id, reach)

    async def _standing(self, org: str, user: str | None) -> Standing:
        if user is None:
            return Standing()
        declared = self._declarations.current.users.get((org, user))
        if declared is not None:
            return declared.standing
        person = await self._people.find(org, user)
        if person is None:
            raise no_such_person(user)
        if person.state != "active":
            raise Conflict(f"{user} is suspended.", param="user")
        return person.standing

    def _check_access(self, access: str, user: str | None, standing: Standing, by: Principal) -> None:
        if access == "calls":
            return
        if user is None:
            raise BadRequest("access: a key that belongs to nobody has no role to act with", param="access")
        if not acts_within(by, standing):
            raise NotAllowed(f"{user} may do more than you: you cannot hold their role.", param="access")

    async def _narrowed(self, new: NewKey, by: Principal) -> NewKey:
        """``new`` with the bounds of the key that is asked with. Raises `NotAllowed` where it would pass them."""
        if by.key_id is None or by.org_id is None:
            return new
        own = self._declarations.current.keys.get(by.key_id)
        if own is None:
            own = (await self._table.get(by.key_id)).record
        bounded = own.requests_per_minute is not None or own.open_calls_max is not None
        if bounded or self._limited(by.org_id, by.key_id):
            raise NotAllowed(
                "The key that you asked with has limits of its own, which another one would not have. Ask with "
                "another key, or an owner."
            )
        return narrowed(new, own)


def narrowed(new: NewKey, own: KeyRecord) -> NewKey:
    """What is left open is as in ``own``. Raises `NotAllowed` for more than ``own`` allows."""
    models, operations, expires_at = new.allowed_models, new.allowed_operations, new.expires_at
    if own.allowed_models is not None:
        models = own.allowed_models if models is None else models
        for model in models:
            # A pattern whose text is matched by another one picks nothing that the other does not.
            if not any(model_matches(allowed, model) for allowed in own.allowed_models):
                raise NotAllowed(f"Your own key may not use {model}.", param="allowed_models")
    if own.allowed_operations is not None:
        operations = own.allowed_operations if operations is None else operations
        if not set(operations) <= set(own.allowed_operations):
            raise NotAllowed("Your own key may not use all of these operations.", param="allowed_operations")
    if own.expires_at is not None:
        expires_at = own.expires_at if expires_at is None else expires_at
        if expires_at > own.expires_at:
            raise NotAllowed("Your own key expires before that.", param="expires_at")
    return replace(new, allowed_models=models, allowed_operations=operations, expires_at=expires_at)


def in_own_team(new: NewKey, standing: Standing) -> NewKey:
    """``new`` in the team of its user, unless it names one: without, it would escape what binds the team. Raises
    `BadRequest` where there are several to choose from."""
    if new.team_id is not None or new.user_id is None or not standing.teams:
        return new
    if len(standing.teams) > 1:
        teams = ", ".join(sorted(standing.teams))
        raise BadRequest(
            f"team: {new.user_id} is in several teams ({teams}): say for which one", param="team"
        )
    return replace(new, team_id=next(iter(standing.teams)))


def placed(new: NewKey, by: Principal, reach: Reach, standing: Standing) -> NewKey:
    """With the team that the key counts for. Raises `NotAllowed` where ``by`` may not make such a key."""
    own = new.user_id is not None and new.user_id == by.user_id
    # Who may make no key for somebody is not told either which teams they are in.
    if reach.whole or own or len(standing.teams) == 1:
        new = in_own_team(new, standing)
    if reach.whole:
        return new
    if own and (new.team_id is None or new.team_id in standing.teams):
        return new
    of_team = new.user_id is None or new.team_id in standing.teams
    if new.team_id in by.leads and of_team:
        _check_stands_for(new.user_id, by, reach, standing)
        return new
    raise NotAllowed("You may make keys for yourself, and for teams that you lead.", param="user")


def _check_stands_for(user: str | None, by: Principal, reach: Reach, standing: Standing) -> None:
    """Whoever holds a key may see what is its user's own, whatever its access: so nobody is given the secret
    of somebody whom they do not manage. Raises `NotAllowed`."""
    if user is None or user == by.user_id or reach.whole or manages(by, standing):
        return
    raise NotAllowed(
        f"{user} has a role above yours or is in a team that you do not lead: ask an owner, or make a key of the team.",
        param="user",
    )


def _check_in_team(record: KeyRecord, by: Principal, reach: Reach, standing: Standing) -> None:
    """Whoever is not in a team does not prolong a key of theirs that counts for it. Raises `NotAllowed`."""
    own = record.user_id is not None and record.user_id == by.user_id
    if own and not reach.whole and record.team_id is not None and record.team_id not in standing.teams:
        raise NotAllowed(
            f"This key counts for the team {record.team_id}, which you are not in: ask an owner."
        )


def _as_new(record: KeyRecord) -> NewKey:
    return NewKey(
        record.org_id,
        record.key_id,
        allowed_models=record.allowed_models,
        allowed_operations=record.allowed_operations,
        expires_at=record.expires_at,
    )
