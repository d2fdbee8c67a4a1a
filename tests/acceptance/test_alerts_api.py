"""Alerts as customers meet them: over the API and on the command line of a running gateway."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.support.gateway import ADMIN_TOKEN, GatewayPlan, GatewayProcess
from tests.support.servers import TestPostgres, TestRedis
from tests.support.simulator import SimulatorProcess
from tests.support.staffed import Answer, ask, key_of, limits_with_roles

WAIT_S = 20.0


class Receiver:
    """Takes webhooks; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self._news = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(receiver.status)
                self.end_headers()
                with receiver._news:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    receiver.received.append((headers, body))
                    receiver._news.notify_all()

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def wait_for(self, count: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: len(self.received) >= count, WAIT_S), "no webhook came"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def gateway(
    simulator_process: SimulatorProcess,
    postgres_server: TestPostgres,
    server_directory: Path,
) -> Iterator[GatewayProcess]:
    redis = TestRedis(server_directory / "alerting-redis")
    redis.start()
    dsn = postgres_server.create_database("alerting")
    limits = limits_with_roles()
    limits["orgs"][0]["limits"].append({"window": "day", "credits": 0.0001, "enforce": False})
    settings = {
        "webhooks": {"allow_private": True},
        "encryption": {"active": "k1", "keys": {"k1": "00112233445566778899aabbccddeeff" * 2}},
    }
    plan = GatewayPlan(
        server_directory / "alerting", simulator_process.url, redis.url, dsn, limits=limits, settings=settings
    )
    made = GatewayProcess(plan)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        redis.stop()
        postgres_server.drop_database("alerting")


def call(gateway: GatewayProcess, method: str, path: str, body: object = None, role: str = "owner") -> Answer:
    return ask(gateway, method, path, key=key_of(role), body=body)


def chat(gateway: GatewayProcess) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50}
    answer = ask(gateway, "POST", "/v1/chat/completions", key=key_of("member"), body=body)
    assert answer.status == 200, answer.body


def test_a_limit_that_is_reached_is_in_the_inbox_and_at_the_webhook(
    gateway: GatewayProcess, receiver: Receiver
) -> None:
    made = call(gateway, "POST", "/api/webhooks", {"url": receiver.url, "kinds": ["budget_threshold"]})
    assert made.status == 201
    endpoint = made.json()
    chat(gateway)
    receiver.wait_for(1)
    headers, body = receiver.received[0]
    message: dict[str, Any] = Webhook(endpoint["secret"]).verify(body, headers)
    assert message["type"] == "alert.budget_threshold"
    assert message["data"]["limit"]["window"] == "day"
    assert message["data"]["levels"] == [75, 90, 100]
    inbox = call(gateway, "GET", "/api/alerts").json()
    assert {item["data"]["level"] for item in inbox["items"]} == {75, 90, 100}
    assert inbox["unread"] == 1
    sent = next(item for item in inbox["items"] if item["sent"])
    assert sent["id"] == message["data"]["id"]
    assert call(gateway, "POST", f"/api/alerts/{sent['id']}/read").status == 204
    assert call(gateway, "GET", "/api/alerts").json()["unread"] == 0
    assert call(gateway, "GET", "/api/alerts", role="billing").json()["unread"] == 1
    listed = gateway.command("alerts", "list", "--org", "acme")
    assert "100 % of the daily limit of org acme reached" in listed
    assert "with a higher level" in listed
    assert call(gateway, "DELETE", f"/api/webhooks/{endpoint['id']}").status == 204


def test_a_page_of_alerts_continues_where_it_ended(gateway: GatewayProcess) -> None:
    chat(gateway)
    deadline = time.monotonic() + WAIT_S
    while len(everything := call(gateway, "GET", "/api/alerts").json()["items"]) < 3:
        assert time.monotonic() < deadline
    seen, cursor = [], ""
    while cursor is not None:
        page = call(gateway, "GET", f"/api/alerts?limit=1{cursor and '&cursor=' + cursor}").json()
        seen += page["items"]
        cursor = page["next_cursor"]
    assert [item["id"] for item in seen] == [item["id"] for item in everything]
    assert call(gateway, "GET", "/api/alerts?cursor=bm9wZQ").json()["code"] == "invalid_request"


def test_a_webhook_is_tested_watched_replayed_and_taken_out_of_use(
    gateway: GatewayProcess, receiver: Receiver
) -> None:
    endpoint = call(gateway, "POST", "/api/webhooks", {"url": receiver.url, "kinds": ["low_balance"]}).json()
    path = f"/api/webhooks/{endpoint['id']}"
    assert "secret" not in call(gateway, "GET", path).json()
    queued = call(gateway, "POST", f"{path}/test")
    assert queued.status == 202
    receiver.wait_for(1)
    deadline = time.monotonic() + WAIT_S
    while (items := call(gateway, "GET", f"{path}/deliveries?state=delivered").json()["items"]) == []:
        assert time.monotonic() < deadline
    assert [item["id"] for item in items] == queued.json()["deliveries"]
    attempts = call(gateway, "GET", f"{path}/deliveries/{items[0]['id']}/attempts").json()["items"]
    assert [(one["outcome"], one["status"]) for one in attempts] == [("delivered", 204)]
    rotated = call(gateway, "POST", f"{path}/rotate").json()
    call(gateway, "POST", f"{path}/test")
    receiver.wait_for(2)
    headers, body = receiver.received[1]
    for secret in (endpoint["secret"], rotated["secret"]):
        assert Webhook(secret).verify(body, headers)["type"] == "test"
    assert call(gateway, "POST", f"{path}/replay", {}).json()["param"] == "since"
    assert call(gateway, "POST", f"{path}/replay", {"since": "2026-01-01T00:00:00Z"}).status == 202
    assert receiver.url in gateway.command("webhooks", "list", "--org", "acme")
    shown = gateway.command("webhooks", "deliveries", endpoint["id"], "--org", "acme")
    assert "test" in shown
    assert "204" in shown
    words = ("webhooks", "replay", endpoint["id"], "--org", "acme", "--since", "2026-01-01T00:00:00Z")
    assert "0 messages will be sent again" in gateway.command(*words)  # tests are not repeated
    assert call(gateway, "PATCH", path, {"active": False}).json()["active"] is False
    assert call(gateway, "POST", f"{path}/test").status == 409
    assert ask(gateway, "GET", path, key=key_of("owner", "globex")).status == 404
    assert call(gateway, "DELETE", path).status == 204
    assert call(gateway, "GET", path).status == 404
    audited = call(gateway, "GET", "/api/audit?limit=100").json()["items"]
    mine = [one["action"] for one in audited if one["object"] == f"webhook:{endpoint['id']}"]
    assert mine[::-1] == [
        "webhook.add", "webhook.test", "webhook.rotate", "webhook.test", "webhook.replay", "webhook.replay",
        "webhook.change", "webhook.remove",
    ]  # fmt: skip


def test_settings_reach_the_budgets_of_the_organisation(gateway: GatewayProcess) -> None:
    body = {"levels": [50, 60], "low_balance_credits": "2.5", "summary_hour": 6}
    settings = ask(gateway, "PUT", "/api/alerts/settings?org=globex", key=ADMIN_TOKEN, body=body)
    assert settings.status == 200, settings.body
    assert settings.json()["low_balance"] == {"microcredits": 2_500_000, "credits": "2.5"}
    again = ask(gateway, "GET", "/api/alerts/settings", key=key_of("owner", "globex"))
    assert again.json() == settings.json()
    back = ask(gateway, "PUT", "/api/alerts/settings", key=key_of("owner", "globex"), body=again.json())
    assert (back.status, back.json()) == (200, again.json()), "what was read can be put back"
    two = {**again.json(), "low_balance": {"microcredits": 1, "credits": "2.5"}}
    assert ask(gateway, "PUT", "/api/alerts/settings?org=globex", key=ADMIN_TOKEN, body=two).status == 400
    number = {"channel": "sms", "address": "0612345678"}
    wrong = ask(gateway, "POST", "/api/alerts/addresses?org=globex", key=ADMIN_TOKEN, body=number)
    assert (wrong.status, wrong.json()["param"]) == (400, "address")
    assert "country code" in wrong.json()["detail"]
    refused = ask(
        gateway, "PUT", "/api/alerts/settings", key=key_of("owner", "globex"), body={"levels": [60, 50]}
    )
    assert refused.status == 400
    assert ask(gateway, "GET", "/api/alerts/settings", key=key_of("member", "globex")).status == 403


def test_addresses_and_subscriptions_are_kept_and_taken_away(gateway: GatewayProcess) -> None:
    added = call(gateway, "POST", "/api/alerts/addresses", {"channel": "email", "address": "f@acme.test"})
    assert added.status == 201
    assert call(gateway, "GET", "/api/alerts/addresses").json()["items"] == [added.json()]
    stored = json.dumps([row["address_sealed"] for row in gateway.table("alert_addresses")])
    assert "acme.test" not in stored
    bad = call(gateway, "POST", "/api/alerts/addresses", {"channel": "sms", "address": "0612"})
    assert bad.status == 400
    assert call(gateway, "DELETE", f"/api/alerts/addresses/{added.json()['id']}").status == 204
    wanted = {"user_id": "member", "kind": "*", "email": True, "sms": False}
    assert call(gateway, "PUT", "/api/alerts/subscriptions", wanted).json() == wanted
    assert call(gateway, "GET", "/api/alerts/subscriptions").json()["items"] == [wanted]
    assert call(gateway, "DELETE", "/api/alerts/subscriptions?user_id=member&kind=*").status == 204
    assert call(gateway, "DELETE", "/api/alerts/subscriptions?user_id=member&kind=*").status == 404


@pytest.mark.parametrize("role", ["lead", "member"])
def test_people_choose_for_themselves_and_for_nobody_else(gateway: GatewayProcess, role: str) -> None:
    mine = {"user_id": role, "kind": "low_balance", "email": False, "sms": True}
    assert call(gateway, "PUT", "/api/alerts/subscriptions", mine, role).json() == mine
    for method, path, body in (
        ("PUT", "/api/alerts/subscriptions", {**mine, "user_id": "owner"}),
        ("DELETE", "/api/alerts/subscriptions?user_id=owner&kind=*", None),
    ):
        refused = call(gateway, method, path, body, role)
        assert (refused.status, refused.json()["param"]) == (403, "user_id")
    org_wide = {"user_id": "owner", "kind": "*", "email": True, "sms": False}
    assert call(gateway, "PUT", "/api/alerts/subscriptions", org_wide).status == 200
    assert call(gateway, "GET", "/api/alerts/subscriptions", role=role).json()["items"] == [mine]
    ours = call(
        gateway, "POST", "/api/alerts/addresses", {"channel": "email", "address": "f@acme.test"}
    ).json()
    added = call(
        gateway, "POST", "/api/alerts/addresses", {"channel": "sms", "address": "+33612345678"}, role
    )
    assert added.status == 201
    assert call(gateway, "GET", "/api/alerts/addresses", role=role).json()["items"] == [added.json()]
    assert call(gateway, "GET", "/api/alerts/addresses").json()["items"] == [ours]
    assert call(gateway, "DELETE", f"/api/alerts/addresses/{ours['id']}", role=role).status == 404
    for _ in range(4):
        assert call(
            gateway, "POST", "/api/alerts/addresses", {"channel": "sms", "address": "+33612345678"}, role
        ).status == 201  # fmt: skip
    full = call(gateway, "POST", "/api/alerts/addresses", {"channel": "sms", "address": "+33612345678"}, role)
    assert full.status == 409
    assert call(gateway, "DELETE", f"/api/alerts/addresses/{added.json()['id']}", role=role).status == 204
    assert call(gateway, "DELETE", f"/api/alerts/addresses/{ours['id']}").status == 204
    assert (
        call(
            gateway, "DELETE", f"/api/alerts/subscriptions?user_id={role}&kind=low_balance", role=role
        ).status
        == 204
    )
    assert call(gateway, "DELETE", "/api/alerts/subscriptions?user_id=owner&kind=*").status == 204


def test_attempts_are_those_of_the_webhook_that_is_named(gateway: GatewayProcess, receiver: Receiver) -> None:
    new = {"url": receiver.url, "kinds": ["low_balance"]}
    one, other = (f"/api/webhooks/{call(gateway, 'POST', '/api/webhooks', new).json()['id']}" for _ in "12")
    (delivery,) = call(gateway, "POST", f"{one}/test").json()["deliveries"]
    assert call(gateway, "GET", f"{one}/deliveries/{delivery}/attempts", role="auditor").status == 200
    assert call(gateway, "GET", f"{other}/deliveries/{delivery}/attempts", role="auditor").status == 404
    for path in (one, other):
        assert call(gateway, "DELETE", path).status == 204
