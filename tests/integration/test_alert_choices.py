"""What people choose for themselves, and how little it may tell them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest

from gateway.alerts.postgres_choices import AlertChoices, Subscription
from gateway.budgets.model import Scope, Window
from gateway.identity.roles import ADMIN
from tests.integration.test_alerts import deliver_all, record_all
from tests.support.alerting import Clock, Town, town
from tests.support.people import Office, office
from tests.unit.budgets.making import directory_of, limit_on


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str) -> AsyncIterator[Town]:
    async with town(redis_url, postgres_dsn) as found:
        yield found


async def test_what_people_choose_for_themselves_tells_them_no_more_than_they_may_see(place: Town) -> None:
    for user, role, team in (
        ("ada", "member", "research"),
        ("bob", "member", "research"),
        ("aud", "auditor", ""),
    ):
        await place.person(user, role, team=team, email=f"{user}@acme.test")
    limits = [limit_on(Scope.USER, "ada", 100, Window.MONTH), limit_on(Scope.ORG, "acme", 1000, Window.MONTH)]
    gateway = await place.gateway(directory_of(limits))
    for user in ("ada", "bob", "aud"):
        choices = gateway.alerts.choices
        await choices.subscribe("acme", Subscription(user, "*", email=True, sms=False, own=True), actor=user)
        await choices.add_address("acme", "email", f"{user}@home.test", None, actor=user, user=user)
    await gateway.spend(80)
    await record_all(gateway)
    await deliver_all(gateway)
    assert sorted(place.mail.recipients) == [
        "ada@acme.test",
        "ada@home.test",
        "aud@acme.test",
        "aud@home.test",
    ]
    await gateway.holds.set_directory(directory_of(limits[1:], version=2))
    await place.postgres.execute("UPDATE people SET state = 'suspended' WHERE user_id = 'ada'")
    place.mail.recipients.clear()
    await gateway.spend(700)
    await record_all(gateway)
    await deliver_all(gateway)
    assert sorted(place.mail.recipients) == ["aud@acme.test", "aud@home.test"]


@pytest.fixture
async def staff(redis_url: str, postgres_dsn: str) -> AsyncIterator[Office]:
    async with office(redis_url, postgres_dsn) as made:
        yield made


async def test_somebodys_own_addresses_are_in_their_export_and_go_with_them(staff: Office) -> None:
    ada, registry, clock = await staff.person("ada"), staff.registry, Clock()
    choices = AlertChoices(staff.postgres, registry.vault, clock, registry.publishing)
    await choices.add_address("acme", "email", "ada@home.test", ("low_balance",), actor="x", user="ada")
    await choices.add_address("acme", "email", "finance@acme.test", None, actor="x")
    pieces = [piece async for piece in registry.subject_export.document(ada, clock.time)]
    (address,) = orjson.loads(b"".join(pieces))["addresses"]
    assert (address["address"], address["channel"], address["kinds"]) == (
        "ada@home.test",
        "email",
        ["low_balance"],
    )
    erasure = await registry.erasures.request("acme", "ada", by=ADMIN, now=clock.time)
    await registry.erasures.proceed(erasure, clock.time)
    assert await choices.addresses("acme", "ada") == []
    assert [one.address for one in await choices.addresses("acme")] == ["finance@acme.test"]


async def test_an_address_that_was_stored_before_it_would_be_refused_reaches_nobody(place: Town) -> None:
    await place.person("olga", "owner", email="root,olga@acme.test")
    gateway = await place.gateway(directory_of([limit_on(Scope.ORG, "acme", 100)]))
    await gateway.spend(80)
    await record_all(gateway)
    await deliver_all(gateway)
    assert await place.postgres.fetch_value("SELECT state FROM deliveries") == "failed"
    assert place.mail.recipients == []
