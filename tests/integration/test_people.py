"""People: sealed profiles, roles that nobody can raise above their own, one owner at least, and who owns what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.errors import BadRequest, Conflict, NotAllowed, NotFound, RevokedKey, StoreUnavailable
from gateway.identity.issuing import NewKey
from gateway.identity.keyring import Keyring
from gateway.identity.keys import digest_of
from gateway.identity.orgs import OrgProfile
from gateway.identity.people import NewPerson, Wanted
from gateway.identity.postgres_people import Membership
from gateway.identity.principals import KeyPrincipals
from gateway.identity.profile import Profile
from gateway.identity.redis_keys import RECORD_TTL_S
from gateway.identity.remembered import AGE_S_MAX
from gateway.identity.roles import Action, Principal, Reach, Role
from gateway.identity.teams import TeamProfile
from gateway.identity.vault import EncryptionNotConfigured, Unsealable, Vault
from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.row import merge
from gateway.settings.encryption import EncryptionSettings
from tests.support.people import FILE, ROOT, Office, blocked, office
from tests.support.servers import TestRedis
from tests.support.usage_events import ADMISSION, entry

ADA = Profile("Ada Lovelace", "Ada@Example.com", "+33 6 12 34 56 78")
OWNER = Membership(None, Role.OWNER)


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str) -> AsyncIterator[Office]:
    async with office(redis_url, postgres_dsn) as made:
        yield made


def lead_of(*teams: str) -> Principal:
    return Principal("user:acme/lea", frozenset({Role.LEAD}), "acme", "lea", leads=frozenset(teams))


def owner(user: str) -> Principal:
    return Principal(f"user:acme/{user}", frozenset({Role.OWNER}), "acme", user)


# ------------------------------------------------------------------ organisations


async def test_an_organisation_that_is_only_a_past_can_be_read_and_is_given_nothing(place: Office) -> None:
    known = place.registry.known_orgs
    await place.registry.orgs.create("made", OrgProfile("Made"), actor="x")
    for org in ("acme", "made"):
        await known.check(org)
        await known.check_read(org)
    with pytest.raises(NotFound, match="'old'"):
        await known.check_read("old")
    await place.postgres.execute("INSERT INTO org_calendars (org_id) VALUES ('old')")
    await known.check_read("old")
    with pytest.raises(NotFound, match="'old'"):
        await known.check("old")


async def test_keys_that_were_made_by_command_can_be_seen_whatever_their_organisation(place: Office) -> None:
    known = place.registry.known_orgs
    with pytest.raises(NotFound):
        await known.check_read("keys-alone")
    await place.registry.issuer.create(NewKey("keys-alone", "ci"), actor="cli:root")
    await known.check_read("keys-alone")
    with pytest.raises(NotFound):
        await known.check("keys-alone")


# ------------------------------------------------------------------ profiles


async def test_a_profile_is_kept_sealed_and_stands_in_no_log(place: Office) -> None:
    await place.people.create("acme", NewPerson("ada", profile=ADA), by=ROOT)
    found = await place.people.get("acme", "ada", Reach("acme"))
    assert found.profile == Profile("Ada Lovelace", "Ada@Example.com", "+33612345678")
    everything = await place.postgres.fetch_value(
        "SELECT (SELECT json_agg(p)::text FROM people p) || (SELECT json_agg(a)::text FROM audit_log a)"
    )
    for personal in ("Lovelace", "xample", "612345678"):
        assert personal not in everything
    assert '"profile": ["name", "email", "phone"]' in everything
    assert "Lovelace" not in repr(found)


async def test_without_a_key_a_profile_is_refused_and_a_person_without_one_is_not(place: Office) -> None:
    bare = place.made_with(Vault(EncryptionSettings())).people
    with pytest.raises(EncryptionNotConfigured):
        await bare.create("acme", NewPerson("ada", profile=Profile(name="Ada")), by=ROOT)
    with pytest.raises(NotFound):
        await bare.get("acme", "ada", Reach("acme"))
    await bare.create("acme", NewPerson("bob"), by=ROOT)


async def test_a_ciphertext_copied_from_another_person_is_refused(place: Office) -> None:
    for user, name in (("ada", "Ada"), ("bob", "Bob")):
        await place.people.create("acme", NewPerson(user, profile=Profile(name=name)), by=ROOT)
    await place.postgres.execute(
        "UPDATE people SET name_sealed = (SELECT name_sealed FROM people WHERE user_id = 'bob') "
        "WHERE user_id = 'ada'"
    )
    with pytest.raises(Unsealable):
        await place.people.get("acme", "ada", Reach("acme"))


async def test_somebody_is_found_by_any_spelling_of_their_address(place: Office) -> None:
    await place.people.create("acme", NewPerson("ada", profile=ADA), by=ROOT)
    await place.person("bob")
    found = await place.people.page("acme", Reach("acme"), Wanted(email=" ADA@example.COM"), None, 10)
    assert [person.user_id for person in found] == ["ada"]


async def test_an_address_belongs_to_one_person_of_an_organisation(place: Office) -> None:
    await place.registry.orgs.create("other", OrgProfile("Other"), actor="x")
    await place.people.create("acme", NewPerson("ada", profile=ADA), by=ROOT)
    await place.people.create("other", NewPerson("ada", profile=ADA), by=ROOT)
    with pytest.raises(Conflict, match="Somebody else"):
        await place.people.create("acme", NewPerson("bob", profile=Profile(email="ada@example.com")), by=ROOT)
    with pytest.raises(NotFound):
        await place.people.get("acme", "bob", Reach("acme"))


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        (Profile(name="x" * 201), "name"),
        (Profile(name="a\nb"), "name"),
        (Profile(email="not an address"), "email"),
        (Profile(email="a@b"), "email"),
        (Profile(phone="0612345678"), "phone"),
    ],
)
async def test_a_profile_that_cannot_be_is_refused_by_member_and_not_repeated(
    place: Office, wrong: Profile, param: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        await place.people.create("acme", NewPerson("ada", profile=wrong), by=ROOT)
    assert refused.value.param == param
    assert str(getattr(wrong, param)) not in refused.value.message


async def test_an_id_must_not_be_an_address_and_is_made_up_if_none_is_given(place: Office) -> None:
    with pytest.raises(BadRequest, match="must not be an e-mail address"):
        await place.people.create("acme", NewPerson("ada@example.com"), by=ROOT)
    made = await place.people.create("acme", NewPerson(), by=ROOT)
    assert made.user_id.startswith("u-")


# ------------------------------------------------------------------ file and API


async def test_what_the_file_declares_can_be_read_but_not_changed_here(place: Office) -> None:
    grace = await place.people.get("acme", "grace", Reach("acme"))
    assert (grace.source, grace.memberships) == ("file", (Membership("research", Role.LEAD),))
    people, registry = place.people, place.registry
    refused: list[Any] = [
        people.create("acme", NewPerson("grace"), by=ROOT),
        people.set_state("acme", "grace", "suspended", by=ROOT),
        people.grant("acme", "grace", OWNER, by=ROOT),
        people.withdraw("acme", "grace", Membership("research", Role.LEAD), by=ROOT),
        registry.orgs.create("acme", OrgProfile("Acme"), actor="x"),
        registry.orgs.change("acme", {"name": "Other"}, actor="x"),
        registry.teams.create("acme", "research", TeamProfile("Research"), actor="x"),
        registry.teams.change("acme", "research", {"name": "Other"}, actor="x"),
        registry.keys.revoke("acme-ci", by=ROOT, reach=Reach("acme")),
    ]
    for change in refused:
        with pytest.raises(Conflict, match=r"declared in limits\.yaml"):
            await change
    assert await place.audited() == []


async def test_the_profile_of_somebody_in_the_file_is_kept_here(place: Office) -> None:
    await place.people.set_profile("acme", "grace", Profile(name="Grace Hopper"), by=ROOT)
    grace = await place.people.get("acme", "grace", Reach("acme"))
    assert (grace.source, grace.profile.name) == ("file", "Grace Hopper")


async def test_when_the_file_comes_to_declare_somebody_it_decides_and_the_profile_stays(
    place: Office,
) -> None:
    await place.people.create("acme", NewPerson("ada", profile=ADA, memberships=(OWNER,)), by=ROOT)
    place.declare({"orgs": [{"id": "acme", "users": [{"id": "ada", "role": "auditor"}]}]})
    ada = await place.people.get("acme", "ada", Reach("acme"))
    assert (ada.source, ada.standing.roles) == ("file", {Role.AUDITOR})
    assert ada.profile.name == "Ada Lovelace"
    place.declare(FILE)
    assert (await place.people.get("acme", "ada", Reach("acme"))).standing.roles == {Role.OWNER}


async def test_a_list_has_both_kinds_in_order_and_pages(place: Office) -> None:
    for user in ("ada", "zoe", "hal"):
        await place.person(user)
    seen, after = [], None
    while page := await place.people.page("acme", Reach("acme"), Wanted(), after, 2):
        seen += [(person.user_id, person.source) for person in page]
        after = page[-1].user_id
    assert seen == [("ada", "api"), ("grace", "file"), ("hal", "api"), ("zoe", "api")]


# ------------------------------------------------------------------ roles


async def test_the_last_owner_can_be_neither_removed_nor_suspended(place: Office) -> None:
    await place.person("ada", (None, Role.OWNER))
    for change in (
        place.people.withdraw("acme", "ada", OWNER, by=ROOT),
        place.people.set_state("acme", "ada", "suspended", by=ROOT),
    ):
        with pytest.raises(Conflict, match="last owner"):
            await change
    await place.person("bob", (None, Role.OWNER))
    await place.people.set_state("acme", "bob", "suspended", by=ROOT)
    with pytest.raises(Conflict, match="last owner"):
        await place.people.withdraw("acme", "ada", OWNER, by=ROOT)


async def test_an_owner_in_the_file_counts(place: Office) -> None:
    await place.person("ada", (None, Role.OWNER))
    place.declare({"orgs": [{"id": "acme", "users": [{"id": "root", "role": "owner"}]}]})
    await place.people.withdraw("acme", "ada", OWNER, by=ROOT)


async def test_of_two_owners_who_remove_each_other_at_once_one_stays(place: Office) -> None:
    for number in range(5):
        await place.person(f"a{number}", (None, Role.OWNER))
        await place.person(f"b{number}", (None, Role.OWNER))
    people = place.people
    removals = [
        people.withdraw("acme", f"{side}{number}", OWNER, by=owner(f"{other}{number}"))
        for number in range(5)
        for side, other in (("a", "b"), ("b", "a"))
    ]
    outcomes = await asyncio.gather(*removals, return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1
    left = await place.postgres.fetch_value("SELECT count(*) FROM memberships WHERE role = 'owner'")
    assert left == 1


@pytest.mark.parametrize("role", [Role.OWNER, Role.BILLING, Role.AUDITOR])
async def test_a_lead_gives_no_role_above_their_own(place: Office, role: Role) -> None:
    await place.person("bob", ("research", Role.MEMBER))
    with pytest.raises(NotAllowed):
        await place.people.grant("acme", "bob", Membership(None, role), by=lead_of("research"))


async def test_a_lead_manages_their_own_team_and_nobody_elses(place: Office) -> None:
    await place.registry.teams.create("acme", "sales", TeamProfile("Sales"), actor="x")
    lead = lead_of("research")
    people = place.people
    made = await people.create(
        "acme", NewPerson("bob", memberships=(Membership("research", Role.MEMBER),)), by=lead
    )
    await people.set_profile("acme", made.user_id, Profile(name="Bob"), by=lead)
    await people.grant("acme", "bob", Membership("research", Role.LEAD), by=lead)
    await people.withdraw("acme", "bob", Membership("research", Role.LEAD), by=lead)
    with pytest.raises(NotAllowed):
        await people.grant("acme", "bob", Membership("sales", Role.MEMBER), by=lead)
    with pytest.raises(NotAllowed):
        await people.create(
            "acme", NewPerson("eve", memberships=(Membership("sales", Role.MEMBER),)), by=lead
        )
    with pytest.raises(BadRequest, match="which of your teams"):
        await people.create("acme", NewPerson("eve"), by=lead)


async def test_a_lead_cannot_touch_an_owner_who_is_in_the_team(place: Office) -> None:
    await place.person("ada", (None, Role.OWNER), ("research", Role.MEMBER))
    await place.person("zoe", (None, Role.OWNER))
    lead = lead_of("research")
    for change in (
        place.people.set_profile("acme", "ada", Profile(email="evil@example.com"), by=lead),
        place.people.set_state("acme", "ada", "suspended", by=lead),
    ):
        with pytest.raises(NotFound):
            await change


async def test_a_lead_takes_in_nobody_of_another_team(place: Office) -> None:
    await place.registry.teams.create("acme", "sales", TeamProfile("Sales"), actor="x")
    await place.person("sam", ("sales", Role.MEMBER))
    await place.person("new")
    joining = Membership("research", Role.MEMBER)
    with pytest.raises(NotFound):
        await place.people.grant("acme", "sam", joining, by=lead_of("research"))
    await place.people.grant("acme", "new", joining, by=lead_of("research"))


@pytest.mark.parametrize(
    ("membership", "told"),
    [(Membership(None, Role.LEAD), "say which"), (Membership("research", Role.OWNER), "whole organisation")],
)
async def test_a_role_is_held_where_it_belongs(place: Office, membership: Membership, told: str) -> None:
    await place.person("bob")
    with pytest.raises(BadRequest, match=told):
        await place.people.grant("acme", "bob", membership, by=ROOT)


async def test_a_team_that_does_not_exist_has_no_members(place: Office) -> None:
    await place.person("bob")
    with pytest.raises(NotFound, match="no team 'ghost'"):
        await place.people.grant("acme", "bob", Membership("ghost", Role.MEMBER), by=ROOT)


async def test_a_lead_takes_no_id_that_has_keys_or_usage_already(place: Office) -> None:
    await place.registry.issuer.create(NewKey("acme", "by command", user_id="bob"), actor="cli:root")
    used = merge(entry("eve's", admission=replace(ADMISSION, user_id="eve")))
    await UsageTable(place.postgres).write([used])
    joining = (Membership("research", Role.MEMBER),)
    for user in ("bob", "eve"):
        with pytest.raises(Conflict, match="ask an owner"):
            await place.people.create("acme", NewPerson(user, memberships=joining), by=lead_of("research"))
        await place.people.create("acme", NewPerson(user, memberships=joining), by=owner("olga"))
    await place.people.create("acme", NewPerson("new", memberships=joining), by=lead_of("research"))


# ------------------------------------------------------------------ what gateways make of it


async def test_a_role_taken_away_is_gone_on_two_gateways_within_a_second(place: Office) -> None:
    await place.person("ada", (None, Role.OWNER))
    await place.person("zoe", (None, Role.OWNER))
    key = (
        await place.registry.issuer.create(NewKey("acme", "x", user_id="ada", access="role"), actor="x")
    ).key
    gateways = [place.gateway() for _ in range(2)]
    for keyring, principals in gateways:
        await keyring.start()
        assert (await principals.principal_of(key)).roles == {Role.OWNER}
    await place.people.withdraw("acme", "ada", OWNER, by=ROOT)
    async with asyncio.timeout(1):
        for _, principals in gateways:
            await _until_member(principals, key)
    for keyring, _ in gateways:
        await keyring.stop()


async def test_who_leaves_a_team_at_that_moment_is_given_no_key_that_counts_for_it(place: Office) -> None:
    registry = place.registry
    await registry.teams.create("acme", "blue", TeamProfile("Blue"), actor="x")
    await place.person("ada", ("blue", Role.MEMBER))
    ada = Principal("user:acme/ada", frozenset({Role.MEMBER}), "acme", "ada")
    new = NewKey("acme", "late", user_id="ada")
    reach = ada.reach(Action.SET_KEYS, None)
    async with registry.people_table.changing("acme"):
        leaving = asyncio.create_task(
            place.people.withdraw("acme", "ada", Membership("blue", Role.MEMBER), by=ROOT)
        )
        await blocked(place.postgres, 1)
        making = asyncio.create_task(registry.keys.create(new, by=ada, reach=reach, now=datetime.now(UTC)))
        await blocked(place.postgres, 2)
    await leaving
    with pytest.raises(Conflict, match="has just left the team blue"):
        await making
    assert (
        await registry.keys.create(new, by=ada, reach=reach, now=datetime.now(UTC))
    ).listed.record.team_id is None


async def test_a_role_that_was_taken_away_while_redis_was_down_is_gone_when_it_is_taken_away_again(
    private_redis: TestRedis, postgres_dsn: str
) -> None:
    async with office(private_redis.url, postgres_dsn) as place:
        await place.person("ada", (None, Role.OWNER))
        await place.person("zoe", (None, Role.OWNER))
        new = NewKey("acme", "x", user_id="ada", access="role")
        key = (await place.registry.issuer.create(new, actor="x")).key
        keyring, principals = place.gateway()
        await keyring.refresh()
        assert (await principals.principal_of(key)).roles == {Role.OWNER}
        await asyncio.to_thread(private_redis.stop)
        with pytest.raises(StoreUnavailable):
            await place.people.withdraw("acme", "ada", OWNER, by=ROOT)
        await asyncio.to_thread(private_redis.start)
        # This gateway did not notice: it did not ask meanwhile.
        await keyring.refresh()
        assert (await principals.principal_of(key)).roles == {Role.OWNER}
        with pytest.raises(NotFound, match="does not have this role"):
            await place.people.withdraw("acme", "ada", OWNER, by=ROOT)
        await keyring.refresh()
        assert (await principals.principal_of(key)).roles == {Role.MEMBER}


async def test_what_a_gateway_changed_before_it_died_is_seen_by_others_within_a_minute(place: Office) -> None:
    await place.person("ada", (None, Role.OWNER))
    new = NewKey("acme", "x", user_id="ada", access="role")
    key = (await place.registry.issuer.create(new, actor="x")).key
    clock = [0.0]
    _, principals = place.gateway(lambda: clock[0])
    assert (await principals.principal_of(key)).roles == {Role.OWNER}
    await place.postgres.execute("DELETE FROM memberships")
    clock[0] += AGE_S_MAX - 1
    assert (await principals.principal_of(key)).roles == {Role.OWNER}
    clock[0] += 1
    assert (await principals.principal_of(key)).roles == {Role.MEMBER}
    # Suspended by another one that died: the shared record goes within five minutes.
    await place.postgres.execute("UPDATE people SET state = 'suspended'")
    ttl = await place.redis.command("TTL", f"tg:key:{digest_of(key)}")
    assert 0 < ttl <= RECORD_TTL_S == 300
    await place.redis.command("DEL", f"tg:key:{digest_of(key)}")
    clock[0] += AGE_S_MAX
    with pytest.raises(RevokedKey):
        await principals.principal_of(key)


async def test_roles_that_are_known_stay_good_while_postgres_does_not_answer(place: Office) -> None:
    await place.person("ada", (None, Role.OWNER))
    new = NewKey("acme", "x", user_id="ada", access="role")
    key = (await place.registry.issuer.create(new, actor="x")).key
    clock = [0.0]
    _, principals = place.gateway(lambda: clock[0])
    await principals.principal_of(key)
    await place.postgres.stop()
    clock[0] += AGE_S_MAX
    assert (await principals.principal_of(key)).roles == {Role.OWNER}
    _, others = place.gateway()
    with pytest.raises(StoreUnavailable):
        await others.principal_of(key)


async def test_a_key_for_calls_has_no_role_whatever_its_user_has(place: Office) -> None:
    await place.person("ada", (None, Role.OWNER))
    key = (await place.registry.issuer.create(NewKey("acme", "x", user_id="ada"), actor="x")).key
    _, principals = place.gateway()
    principal = await principals.principal_of(key)
    assert (principal.roles, principal.actor) == ({Role.CALLER}, "user:acme/ada")


async def test_a_suspended_person_has_no_working_key_on_two_gateways_within_a_second_until_resumed(
    place: Office,
) -> None:
    await place.person("ada")
    issued = await place.registry.issuer.create(NewKey("acme", "x", user_id="ada"), actor="x")
    gateways = [place.gateway() for _ in range(2)]
    for keyring, _ in gateways:
        await keyring.start()
        await keyring.lookup(issued.key)
    await place.people.set_state("acme", "ada", "suspended", by=ROOT)
    for keyring, _ in gateways:
        async with asyncio.timeout(1):
            await _until_refused(keyring, issued.key)
    assert await place.redis.command("SISMEMBER", "tg:{p0}:x", f"acme:{issued.listed.record.key_id}") == 1
    await place.people.set_state("acme", "ada", "active", by=ROOT)
    await gateways[0][0].refresh()
    await gateways[0][0].lookup(issued.key)
    assert await place.redis.command("SISMEMBER", "tg:{p0}:x", f"acme:{issued.listed.record.key_id}") == 0
    for keyring, _ in gateways:
        await keyring.stop()


async def _until_member(principals: KeyPrincipals, key: str) -> None:
    while True:
        if (await principals.principal_of(key)).roles == {Role.MEMBER}:
            return
        await asyncio.sleep(0)


async def _until_refused(keyring: Keyring, key: str) -> None:
    while True:
        try:
            await keyring.lookup(key)
        except RevokedKey:
            return
        await asyncio.sleep(0)
