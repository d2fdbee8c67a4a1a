"""People and service accounts: who they are, what they are in their organisation, and whether they may do anything.

What limits.yaml declares of a user (that they exist, their team and role) belongs to the file; their profile is kept
here, since a file is no place for personal data. When the file comes to declare somebody made here, it decides from
then on, and the profile stays.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.errors import BadRequest, Conflict, NotFound
from gateway.identity import postgres_people, profile
from gateway.identity.declared import Declarations, DeclaredUser
from gateway.identity.issuing import KeyIssuer
from gateway.identity.keys import Source
from gateway.identity.orgs import Orgs
from gateway.identity.postgres_keys import keys_of, revoke_keys
from gateway.identity.postgres_people import Kind, Membership, PeopleTable, PersonRow, State
from gateway.identity.postgres_secrets import OrgSecrets, Purpose
from gateway.identity.profile import Profile, email_digest
from gateway.identity.roles import Principal, Reach, Role
from gateway.identity.standing import OF_TEAM, Standing, check_gives, manages, over_all, takes_in
from gateway.identity.teams import Teams
from gateway.identity.vault import Vault
from gateway.stores import postgres_audit
from gateway.stores.postgres import DataRefused, Session

_UNKNOWN = Profile()


@dataclass(frozen=True, slots=True)
class Person:
    org_id: str
    user_id: str
    kind: Kind
    state: State
    source: Source
    profile: Profile
    memberships: tuple[Membership, ...]
    created_at: datetime | None
    """None: nothing is kept here of somebody whom the file declares."""

    @property
    def standing(self) -> Standing:
        return Standing.of((one.team_id, one.role) for one in self.memberships)


@dataclass(frozen=True, slots=True)
class NewPerson:
    user_id: str | None = None
    """None: one is made up that says nothing."""
    kind: Kind = "person"
    profile: Profile = _UNKNOWN
    memberships: tuple[Membership, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which people; None: any."""

    kind: Kind | None = None
    email: str | None = None
    team: str | None = None


class People:
    """``by``: who does it. Its reach was looked at before; here it is held against whom it is done to."""

    def __init__(
        self,
        table: PeopleTable,
        vault: Vault,
        secrets: OrgSecrets,
        declarations: Declarations,
        orgs: Orgs,
        teams: Teams,
        issuer: KeyIssuer,
    ) -> None:
        self._table = table
        self._vault = vault
        self._secrets = secrets
        self._declarations = declarations
        self._orgs = orgs
        self._teams = teams
        self._issuer = issuer

    # -------------------------------------------------------------- looking

    async def get(self, org: str, user: str, reach: Reach) -> Person:
        """Raises `NotFound`, also for who is out of reach."""
        declared = self._declarations.current.users.get((org, user))
        found = _person(org, user, declared, await self._table.find(org, user))
        if found is None or not _within(reach, found):
            raise no_such_person(user)
        return found

    async def page(
        self, org: str, reach: Reach, wanted: Wanted, after: str | None, limit: int
    ) -> list[Person]:
        """By id, those within ``reach`` after ``after``."""
        digest = await self._digest(org, wanted.email)
        declared = self._declarations.current.org_users(org)
        # Of those that the file declares, their rows say neither team nor role: they are looked at by id below.
        rows = await self._table.page(
            org,
            reach,
            after=after,
            kind=wanted.kind,
            email_digest=digest,
            team=wanted.team,
            limit=limit + len(declared),
        )
        found = {row.user_id: _person(org, row.user_id, declared.get(row.user_id), row) for row in rows}
        for user, settings in declared.items():
            if user not in found and (after is None or user > after) and digest is None:
                row = await self._table.find(org, user)
                found[user] = _person(org, user, settings, row)
        people = (person for _, person in sorted(found.items()) if person is not None)
        return [one for one in people if _within(reach, one) and _matches(one, wanted)][:limit]

    # -------------------------------------------------------------- making and changing

    async def create(self, org: str, new: NewPerson, *, by: Principal) -> Person:
        """Raises `BadRequest`, `Conflict` (the id or the address is taken), `NotAllowed`, `EncryptionNotConfigured`."""
        user = new.user_id or f"u-{secrets.token_hex(6)}"
        if "@" in user:
            raise BadRequest(
                "id: must not be an e-mail address: ids stay in usage and in the audit log. Put it into the profile.",
                param="id",
            )
        self._declarations.current.refuse_user(org, user)
        await self._orgs.get(org)
        personal = profile.check(new.profile)
        for membership in new.memberships:
            await self._check_membership(org, membership, by)
        if not new.memberships and not manages(by, Standing()):
            raise BadRequest("memberships: say which of your teams this is for", param="memberships")
        digest = await self._digest(org, personal.email)
        async with self._table.changing(org) as session:
            await _check_free(session, org, user, by)
            if not await postgres_people.insert(session, org, user, new.kind):
                raise Conflict(f"There is somebody called {user} already.", param="id")
            await self._set_profile(session, org, user, personal, digest)
            for membership in new.memberships:
                await postgres_people.grant(session, org, user, membership, by.actor)
            after = {"kind": new.kind, "profile": personal.given, "roles": _said(new.memberships)}
            await _audit(session, by, "person.create", org, user, None, after)
        return await self.get(org, user, Reach(org))

    async def set_profile(self, org: str, user: str, personal: Profile, *, by: Principal) -> Person:
        """Replace the profile, also of somebody whom the file declares. Raises as `create`, and `NotFound`."""
        personal = profile.check(personal)
        person = await self._managed(org, user, by)
        digest = await self._digest(org, personal.email)
        async with self._table.changing(org) as session:
            if person.created_at is None:
                await postgres_people.insert(session, org, user, "person")
            await self._set_profile(session, org, user, personal, digest)
            before, after = {"profile": person.profile.given}, {"profile": personal.given}
            await _audit(session, by, "person.set_profile", org, user, before, after)
        return await self.get(org, user, Reach(org))

    async def set_state(self, org: str, user: str, state: State, *, by: Principal) -> Person:
        """Suspend somebody, whose keys then stop within a second, or take that back.

        Raises `Conflict` for the last owner and for who is declared in the file, `NotFound`.
        """
        self._declarations.current.refuse_user(org, user)
        await self._managed(org, user, by)
        async with self._table.changing(org) as session:
            person = await self._table.find(org, user, session)
            if person is None:
                raise no_such_person(user)
            if state == "suspended" and Role.OWNER in person.standing.roles:
                await self.check_not_last_owner(session, org, user)
            if state != person.state:
                await postgres_people.set_state(session, org, user, state)
                before, after = {"state": person.state}, {"state": state}
                await _audit(session, by, f"person.{state}", org, user, before, after)
            keys = await keys_of(session, org, user)
        await self._issuer.announce(keys)
        return await self.get(org, user, Reach(org))

    async def grant(self, org: str, user: str, membership: Membership, *, by: Principal) -> Person:
        """Give a role. Again does nothing. Raises `NotAllowed`, `NotFound`, `Conflict`."""
        self._declarations.current.refuse_user(org, user)
        await self._check_membership(org, membership, by)
        async with self._table.changing(org) as session:
            person = await self._table.find(org, user, session)
            if person is None or not takes_in(by, person.standing):
                raise no_such_person(user)
            if await postgres_people.grant(session, org, user, membership, by.actor):
                await _audit(session, by, "role.grant", org, user, None, {"role": _said([membership])[0]})
        await self._issuer.announce([])
        return await self.get(org, user, Reach(org))

    async def withdraw(self, org: str, user: str, membership: Membership, *, by: Principal) -> Person:
        """Take a role away, everywhere within a second; with the last one in a team go the keys that count for it.

        Raises `Conflict` for the last owner's, `NotFound`.
        """
        self._declarations.current.refuse_user(org, user)
        check_gives(by, membership.role, membership.team_id)
        async with self._table.changing(org) as session:
            if membership.role is Role.OWNER:
                await self.check_not_last_owner(session, org, user)
            held = await postgres_people.withdraw(session, org, user, membership)
            if held:
                await self._end_keys(session, org, user, membership.team_id, by)
                await _audit(session, by, "role.withdraw", org, user, {"role": _said([membership])[0]}, None)
            ended = [key for key in await keys_of(session, org, user) if key.revoked_at is not None]
        # Also when it is repeated: a store may have been down the first time.
        await self._issuer.announce(ended)
        if not held:
            raise NotFound(f"{user} does not have this role.", param="role")
        return await self.get(org, user, Reach(org))

    async def check_not_last_owner(self, session: Session, org: str, user: str) -> None:
        """Raises `Conflict` if nobody but ``user`` owns ``org``. The session holds the organisation's lock."""
        owners = await postgres_people.owners(session, org) | self._declarations.current.owners(org)
        if owners == {user}:
            raise Conflict(f"{user} is the last owner of {org}: make somebody else an owner first.")

    # -------------------------------------------------------------- parts

    async def _end_keys(self, session: Session, org: str, user: str, team: str | None, by: Principal) -> None:
        """Revoke those that count for ``team``, unless ``user`` is still in it: they would spend what it may spend."""
        person = await self._table.find(org, user, session)
        if team is None or (person is not None and team in person.standing.teams):
            return
        of_team = [key for key in await keys_of(session, org, user) if key.record.team_id == team]
        await revoke_keys(session, [key.record.key_id for key in of_team], by.actor)

    async def _managed(self, org: str, user: str, by: Principal) -> Person:
        """Somebody whom ``by`` may change; `NotFound` for anybody else."""
        person = await self.get(org, user, Reach(org))
        if not manages(by, person.standing):
            raise no_such_person(user)
        return person

    async def _check_membership(self, org: str, membership: Membership, by: Principal) -> None:
        in_team = membership.role in OF_TEAM
        if in_team and membership.team_id is None:
            raise BadRequest(f"team: {membership.role.value} is a role in a team; say which", param="team")
        if not in_team and membership.team_id is not None:
            raise BadRequest(
                f"team: {membership.role.value} is a role in the whole organisation", param="team"
            )
        check_gives(by, membership.role, membership.team_id)
        if membership.team_id is not None:
            await self._teams.get(org, membership.team_id)

    async def _set_profile(
        self, session: Session, org: str, user: str, personal: Profile, digest: str | None
    ) -> None:
        sealed = profile.seal(personal, self._vault, org, user)
        try:
            await postgres_people.set_profile(session, org, user, sealed, digest)
        except DataRefused as error:
            if error.constraint != "people_by_email":
                raise
            raise Conflict("Somebody else has this e-mail address.", param="email") from error

    async def _digest(self, org: str, email: str | None) -> str | None:
        if email is None:
            return None
        return email_digest(await self._secrets.get(org, Purpose.EMAIL_DIGESTS), email)


async def _check_free(session: Session, org: str, user: str, by: Principal) -> None:
    """Raises `Conflict`. Keys and usage of an id are from now on those of whoever is made under it. Where there are
    some already, by command or of somebody whom the file names no more, a lead cannot know whose they are."""
    if await postgres_people.being_erased(session, org, user):
        raise Conflict(f"{user} is being erased; use another id.", param="id")
    if not over_all(by) and await postgres_people.left_traces(session, org, user):
        raise Conflict(
            f"There are keys or usage of {user} already: use another id, or ask an owner.", param="id"
        )


def no_such_person(user: str) -> NotFound:
    return NotFound(f"There is nobody called {user!r} here.", param="id")


def _person(org: str, user: str, declared: DeclaredUser | None, row: PersonRow | None) -> Person | None:
    if declared is not None:
        roles = sorted(declared.standing.roles)
        team = declared.team_id
        held = tuple(Membership(team if role in OF_TEAM else None, role) for role in roles)
        personal, created_at = (_UNKNOWN, None) if row is None else (row.profile, row.created_at)
        return Person(org, user, "person", "active", "file", personal, held, created_at)
    if row is None:
        return None
    return Person(org, user, row.kind, row.state, "api", row.profile, row.memberships, row.created_at)


def _within(reach: Reach, person: Person) -> bool:
    return reach.covers(None, person.user_id) or any(
        reach.covers(team, None) for team in person.standing.teams
    )


def _matches(person: Person, wanted: Wanted) -> bool:
    return wanted.kind in (None, person.kind) and (
        wanted.team is None or wanted.team in person.standing.teams
    )


def _said(memberships: Iterable[Membership]) -> Sequence[str]:
    return [
        one.role.value if one.team_id is None else f"{one.role.value} of {one.team_id}" for one in memberships
    ]


async def _audit(
    session: Session,
    by: Principal,
    action: str,
    org: str,
    user: str,
    before: Mapping[str, object] | None,
    after: Mapping[str, object] | None,
) -> None:
    """Which fields of a profile are known, never what is in them."""
    await postgres_audit.record(
        session,
        actor=by.actor,
        action=action,
        object=f"person:{org}/{user}",
        org=org,
        before=before,
        after=after,
    )
