"""From a sum that comes to a level to the people who are told: once, in order, whoever dies or is down on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import orjson
import pytest
from standardwebhooks import Webhook

from gateway.alerts.kind import AlertKind
from gateway.alerts.org_settings import OrgAlertChoices
from gateway.alerts.postgres_choices import Subscription
from gateway.budgets.directory import Directory
from gateway.budgets.model import Grace, Limit, Scope, Window
from gateway.errors import BudgetExceeded, NotFound
from gateway.identity.roles import Reach
from tests.support.alerting import AlertingGateway, Town, town
from tests.unit.budgets.making import ask_for, directory_of, key_limit, limit_on

ALL = Reach("acme")
LEVELS = ["75 %", "90 %", "100 %"]


@pytest.fixture
async def place(redis_url: str, postgres_dsn: str) -> AsyncIterator[Town]:
    async with town(redis_url, postgres_dsn) as found:
        yield found


async def record_all(gateway: AlertingGateway) -> None:
    while await gateway.alerts.reader.turn():
        pass


async def deliver_all(gateway: AlertingGateway) -> None:
    for courier in gateway.alerts.couriers:
        while await courier.turn():
            pass


async def told_by_webhook(place: Town, path: str = "/hook") -> list[int]:
    return [one.json["data"]["level"] for one in place.http.at(path)]


async def killed_somewhere(gateway: AlertingGateway, rng: random.Random) -> None:
    """Let the gateway record, and end it at one of its awaits, as a crash would."""
    task = asyncio.create_task(gateway.alerts.reader.turn())
    for _ in range(rng.randrange(40)):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# ------------------------------------------------------------------ the whole way


@pytest.mark.parametrize("seed", range(3))
async def test_notification_types_tell_ten_thousand_settlements_on_three_gateways_as_three_messages_each_in_order(
    place: Town, seed: int
) -> None:
    """Also with mail down for an hour, and gateways killed while they record."""
    rng = random.Random(seed)
    await place.person("olga", "owner", email="olga@acme.test", phone="+33600000001")
    directory = directory_of([limit_on(Scope.ORG, "acme", 10_000, Window.DAY)])
    gateways = [await place.gateway(directory) for _ in range(3)]
    choices = gateways[0].alerts.choices
    await choices.set("acme", OrgAlertChoices(sms=True), actor="test")
    await gateways[0].alerts.webhooks.add("acme", f"{place.http.url}/hook", "", None, actor="test")
    await place.mail.stop()
    await asyncio.gather(*(gateway.spend(0) for gateway in gateways))  # the limit is new: its counter begins
    storm = asyncio.gather(*(gateways[number % 3].spend(1) for number in range(10_000)))
    while not storm.done():
        await killed_somewhere(rng.choice(gateways), rng)
    await storm
    for _ in range(10):
        await killed_somewhere(rng.choice(gateways), rng)
    await asyncio.gather(*(record_all(gateway) for gateway in gateways))

    for _ in range(60):
        await asyncio.gather(*(deliver_all(gateway) for gateway in gateways))
        place.clock.forward(minutes=1)
    assert place.mail.messages == []
    sms = [one.form["Body"] for one in place.http.at("/2010-04-01/Accounts/AC1/Messages.json")]
    assert await told_by_webhook(place) == [75, 90, 100]
    assert [text.split(" of ")[0] for text in sms] == LEVELS

    await place.mail.start()
    for _ in range(6):
        place.clock.forward(hours=1)
        await asyncio.gather(*(deliver_all(gateway) for gateway in gateways))
    assert [text.split(" of ")[0] for text in place.mail.subjects("olga@acme.test")] == LEVELS
    alerts = await gateways[0].alerts.book.page("acme", ALL, "olga")
    assert [alert.data["level"] for alert in alerts] == [100, 90, 75]


async def test_running_gateways_tell_within_a_moment(place: Town) -> None:
    gateways = [await place.gateway(directory_of([key_limit(100)])) for _ in range(3)]
    await gateways[0].alerts.webhooks.add("acme", f"{place.http.url}/hook", "", None, actor="test")
    for gateway in gateways:
        await gateway.alerts.start()
        await gateway.alerts.start()
    for amount in (80, 12, 8):
        await gateways[1].spend(amount)
    async with asyncio.timeout(20):
        await place.http.have(3)
    for gateway in gateways:
        await gateway.alerts.stop()
        await gateway.alerts.stop()
    assert await told_by_webhook(place) == [75, 90, 100]


async def test_one_jump_sends_its_highest_level_and_records_all(place: Town) -> None:
    gateway = await place.gateway(directory_of([key_limit(100)]))
    await gateway.alerts.webhooks.add("acme", f"{place.http.url}/hook", "", None, actor="test")
    await gateway.spend(95)
    await record_all(gateway)
    await deliver_all(gateway)
    (message,) = place.http.received
    assert (message.json["data"]["level"], message.json["data"]["levels"]) == (90, [75, 90])
    alerts = await gateway.alerts.book.page("acme", ALL, "olga")
    assert sorted((alert.data["level"], alert.sent) for alert in alerts) == [(75, False), (90, True)]


async def test_a_crossing_that_is_announced_again_is_not_told_again(place: Town) -> None:
    gateway = await place.gateway(directory_of([key_limit(100)]))
    await gateway.alerts.webhooks.add("acme", f"{place.http.url}/hook", "", None, actor="test")
    await gateway.spend(80)
    keys = gateway.holds.keys("acme")
    ((_, flat),) = await gateway.redis.command("XRANGE", keys.alerts, "-", "+")
    for _ in range(2):
        await gateway.redis.command("XADD", keys.alerts, "*", *flat)
    await record_all(gateway)
    await deliver_all(gateway)
    assert len(place.http.received) == 1


async def test_a_crossing_that_postgres_refuses_holds_up_no_other(place: Town) -> None:
    gateway = await place.gateway(directory_of([key_limit(100)]))
    await gateway.spend(80)
    keys = gateway.holds.keys("acme")
    ((entry_id, flat),) = await gateway.redis.command("XRANGE", keys.alerts, "-", "+")
    refused = [value.replace(b"|ada-laptop|", b"|ada%00laptop|") for value in flat]
    assert refused != flat
    await gateway.redis.command("XDEL", keys.alerts, entry_id)
    for entry in (refused, flat, refused):
        await gateway.redis.command("XADD", keys.alerts, "*", *entry)
    await record_all(gateway)
    assert len(await gateway.alerts.book.page("acme", ALL, "olga")) == 1
    assert await gateway.redis.command("XLEN", keys.alerts) == 0


async def test_while_postgres_is_down_crossings_wait(place: Town) -> None:
    gateway = await place.gateway(directory_of([key_limit(100)]))
    await gateway.spend(80)
    await gateway.postgres.stop()
    with pytest.raises(Exception, match="not started"):
        await gateway.alerts.reader.turn()
    await gateway.postgres.start()
    await record_all(gateway)
    assert len(await gateway.alerts.book.page("acme", ALL, "olga")) == 1


# ------------------------------------------------------------------ what is said


async def test_a_message_says_limit_sums_and_reset_in_the_zone_of_the_organisation(place: Town) -> None:
    await place.person("olga", "owner", email="olga@acme.test")
    gateway = await place.gateway(directory_of([limit_on(Scope.TEAM, "research", 2_000_000, Window.DAY)]))
    await gateway.spend(1_900_000)
    await record_all(gateway)
    await deliver_all(gateway)
    (mail,) = place.mail.messages
    plain, html = (part.get_payload(decode=True).decode() for part in mail.get_payload())  # type: ignore[union-attr]
    assert mail["Subject"] == "90 % of the daily limit of team research reached"
    assert "1.9 of 2 credits are spent." in plain
    assert "This passed 75 % at once." in plain
    assert "00:00 (Europe/Paris)" in plain
    assert "<p>1.9 of 2 credits are spent.</p>" in html
    assert mail["From"] == "Tollgate <bell@tollgate.test>"
    assert mail["Message-ID"].endswith("@tollgate.test>")


async def test_grace_and_the_first_refusal_are_told(place: Town) -> None:
    limit = limit_on(Scope.KEY, "ada-laptop", 1000, Window.DAY, grace=Grace(percent=10, minutes=60))
    gateway = await place.gateway(directory_of([limit]))
    await gateway.spend(980)
    await gateway.spend(110)
    with pytest.raises(BudgetExceeded):
        await gateway.holds.hold(ask_for(500))
    await gateway.holds.close()
    await record_all(gateway)
    alerts = await gateway.alerts.book.page("acme", ALL, "olga")
    assert {alert.kind for alert in alerts} == {"budget_threshold", "grace_started", "hard_stop"}
    grace = next(alert for alert in alerts if alert.kind == "grace_started")
    assert grace.data["grace_until"] > grace.data["window_start"]


# ------------------------------------------------------------------ who is told


async def test_the_news_of_a_limit_reach_those_whom_it_concerns(place: Town) -> None:
    for user, role, team in (
        ("olga", "owner", ""),
        ("bill", "billing", ""),
        ("lena", "lead", "research"),
        ("else", "lead", "sales"),
        ("ada", "member", "research"),
        ("bob", "member", "research"),
        ("aud", "auditor", ""),
    ):
        await place.person(user, role, team=team, email=f"{user}@acme.test")
    limits = [
        limit_on(Scope.ORG, "acme", 1000, Window.MONTH),
        limit_on(Scope.TEAM, "research", 800, Window.MONTH),
        limit_on(Scope.USER, "ada", 400, Window.MONTH),
        key_limit(200, Window.MONTH),
    ]
    gateway = await place.gateway(directory_of(limits))

    async def told_by(amount: int) -> set[str]:
        before = len(place.mail.recipients)
        await gateway.spend(amount)
        await record_all(gateway)
        await deliver_all(gateway)
        return {address.partition("@")[0] for address in place.mail.recipients[before:]}

    assert await told_by(150) == {"olga", "bill", "lena", "ada"}  # 75 % of the key's: ada's, of research
    await gateway.holds.set_directory(directory_of(limits[:3], version=2))
    assert await told_by(150) == {"olga", "bill", "lena", "ada"}  # of the user's
    await gateway.holds.set_directory(directory_of(limits[:2], version=3))
    assert await told_by(300) == {"olga", "bill", "lena"}  # of the team's
    await gateway.holds.set_directory(directory_of(limits[:1], version=4))
    assert await told_by(150) == {"olga", "bill"}  # of the org's


async def test_people_choose_what_reaches_them_and_suspended_ones_are_told_nothing(place: Town) -> None:
    for user, role in (("olga", "owner"), ("omar", "owner"), ("gone", "owner"), ("aud", "auditor")):
        await place.person(user, role, email=f"{user}@acme.test", phone="+33600000001")
    await place.postgres.execute("UPDATE people SET state = 'suspended' WHERE user_id = 'gone'")
    gateway = await place.gateway(directory_of([limit_on(Scope.ORG, "acme", 100)]))
    choices = gateway.alerts.choices
    everything, budgets = "*", AlertKind.BUDGET_THRESHOLD.value
    for wanted in (
        Subscription("olga", everything, email=False, sms=True),
        Subscription("omar", everything, email=False, sms=False),
        Subscription("omar", budgets, email=True, sms=False),
        Subscription("aud", budgets, email=True, sms=False),
    ):
        await choices.subscribe("acme", wanted, actor="test")
    await choices.add_address("acme", "email", "finance@acme.test", None, actor="test")
    await choices.add_address("acme", "email", "other@acme.test", ("low_balance",), actor="test")
    await gateway.spend(80)
    await record_all(gateway)
    await deliver_all(gateway)
    assert sorted(place.mail.recipients) == ["aud@acme.test", "finance@acme.test", "omar@acme.test"]
    assert len(place.http.at("/2010-04-01/Accounts/AC1/Messages.json")) == 1
    stored = await place.postgres.fetch("SELECT target FROM deliveries")
    assert not any("@" in row["target"] for row in stored)


# ------------------------------------------------------------------ the inbox


async def test_an_alert_is_read_by_each_reader_for_themselves_and_within_reach(place: Town) -> None:
    limits = [limit_on(Scope.TEAM, "research", 100), limit_on(Scope.ORG, "acme", 100)]
    gateway = await place.gateway(directory_of(limits))
    await gateway.spend(80)
    await record_all(gateway)
    book = gateway.alerts.book
    research, sales = Reach("acme", teams=frozenset({"research"})), Reach("acme", teams=frozenset({"sales"}))
    assert [len(await book.page("acme", reach, "olga")) for reach in (ALL, research, sales)] == [2, 1, 0]
    (of_team,) = await book.page("acme", research, "lena")
    assert await book.unread("acme", ALL, "olga") == 2
    for _ in range(2):
        await book.read("acme", ALL, "olga", of_team.alert_id)
    assert await book.unread("acme", ALL, "olga") == 1
    assert await book.unread("acme", research, "lena") == 1
    with pytest.raises(NotFound):
        await book.read("acme", sales, "else", of_team.alert_id)
    with pytest.raises(NotFound):
        await book.read("other", Reach("other"), "eve", of_team.alert_id)
    newest = (await book.page("acme", ALL, "olga", limit=1))[0]
    rest = await book.page("acme", ALL, "olga", after=(newest.occurred_at, newest.alert_id))
    assert newest.alert_id not in {alert.alert_id for alert in rest}
    assert len(rest) == 1


async def test_an_alert_is_published_to_those_who_follow_live(place: Town) -> None:
    gateway = await place.gateway(directory_of([limit_on(Scope.TEAM, "research", 100)]))
    async with gateway.redis.client() as client, client.pubsub() as channel:
        await channel.subscribe("tg:live:alerts")
        assert (await channel.get_message(timeout=5) or {})["type"] == "subscribe"
        await gateway.spend(80)
        await record_all(gateway)
        message = (await channel.get_message(timeout=5) or {})["data"]
    assert b'"org":"acme"' in message
    assert b'"team":"research"' in message
    assert b'"kind":"budget_threshold"' in message


# ------------------------------------------------------------------ webhooks


async def test_a_message_is_signed_by_every_secret_that_is_in_use(place: Town) -> None:
    gateway = await place.gateway(Directory({}))
    webhooks = gateway.alerts.webhooks
    # The verifier goes by the real clock.
    place.clock.time = place.clock.time.now(place.clock.time.tzinfo)
    endpoint, first = await webhooks.add("acme", f"{place.http.url}/hook", "", None, actor="test")
    second, _ = await webhooks.rotate("acme", endpoint.endpoint_id, actor="test")
    await webhooks.ping("acme", endpoint.endpoint_id, actor="user:acme/olga")
    await deliver_all(gateway)
    (message,) = place.http.received
    headers = {name.lower(): value for name, value in message.headers.items()}
    for secret in (first, second):
        assert Webhook(secret).verify(message.body, headers)["type"] == "test"
    assert len(headers["webhook-signature"].split(" ")) == 2
    stored = await place.postgres.fetch_value("SELECT string_agg(secret_sealed, ' ') FROM webhook_secrets")
    assert first.removeprefix("whsec_") not in stored
    place.clock.forward(hours=25)
    await webhooks.ping("acme", endpoint.endpoint_id, actor="user:acme/olga")
    await deliver_all(gateway)
    assert len(place.http.received[1].headers["webhook-signature"].split(" ")) == 1


async def test_a_failed_message_is_tried_ten_times_under_one_id_over_three_days(place: Town) -> None:
    gateway = await place.gateway(Directory({}))
    endpoint, _ = await gateway.alerts.webhooks.add("acme", f"{place.http.url}/hook", "", None, actor="test")
    delivery_id = await gateway.alerts.webhooks.ping("acme", endpoint.endpoint_id, actor="user:acme/olga")
    place.http.status = 500
    began = place.clock.time
    for _ in range(12 * 90):
        await gateway.courier("webhook").turn()
        place.clock.forward(minutes=5)
    attempts = await gateway.alerts.deliveries.attempts("acme", endpoint.target, delivery_id)
    assert [(one.outcome, one.status) for one in attempts] == [("failed", 500)] * 10
    assert {one.headers["webhook-id"] for one in place.http.received} == {
        place.http.received[0].headers["webhook-id"]
    }
    waits = [(one.at - began).total_seconds() for one in attempts]
    sums = [0, 5, 305, 2105, 9305, 27305, 63305, 113705, 185705, 272105]
    # Each wait is up to a tenth longer, and the test looks every five minutes.
    assert all(least <= wait for least, wait in zip(sums, waits, strict=True))
    late = [wait - least * 1.1 for least, wait in zip(sums, waits, strict=True)]
    assert all(seconds <= 300 * (number + 1) for number, seconds in enumerate(late))
    (row,) = await gateway.alerts.deliveries.page(
        "acme", target=endpoint.target, state=None, before=None, limit=9
    )
    assert row.state == "failed"


@pytest.mark.parametrize(
    ("status", "state"), [(204, "delivered"), (302, "pending"), (404, "pending"), (410, "failed")]
)
async def test_what_a_receiver_answers_decides(place: Town, status: int, state: str) -> None:
    gateway = await place.gateway(Directory({}))
    webhooks = gateway.alerts.webhooks
    endpoint, _ = await webhooks.add("acme", f"{place.http.url}/hook", "", None, actor="test")
    delivery_id = await webhooks.ping("acme", endpoint.endpoint_id, actor="user:acme/olga")
    await webhooks.ping("acme", endpoint.endpoint_id, actor="user:acme/olga")
    place.http.statuses["/hook"] = [status]
    place.http.reply_headers = {"location": f"{place.http.url}/elsewhere"}
    await gateway.courier("webhook").turn()
    rows = await gateway.alerts.deliveries.page("acme", target=None, state=None, before=None, limit=9)
    assert next(row.state for row in rows if row.delivery_id == delivery_id) == state
    assert place.http.at("/elsewhere") == []
    found = await webhooks.get("acme", endpoint.endpoint_id)
    assert found.disabled_reason == ("its receiver answered 410 Gone" if status == 410 else None)
    if status == 410:
        assert {row.state for row in rows} == {"failed", "cancelled"}


async def test_a_receiver_may_ask_for_more_time(place: Town) -> None:
    gateway = await place.gateway(Directory({}))
    endpoint, _ = await gateway.alerts.webhooks.add("acme", f"{place.http.url}/hook", "", None, actor="test")
    await gateway.alerts.webhooks.ping("acme", endpoint.endpoint_id, actor="user:acme/olga")
    place.http.statuses["/hook"] = [503]
    place.http.reply_headers = {"retry-after": "1200"}
    await gateway.courier("webhook").turn()
    place.clock.forward(seconds=1199)
    assert await gateway.courier("webhook").turn() == 0
    place.clock.forward(seconds=1)
    assert await gateway.courier("webhook").turn() == 1


async def test_a_dead_target_holds_up_neither_other_targets_nor_the_order_of_its_own(place: Town) -> None:
    gateway = await place.gateway(directory_of([key_limit(100)]))
    for path in ("/dead", "/alive"):
        await gateway.alerts.webhooks.add("acme", f"{place.http.url}{path}", "", None, actor="test")
    place.http.statuses["/dead"] = [500]
    for amount in (80, 12, 8):
        await gateway.spend(amount)
    await record_all(gateway)
    await deliver_all(gateway)
    assert await told_by_webhook(place, "/alive") == [75, 90, 100]
    assert await told_by_webhook(place, "/dead") == [75]
    place.clock.forward(seconds=6)
    await deliver_all(gateway)
    assert await told_by_webhook(place, "/dead") == [75, 75, 90, 100]


async def test_a_message_whose_gateway_died_is_sent_by_another_when_its_lease_ends(place: Town) -> None:
    one, other = [await place.gateway(Directory({})) for _ in range(2)]
    endpoint, _ = await one.alerts.webhooks.add("acme", f"{place.http.url}/hang", "", None, actor="test")
    await one.alerts.webhooks.ping("acme", endpoint.endpoint_id, actor="user:acme/olga")
    place.http.hanging.add("/hang")
    task = asyncio.create_task(one.courier("webhook").turn())
    async with asyncio.timeout(10):
        await place.http.have(1)
    assert await other.courier("webhook").turn() == 0
    place.http.hanging.clear()
    place.clock.forward(minutes=2)
    assert await other.courier("webhook").turn() == 1
    rows = await other.alerts.deliveries.page("acme", target=None, state=None, before=None, limit=9)
    assert [row.state for row in rows] == ["delivered"]
    await asyncio.gather(task)
    attempts = await other.alerts.deliveries.attempts("acme", endpoint.target, rows[0].delivery_id)
    assert len(attempts) == 1


async def test_deliveries_are_repeated_one_by_one_or_from_a_time_on(place: Town) -> None:
    gateway = await place.gateway(directory_of([key_limit(100)]))
    endpoint, _ = await gateway.alerts.webhooks.add("acme", f"{place.http.url}/hook", "", None, actor="test")
    began = place.clock.time
    for amount in (80, 12):
        await gateway.spend(amount)
        await record_all(gateway)
        place.clock.forward(minutes=10)
    await deliver_all(gateway)
    table = gateway.alerts.deliveries
    rows = await table.page("acme", target=endpoint.target, state="delivered", before=None, limit=9)
    await table.replay(
        "acme", endpoint.target, place.clock.time, actor="user:acme/olga", delivery_id=rows[0].delivery_id
    )
    await deliver_all(gateway)
    assert await told_by_webhook(place) == [75, 90, 90]
    ids = [one.headers["webhook-id"] for one in place.http.received]
    assert ids[1] == ids[2] != ids[0]
    made = await table.replay("acme", endpoint.target, place.clock.time, actor="user:acme/olga", since=began)
    assert len(made) == 2
    await deliver_all(gateway)
    assert await told_by_webhook(place) == [75, 90, 90, 75, 90]
    audited = await place.postgres.fetch(
        "SELECT actor, object, after FROM audit_log WHERE action = 'webhook.replay' ORDER BY id"
    )
    assert [(row["actor"], row["object"]) for row in audited] == [
        ("user:acme/olga", f"webhook:{endpoint.endpoint_id}")
    ] * 2
    assert [orjson.loads(row["after"])["deliveries"] for row in audited] == [1, 2]
    with pytest.raises(NotFound):
        await table.replay(
            "other",
            endpoint.target,
            place.clock.time,
            actor="user:acme/olga",
            delivery_id=rows[0].delivery_id,
        )


# ------------------------------------------------------------------ mail and text messages


@pytest.mark.parametrize(("answer", "state"), [("550 no such user", "failed"), ("451 later", "pending")])
async def test_a_mail_server_says_whether_to_try_again(place: Town, answer: str, state: str) -> None:
    await place.person("olga", "owner", email="olga@acme.test")
    gateway = await place.gateway(directory_of([key_limit(100)]))
    await gateway.spend(80)
    await record_all(gateway)
    place.mail.answer = answer
    await gateway.courier("email").turn()
    (row,) = await gateway.alerts.deliveries.page("acme", target=None, state=None, before=None, limit=9)
    assert row.state == state


async def test_a_text_message_is_posted_as_a_form_with_basic_authentication(place: Town) -> None:
    await place.person("olga", "owner", phone="+33600000001")
    gateway = await place.gateway(directory_of([Limit(Scope.ORG, "acme", Window.DAY, 1_000_000)]))
    await gateway.alerts.choices.subscribe("acme", Subscription("olga", "*", True, True), actor="test")
    await gateway.spend(800_000)
    await record_all(gateway)
    place.http.status = 201
    await gateway.courier("sms").turn()
    (message,) = place.http.received
    assert message.form["To"] == "+33600000001"
    assert message.form["Body"].startswith("75 % of the daily limit of org acme reached. 0.8 of 1 credits")
    assert message.headers["Authorization"] == "Basic QUMxOnQwazNu"
