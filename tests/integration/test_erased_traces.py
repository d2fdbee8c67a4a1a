"""What others were told of somebody who was erased, and did for them, names the random id and is whole otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import orjson
import pytest

from gateway.api.postgres_answers import Answer, Answers, Asked
from gateway.budgets.model import Scope, Window
from gateway.identity.erasure import Erasure
from gateway.identity.roles import Principal, Role
from tests.support.alerting import PARTITIONS, AlertingGateway, town
from tests.support.people import ROOT, Office, office
from tests.unit.budgets.making import ask_for, directory_of, limit_on

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str) -> AsyncIterator[Office]:
    async with office(redis_url, postgres_dsn, partitions=PARTITIONS) as made:
        yield made


async def erased(place: Office, user: str) -> Erasure:
    erasure = await place.registry.erasures.request("acme", user, by=ROOT, now=NOW)
    return await place.registry.erasures.proceed(erasure, NOW)


async def spent_all(gateway: AlertingGateway, user: str) -> None:
    ask = ask_for(400, subject=ask_for().subject._replace(user=user))
    await gateway.holds.settle(await gateway.holds.hold(ask), ask, 400, b"{}")
    while await gateway.alerts.reader.turn():
        pass


@pytest.mark.parametrize("user", ["day", "amount", "limit", "a"])
async def test_news_of_somebody_whose_id_is_a_word_of_the_news_stay_readable_and_are_still_sent(
    place: Office, redis_url: str, postgres_dsn: str, user: str
) -> None:
    async with town(redis_url, postgres_dsn) as around:
        await around.person("olga", "owner", email="olga@acme.test")
        await around.person(user, "auditor")
        limits = [limit_on(Scope.USER, user, 400, Window.DAY), limit_on(Scope.ORG, "acme", 400, Window.DAY)]
        gateway = await around.gateway(directory_of(limits))
        await spent_all(gateway, user)
        others = "SELECT array_agg(news_key || data::text) FROM alerts WHERE user_id IS NULL"
        before = await place.postgres.fetch_value(others)
        erasure = await erased(place, user)
        assert erasure.completed_at == NOW
        assert await place.postgres.fetch_value(others) == before
        while await gateway.courier("email").turn():
            pass
        titles = around.mail.subjects("olga@acme.test")
    assert sum(f"daily limit of user {erasure.erased_id} reached" in title for title in titles) == 1
    assert sum("daily limit of org acme reached" in title for title in titles) == 1
    rows = await place.postgres.fetch(
        "SELECT news_key, data FROM alerts WHERE user_id = $1", erasure.erased_id
    )
    assert len(rows) == 3
    for row in rows:
        limit = orjson.loads(row["data"])["limit"]
        assert (limit["id"], limit["scope"], limit["window"]) == (erasure.erased_id, "user", "day")
        assert limit["amount"]["microcredits"] == 400
        assert f"|{user}|" not in row["news_key"]
    told_in_order = "SELECT count(*) FROM deliveries WHERE subject LIKE 'limit|acme|user|%'"
    assert await place.postgres.fetch_value(told_in_order) == 0


async def test_what_others_were_answered_about_somebodys_top_up_is_not_remembered(place: Office) -> None:
    await place.person("ada")
    await place.person("adam")
    answers = Answers(place.postgres)
    asked = {user: Asked("admin", "confirm_top_up", user, b"") for user in ("ada", "adam")}
    for user, one in asked.items():
        told = orjson.dumps({"id": "top-up", "requested_by": f"user:acme/{user}"}).decode()
        await answers.keep(one, Answer(200, told))
    await erased(place, "ada")
    assert await answers.find(asked["ada"]) is None
    assert await answers.find(asked["adam"]) is not None


async def test_whom_somebody_erased_before_does_not_say_who_it_was(place: Office) -> None:
    await place.person("ada", (None, Role.OWNER))
    await place.person("bob")
    ada = Principal("user:acme/ada", frozenset({Role.OWNER}), "acme", "ada")
    await place.registry.erasures.request("acme", "bob", by=ada, now=NOW)
    await place.person("olga", (None, Role.OWNER))
    erasure = await erased(place, "ada")
    by = await place.postgres.fetch_value("SELECT requested_by FROM erasures WHERE user_id = 'bob'")
    assert by == f"user:acme/{erasure.erased_id}"
