"""Limits over the API: true figures, at once on every gateway, audited, and within the caller's rights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.support.fleet import Fleet, limits, running_fleet
from tests.support.gateway import ADMIN_TOKEN, MAIN_KEY, digest
from tests.support.servers import TestPostgres
from tests.support.simulator import SimulatorProcess

OWNER_KEY = "tg-test-key-of-the-owner"
LEAD_KEY = "tg-test-key-of-the-lead"
BOB_KEY = "tg-test-key-of-bob"
APP_KEY = "tg-test-key-of-an-application"


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: TestPostgres,
    simulator_process: SimulatorProcess,
) -> Iterator[Fleet]:
    """Two gateways; an owner, a lead of research with ada in it, and bob in sales. Times are those of Kathmandu."""
    rules = limits(time_zone="Asia/Kathmandu")
    org = rules["orgs"][0]
    lead = {"id": "lea", "role": "lead", "keys": [_key("lea-role", LEAD_KEY)]}
    org["teams"][0]["users"].append(lead)
    org["teams"].append({"id": "sales", "users": [{"id": "bob", "keys": [_key("bob-calls", BOB_KEY)]}]})
    org["keys"] = [{**_key("app", APP_KEY), "trusted_attribution": True}]
    org["users"] = [{"id": "olga", "role": "owner", "keys": [_key("olga-role", OWNER_KEY)]}]
    directory = tmp_path_factory.mktemp("limits-api")
    with running_fleet(
        directory, postgres_server, simulator_process, size=2, name="limits_api", rules=rules
    ) as running:
        yield running


def _key(name: str, key: str) -> dict[str, Any]:
    access = {"access": "role"} if name.endswith("role") else {}
    return {"id": name, "sha256": digest(key), **access}


class Api:
    """Calls as one caller."""

    def __init__(self, base: str, key: str, **params: str) -> None:
        self._base, self._params = base, params
        self._headers = {"authorization": f"Bearer {key}"}

    async def ask(self, method: str, path: str, body: object = None, **params: str) -> tuple[int, Any]:
        """(status, document)."""
        async with aiohttp.ClientSession(headers=self._headers) as session:
            data = None if body is None else json.dumps(body)
            headers = {"content-type": "application/json"} if data else {}
            url = f"{self._base}{path}"
            async with session.request(
                method, url, params={**self._params, **params}, data=data, headers=headers
            ) as reply:
                text = await reply.text()
                return reply.status, json.loads(text) if text else None

    async def limit(self, **name: object) -> dict[str, Any] | None:
        """The one limit with these members, as the list shows it."""
        status, page = await self.ask("GET", "/api/limits", limit="1000")
        assert status == 200, page
        found = [item for item in page["items"] if all(item[key] == value for key, value in name.items())]
        assert len(found) <= 1
        return found[0] if found else None


async def metered(base: str, key: str = MAIN_KEY, **headers: str) -> tuple[int, str]:
    document = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 40}
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {key}", **headers}) as session,
        session.post(f"{base}/v1/chat/completions", json=document) as reply,
    ):
        return reply.status, await reply.text()


def admin(fleet: Fleet, gateway: int = 0) -> Api:
    return Api(fleet.bases[gateway], ADMIN_TOKEN, org="acme")


def owner(fleet: Fleet, gateway: int = 0) -> Api:
    return Api(fleet.bases[gateway], OWNER_KEY)


async def test_a_limit_counts_on_another_gateways_very_next_request(fleet: Fleet) -> None:
    for number in range(5):
        name = {"scope": "user", "scope_id": "bob", "window": "day"}
        status, _ = await metered(fleet.bases[1], BOB_KEY)
        assert status == 200
        status, view = await owner(fleet).ask("PUT", "/api/limits", {**name, "credits": "0.000001"})
        assert status == 200, view
        status, text = await metered(fleet.bases[1], BOB_KEY)
        assert (status, "budget_exceeded" in text) == (402, True), f"round {number}"
        status, _ = await owner(fleet, 1).ask("DELETE", "/api/limits", **name)
        assert status == 204
        status, _ = await metered(fleet.bases[0], BOB_KEY)
        assert status == 200


async def test_a_limit_that_no_request_has_met_says_what_was_spent_all_the_same(fleet: Fleet) -> None:
    """Its counter is not made yet, so the figures come from the books."""
    await metered(fleet.bases[0])
    name = {"scope": "key", "scope_id": "main", "window": "month", "operation": "chat"}
    status, view = await owner(fleet).ask("PUT", "/api/limits", {**name, "credits": "500", "enforce": False})
    assert status == 200, view
    query = "SELECT sum(credits_microcredits)::bigint AS spent FROM usage_events WHERE key_id = 'main'"
    await fleet.quiet()
    (row,) = fleet.fetch(query)
    assert view["spent"]["microcredits"] == row["spent"] > 0
    assert view["left"]["microcredits"] == 500_000_000 - row["spent"]
    await metered(fleet.bases[1])
    await fleet.quiet()
    (row,) = fleet.fetch(query)
    seeded = await owner(fleet, 1).limit(**name)
    assert seeded is not None
    assert seeded["spent"]["microcredits"] == row["spent"]
    assert (seeded["enforce"], seeded["source"]) == (False, "api")


async def test_a_view_names_grace_window_and_reset_in_the_organisations_zone(fleet: Fleet) -> None:
    body = {
        "scope": "team",
        "scope_id": "sales",
        "window": "week",
        "credits": 12.5,
        "grace": {"percent": 10, "minutes": 60},
        "model": "gpt-*",
        "alert_levels": [90, 50],
    }
    status, view = await owner(fleet).ask("PUT", "/api/limits", body)
    assert status == 200, view
    assert view["limit"] == {"microcredits": 12_500_000, "credits": "12.5"}
    assert view["grace"] == {"percent": 10, "minutes": 60, "state": "unused", "ends_at": None}
    assert view["alert_levels"] == [50, 90]
    assert view["time_zone"] == "Asia/Kathmandu"
    assert view["resets_at_local"].endswith("00:00 (Asia/Kathmandu)")
    assert view["resets_at"].endswith("18:15:00Z")


async def test_limits_of_the_file_are_shown_as_its_and_not_changed(fleet: Fleet) -> None:
    declared = await owner(fleet).limit(scope="org", window="total")
    assert declared is not None
    assert declared["source"] == "file"
    status, problem = await owner(fleet).ask("PUT", "/api/limits", {"window": "total", "credits": 1})
    assert (status, "limits.yaml" in problem["detail"]) == (409, True)
    status, problem = await owner(fleet).ask("DELETE", "/api/limits", window="total")
    assert (status, "limits.yaml" in problem["detail"]) == (409, True)


async def test_changes_are_audited_with_before_and_after(fleet: Fleet) -> None:
    name = {"scope": "team", "scope_id": "sales", "window": "month"}
    for credits in ("10", "20"):
        status, view = await owner(fleet).ask("PUT", "/api/limits", {**name, "credits": credits})
        assert status == 200, view
    await owner(fleet).ask("DELETE", "/api/limits", **name)
    query = "SELECT actor, action, before, after FROM audit_log WHERE object = $1 ORDER BY id"
    log = fleet.fetch(query, "limit:acme/team/sales/month/*/*")
    assert [line["action"] for line in log] == ["limit.set", "limit.set", "limit.remove"]
    assert {line["actor"] for line in log} == {"user:acme/olga"}
    amounts = [
        tuple(json.loads(side)["amount"] if side else None for side in (line["before"], line["after"]))
        for line in log
    ]
    assert amounts == [(None, 10_000_000), (10_000_000, 20_000_000), (20_000_000, None)]


async def test_a_lead_sets_limits_within_the_team_and_only_tightens_what_binds_the_lead(fleet: Fleet) -> None:
    lead = Api(fleet.bases[0], LEAD_KEY)

    async def set_limit(scope: str, scope_id: str, credits: int, **more: object) -> int:
        body = {"scope": scope, "scope_id": scope_id, "window": "day", "credits": credits, **more}
        return (await lead.ask("PUT", "/api/limits", body))[0]

    assert await set_limit("user", "ada", 10) == 200
    assert await set_limit("user", "ada", 20) == 200
    assert await set_limit("key", "main", 20) == 200
    assert await set_limit("team", "research", 100) == 200
    assert await set_limit("team", "research", 90) == 200
    assert await set_limit("team", "research", 95) == 403
    assert await set_limit("team", "research", 90, alert_levels=[]) == 403
    assert await set_limit("user", "lea", 50) == 200
    assert await set_limit("user", "lea", 60) == 403
    assert await set_limit("user", "bob", 10) == 404
    assert await set_limit("team", "sales", 10) == 404
    status, _ = await lead.ask("PUT", "/api/limits", {"window": "day", "credits": 10})
    assert status == 404
    shown = (await lead.ask("GET", "/api/limits"))[1]["items"]
    assert {(item["scope"], item["scope_id"]) for item in shown} == {
        ("user", "ada"),
        ("key", "main"),
        ("team", "research"),
        ("user", "lea"),
    }
    member = Api(fleet.bases[0], MAIN_KEY)
    assert (await member.ask("PUT", "/api/limits", {"window": "day", "credits": 1}))[0] == 403
    shown = (await member.ask("GET", "/api/limits"))[1]["items"]
    assert {(item["scope"], item["scope_id"]) for item in shown} == {("user", "ada"), ("key", "main")}


async def test_a_limit_of_each_end_user_is_set_shown_and_taken_away_beside_that_of_the_key(
    fleet: Fleet,
) -> None:
    name = {"scope": "key", "scope_id": "app", "window": "day"}
    each = {**name, "each_end_user": True}
    assert (await owner(fleet).ask("PUT", "/api/limits", {**name, "credits": 9}))[0] == 200
    status, view = await owner(fleet).ask("PUT", "/api/limits", {**each, "credits": "0.000001"})
    assert (status, view["each_end_user"], view["limit"]["credits"]) == (200, True, "0.000001")
    # It stands apart for each of them.
    assert [view[figure] for figure in ("spent", "held", "left", "percent")] == [None] * 4
    assert await owner(fleet, 1).limit(**each) == view
    status, text = await metered(fleet.bases[1], APP_KEY, **{"x-tollgate-user": "eve"})
    assert (status, "budget_exceeded" in text) == (402, True)
    assert (await metered(fleet.bases[1], APP_KEY))[0] == 200  # names nobody
    in_a_query = {**name, "each_end_user": "true"}
    assert (await owner(fleet).ask("DELETE", "/api/limits", **in_a_query))[0] == 204
    assert (await metered(fleet.bases[1], APP_KEY, **{"x-tollgate-user": "eve"}))[0] == 200
    assert (await owner(fleet).limit(**each), (await owner(fleet).limit(**name))["limit"]["credits"]) == (
        None,
        "9",
    )
    assert (await owner(fleet).ask("DELETE", "/api/limits", **name))[0] == 204


@pytest.mark.parametrize(
    "body",
    [
        {"window": "day"},
        {"window": "day", "credits": -1},
        {"window": "day", "credits": "0.0000001"},
        {"window": "year", "credits": 1},
        {"window": "day", "credits": 1, "scope": "team"},
        {"window": "day", "credits": 1, "grace": {"percent": 101, "minutes": 1}},
        {"window": "day", "credits": 1, "alert_levels": [0]},
        {"window": "day", "credits": 1, "colour": "red"},
        {"window": "total", "credits": 1, "each_end_user": True},
        {"window": "day", "credits": 1, "each_end_user": True, "alert_levels": [50]},
    ],
)
async def test_what_cannot_be_a_limit_is_refused(fleet: Fleet, body: dict[str, Any]) -> None:
    status, problem = await owner(fleet).ask("PUT", "/api/limits", body)
    assert (status, bool(problem["errors"])) == (400, True)


async def test_an_unknown_team_user_or_key_is_a_mistake_worth_telling(fleet: Fleet) -> None:
    for scope in ("team", "user", "key"):
        body = {"scope": scope, "scope_id": "nobody", "window": "day", "credits": 1}
        assert (await admin(fleet).ask("PUT", "/api/limits", body))[0] == 404


async def test_pages_show_every_limit_once(fleet: Fleet) -> None:
    everything = (await owner(fleet).ask("GET", "/api/limits", limit="1000"))[1]["items"]
    seen: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        status, page = await owner(fleet).ask("GET", "/api/limits", limit="2", **cursor)
        assert status == 200
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == everything


async def test_the_balance_agrees_with_rows_and_redis(fleet: Fleet) -> None:
    await metered(fleet.bases[0])
    await metered(fleet.bases[1], BOB_KEY)
    settled, _ = fleet.counter()
    status, seen = await owner(fleet).ask("GET", "/api/credits/balance")
    assert status == 200, seen
    assert seen["used"]["this_month"]["microcredits"] == settled
    assert [line["operation"] for line in seen["breakdown"]] == ["chat"]
    assert seen["breakdown"][0]["today"] == seen["used"]["today"]
    assert seen["per_hour"]["microcredits"] > 0
    assert seen["tightest_limits"]
    assert (seen["whole"], seen["prepaid"], seen["balance"]) == (True, False, None)
    await fleet.quiet()
    assert (await owner(fleet, 1).ask("GET", "/api/credits/balance"))[1]["used"] == seen["used"]
    (row,) = fleet.fetch("SELECT sum(credits_microcredits)::bigint AS spent FROM usage_events")
    assert row["spent"] == settled
    (row,) = fleet.fetch(
        "SELECT sum(credits_microcredits)::bigint AS spent FROM usage_events WHERE user_id = 'bob'"
    )
    of_bob = (await Api(fleet.bases[0], BOB_KEY).ask("GET", "/api/credits/balance"))[1]
    assert (of_bob["whole"], of_bob["used"]["this_month"]["microcredits"]) == (False, row["spent"])
