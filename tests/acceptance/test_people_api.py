"""People over the API of two gateways: made, given keys, suspended, exported and erased with the books left whole."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from tests.support.gateway import ADMIN_TOKEN, TOLLGATE, GatewayPlan, GatewayProcess, digest
from tests.support.people import VAULT_KEYS
from tests.support.servers import TestPostgres, TestRedis
from tests.support.simulator import SimulatorProcess
from tests.support.staffed import Answer, ask

OWNER_KEY = "tg-test-people-owner"
LIMITS: dict[str, Any] = {
    "credit_usd": 0.01,
    "orgs": [
        {
            "id": "acme",
            "limits": [{"window": "month", "credits": 100_000}],
            "users": [
                {
                    "id": "olga",
                    "role": "owner",
                    "keys": [{"id": "olga-key", "sha256": digest(OWNER_KEY), "access": "role"}],
                }
            ],
            "teams": [{"id": "research"}],
        }
    ],
}
CALL = {"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello"}]}
EVERYWHERE_S = 1.0
TROUBLE_S = 20.0


@dataclass
class Pair:
    """Two gateways on the same stores."""

    one: GatewayProcess
    two: GatewayProcess
    dsn: str

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str = OWNER_KEY,
        status: int = 200,
        at: GatewayProcess | None = None,
    ) -> Any:
        """One call that must answer ``status``; its body."""
        answer = ask(at or self.one, method, path, key=key, body=body)
        assert answer.status == status, f"{method} {path}: {answer.status} {answer.body.decode()[:500]}"
        return answer.json() if answer.body else None

    def call(self, key: str, at: GatewayProcess | None = None, conversation: str = "c-1") -> Answer:
        """One metered call."""
        return ask(
            at or self.one,
            "POST",
            "/v1/chat/completions",
            key=key,
            body=CALL,
            headers={"x-tollgate-conversation": conversation},
        )

    def person(self, user: str, *roles: dict[str, str], **profile: str) -> Any:
        return self.ask("POST", "/api/people", {"id": user, "roles": list(roles), **profile}, status=201)

    def key(self, user: str, **body: Any) -> Any:
        return self.ask("POST", "/api/keys", {"name": "a key", "user": user, **body}, status=201)

    def reconcile(self) -> str:
        """The last line that `tollgate reconcile` prints, which must be that all is well."""
        return self.one.command("reconcile").strip().splitlines()[-1]


@pytest.fixture(scope="module")
def pair(
    simulator_process: SimulatorProcess,
    postgres_server: TestPostgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("people")
    redis = TestRedis(directory / "redis")
    redis.start()
    dsn = postgres_server.create_database("people_api")
    settings = {
        "encryption": {"active": "k1", "keys": {"k1": VAULT_KEYS["k1"]}},
        "api": {"calls_per_minute": 10_000},
    }
    gateways = []
    try:
        for name in ("one", "two"):
            plan = GatewayPlan(
                directory / name, simulator_process.url, redis.url, dsn, limits=LIMITS, settings=settings
            )
            gateway = GatewayProcess(plan)
            gateways.append(gateway)
            gateway.start()
        yield Pair(*gateways, dsn)
    finally:
        for gateway in gateways:
            gateway.stop()
        postgres_server.drop_database("people_api")
        redis.stop()


def within(seconds: float, found: Any) -> None:
    """Ask ``found`` until it says yes. Raises: AssertionError when that takes longer."""
    end_s = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end_s, f"not within {seconds} s"


async def fetch(pair: Pair, query: str, *args: object) -> Any:
    connection = await asyncpg.connect(pair.dsn)
    try:
        return await connection.fetchval(query, *args)
    finally:
        await connection.close()


# ------------------------------------------------------------------ making things


def test_an_organisation_and_a_team_made_over_the_api_bind_calls_everywhere_within_a_second(
    pair: Pair,
) -> None:
    made = {"id": "globex", "name": "Globex", "time_zone": "Asia/Tokyo", "balance_required": True}
    pair.ask("POST", "/api/orgs", made, key=ADMIN_TOKEN, status=201)
    team = {"id": "lab", "allowed_models": ["claude-*"]}
    pair.ask("POST", "/api/teams?org=globex", team, key=ADMIN_TOKEN, status=201)
    pair.ask("POST", "/api/people?org=globex", {"id": "gil"}, key=ADMIN_TOKEN, status=201)
    new = {"name": "lab", "user": "gil", "team": "lab"}
    key = pair.ask("POST", "/api/keys?org=globex", new, key=ADMIN_TOKEN, status=201)["key"]
    within(TROUBLE_S, lambda: pair.call(key, pair.two).status == 403)
    pair.ask("PATCH", "/api/teams/lab?org=globex", {"allowed_models": None}, key=ADMIN_TOKEN)
    # Prepaid, and nothing was bought: refused by the balance, and by nothing else any more.
    within(EVERYWHERE_S, lambda: pair.call(key, pair.two).status == 402)
    pair.ask("PATCH", "/api/orgs/globex", {"balance_required": False}, key=ADMIN_TOKEN)
    within(EVERYWHERE_S, lambda: pair.call(key, pair.two).status == 200)


def test_an_owner_does_not_decide_whether_credits_have_to_be_bought(pair: Pair) -> None:
    pair.ask("POST", "/api/orgs", {"id": "initech", "balance_required": True}, key=ADMIN_TOKEN, status=201)
    owner = {"id": "ike", "roles": [{"role": "owner"}]}
    pair.ask("POST", "/api/people?org=initech", owner, key=ADMIN_TOKEN, status=201)
    new = {"name": "ike", "user": "ike", "access": "role"}
    key = pair.ask("POST", "/api/keys?org=initech", new, key=ADMIN_TOKEN, status=201)["key"]
    pair.ask("PATCH", "/api/orgs/initech", {"balance_required": False}, key=key, status=403)
    pair.ask("PATCH", "/api/orgs/initech", {"time_zone": "Europe/Paris"}, key=key)
    pair.ask("GET", "/api/orgs/acme", key=key, status=404)


def test_what_the_file_declares_is_read_only_and_the_answer_names_the_file(pair: Pair) -> None:
    for method, path, body in (
        ("PATCH", "/api/orgs/acme", {"name": "x"}),
        ("PATCH", "/api/teams/research", {"name": "x"}),
        ("POST", "/api/people", {"id": "olga"}),
        ("POST", "/api/people/olga/suspend", None),
        ("POST", "/api/people/olga/erase", None),
        ("POST", "/api/keys/olga-key/revoke", None),
        ("POST", "/api/keys/olga-key/rotate", {}),
    ):
        assert "limits.yaml" in pair.ask(method, path, body, status=409)["detail"]


def test_me_says_who_is_asking_and_what_they_may_do(pair: Pair) -> None:
    me = pair.ask("GET", "/api/me")
    assert (me["actor"], me["org"]["id"], me["roles"]) == ("user:acme/olga", "acme", ["owner"])
    assert me["may"]["set_people"] == "org"
    assert pair.ask("GET", "/api/me", key=ADMIN_TOKEN)["org"] is None


# ------------------------------------------------------------------ keys


def test_a_key_is_shown_once_and_stops_on_both_gateways_within_a_second(pair: Pair) -> None:
    pair.person("kim", {"role": "member", "team": "research"})
    made = pair.key("kim")
    assert (made["team"], made["state"]) == ("research", "active")
    listed = pair.ask("GET", "/api/keys?user=kim")
    assert made["key"] not in json.dumps(listed)
    assert listed["items"][0]["prefix"] == made["key"][:9]
    within(TROUBLE_S, lambda: pair.call(made["key"], pair.two).status == 200)
    pair.ask("POST", f"/api/keys/{made['id']}/revoke")
    within(EVERYWHERE_S, lambda: pair.call(made["key"], pair.two).status == 401)


def test_a_member_makes_keys_for_themselves_alone_and_no_wider_than_their_own(pair: Pair) -> None:
    pair.person("mia", {"role": "member", "team": "research"})
    own = pair.key("mia", access="role", allowed_models=["gpt-4o*"])["key"]
    narrow = pair.ask("POST", "/api/keys", {"name": "mine"}, key=own, status=201)
    assert (narrow["user"], narrow["team"], narrow["allowed_models"]) == ("mia", "research", ["gpt-4o*"])
    for wider in (
        {"name": "x", "allowed_models": ["*"]},
        {"name": "x", "user": "olga"},
        {"name": "x", "user": None, "team": "research"},
        {"name": "x", "trusted_attribution": True},
    ):
        pair.ask("POST", "/api/keys", wider, key=own, status=403)
    seen = pair.ask("GET", "/api/keys", key=own)["items"]
    assert {key["user"] for key in seen} == {"mia"}
    other = next(key["id"] for key in pair.ask("GET", "/api/keys")["items"] if key["user"] == "kim")
    pair.ask("POST", f"/api/keys/{other}/revoke", key=own, status=404)
    pair.ask("POST", f"/api/keys/{narrow['id']}/revoke", key=own)


def test_a_key_with_limits_of_its_own_makes_no_other(pair: Pair) -> None:
    pair.person("max", {"role": "member", "team": "research"})
    bounded = pair.key("max", access="role", requests_per_minute=5)["key"]
    pair.ask("POST", "/api/keys", {"name": "x"}, key=bounded, status=403)
    limited = pair.key("max", access="role")
    limit = {"scope": "key", "scope_id": limited["id"], "window": "day", "credits": "1"}
    pair.ask("PUT", "/api/limits", limit)
    within(EVERYWHERE_S, lambda: _refused(pair, limited["key"]))


def _refused(pair: Pair, key: str) -> bool:
    return ask(pair.one, "POST", "/api/keys", key=key, body={"name": "x"}).status == 403


def test_whoever_leaves_a_team_leaves_its_keys_behind(pair: Pair) -> None:
    pair.ask("POST", "/api/teams", {"id": "left"}, status=201)
    pair.person("mo", *({"role": role, "team": "left"} for role in ("lead", "member")), {"role": "billing"})
    of_team, own = pair.key("mo", team="left"), pair.key("mo", team="research")
    pair.ask("DELETE", "/api/people/mo/roles/lead?team=left")
    for made in (of_team, own):
        within(TROUBLE_S, lambda made=made: pair.call(made["key"], pair.two).status == 200)
    pair.ask("DELETE", "/api/people/mo/roles/member?team=left")
    within(EVERYWHERE_S, lambda: pair.call(of_team["key"], pair.two).status == 401)
    assert pair.call(own["key"], pair.two).status == 200
    revoked = pair.ask("GET", f"/api/audit?object=key:{of_team['id']}&action=key.revoke")["items"]
    assert [one["actor"] for one in revoked] == ["user:acme/olga"]
    pair.ask("DELETE", "/api/people/mo/roles/member?team=left", status=404)


def test_a_key_of_a_team_is_not_rotated_by_a_holder_who_is_not_in_it(pair: Pair) -> None:
    pair.person("nat", {"role": "member", "team": "research"})
    outside, inside = (pair.key("nat", team=team, access="role") for team in ("left", "research"))
    for made in (outside, inside):
        pair.ask("POST", f"/api/keys/{outside['id']}/rotate", {}, key=made["key"], status=403)
    pair.ask("POST", f"/api/keys/{inside['id']}/rotate", {}, key=inside["key"])
    pair.ask("POST", f"/api/keys/{outside['id']}/rotate", {})


def test_a_lead_cannot_make_or_rotate_a_key_that_acts_as_an_owner(pair: Pair) -> None:
    pair.person("lea", {"role": "lead", "team": "research"})
    pair.person("otto", {"role": "owner"}, {"role": "member", "team": "research"})
    lead = pair.key("lea", access="role")["key"]
    owners = pair.key("otto", access="role", team="research")
    new = {"name": "x", "user": "otto", "team": "research", "access": "role"}
    pair.ask("POST", "/api/keys", new, key=lead, status=403)
    pair.ask("POST", f"/api/keys/{owners['id']}/rotate", {}, key=lead, status=403)
    pair.ask("POST", "/api/people/lea/roles", {"role": "owner"}, key=lead, status=403)
    pair.ask("POST", "/api/keys", {"name": "x", "user": None, "team": "research"}, key=lead, status=201)


def test_a_key_for_calls_cannot_raise_itself_to_the_role_of_its_user(pair: Pair) -> None:
    pair.person("ola", {"role": "owner"})
    calls = pair.key("ola")["key"]
    pair.ask("POST", "/api/keys", {"name": "x", "access": "role"}, key=calls, status=403)
    pair.ask("GET", "/api/audit", key=calls, status=403)


def test_keys_in_a_team_give_its_lead_no_say_over_who_left_it_or_is_above(pair: Pair) -> None:
    pair.ask("POST", "/api/teams", {"id": "former"}, status=201)
    pair.person("lou", {"role": "lead", "team": "former"})
    lead = pair.key("lou", access="role")["key"]
    pair.person("moe", {"role": "member", "team": "former"})
    pair.key("moe")
    pair.person("ora", {"role": "owner"})
    pair.key("ora", team="former")
    pair.ask("POST", "/api/people/moe/roles", {"role": "member", "team": "research"})
    pair.ask("DELETE", "/api/people/moe/roles/member?team=former")
    limit = {"scope": "user", "window": "day", "credits": "5"}
    for user in ("moe", "ora"):
        of_user = f"scope=user&scope_id={user}"
        pair.ask("PUT", "/api/limits", {**limit, "scope_id": user})
        assert pair.ask("GET", f"/api/limits?{of_user}", key=lead)["items"] == []
        pair.ask("PUT", "/api/limits", {**limit, "scope_id": user, "credits": "0"}, key=lead, status=404)
        pair.ask("DELETE", f"/api/limits?{of_user}&window=day", key=lead, status=404)
    # The owner joins: the lead sees the limit then, and still does not set it.
    pair.ask("POST", "/api/people/ora/roles", {"role": "member", "team": "former"})
    pair.ask("PUT", "/api/limits", {**limit, "scope_id": "ora", "credits": "0"}, key=lead, status=403)


def test_a_user_whom_nobody_made_is_where_their_working_keys_are(pair: Pair) -> None:
    pair.ask("POST", "/api/teams", {"id": "lab"}, status=201)
    pair.person("lil", {"role": "lead", "team": "lab"})
    lead = pair.key("lil", access="role")["key"]
    words = ("--org", "acme", "--team", "lab", "--user", "ned", "--name", "ned")
    pair.one.command("keys", "create", *words)
    limit = {"scope": "user", "scope_id": "ned", "window": "day", "credits": "5"}
    pair.ask("PUT", "/api/limits", limit, key=lead)
    (made,) = pair.ask("GET", "/api/keys?user=ned")["items"]
    pair.ask("POST", f"/api/keys/{made['id']}/revoke")
    pair.ask("PUT", "/api/limits", limit, key=lead, status=404)
    pair.ask("PUT", "/api/limits", limit)


# ------------------------------------------------------------------ erasing


async def test_erasing_somebody_leaves_the_books_whole_and_nothing_of_them(pair: Pair) -> None:
    pair.person("ada", {"role": "member", "team": "research"}, name="Ada Lovelace", email="ada@example.com")
    made = pair.key("ada", name="Ada's laptop")
    pair.ask("PUT", "/api/limits", {"scope": "user", "scope_id": "ada", "window": "day", "credits": "500"})
    key = made["key"]
    within(TROUBLE_S, lambda: pair.call(key, conversation="ada-first").status == 200)
    for number in range(5):
        assert pair.call(key, conversation=f"ada-{number}").status == 200
    for conversation in ("first", *range(5)):  # two gateways write them, in any order
        pair.one.rows(conversation=f"ada-{conversation}")
    pair.ask("PUT", "/api/conversations/ada-1", {"title": "About my illness"}, key=key)
    sums = "SELECT (sum(requests), sum(credits_microcredits), sum(cost_usd), sum(input_tokens))::text FROM {}"
    before = [await fetch(pair, sums.format(table)) for table in ("usage_rollups", "usage_days")]
    assert await fetch(pair, "SELECT count(*) FROM usage_events WHERE user_id = 'ada'") == 6

    exported = pair.ask("GET", "/api/people/ada/export")
    assert exported["person"]["email"] == "ada@example.com"
    assert len(exported["usage"]) == 6
    assert [key["name"] for key in exported["keys"]] == ["Ada's laptop"]
    assert [limit["limit_window"] for limit in exported["limits"]] == ["day"]
    assert "About my illness" in json.dumps(exported["conversations"])
    assert [entry["action"] for entry in exported["audit"]] == ["person.create"]
    assert made["key"] not in json.dumps(exported)

    erased = pair.ask("POST", "/api/people/ada/erase", status=202)
    assert erased["state"] == "done"
    assert pair.ask("POST", "/api/people/ada/erase", status=202)["id"] == erased["id"]
    within(EVERYWHERE_S, lambda: pair.call(key, pair.two).status == 401)
    pair.ask("GET", "/api/people/ada", status=404)
    pair.ask("POST", "/api/people", {"id": "ada"}, status=409)

    after = [await fetch(pair, sums.format(table)) for table in ("usage_rollups", "usage_days")]
    assert after == before
    assert pair.reconcile() == "drift 0"
    for table in ("usage_events", "usage_rollups", "usage_days", "people", "api_keys", "conversations"):
        assert await fetch(pair, f"SELECT count(*) FROM {table} WHERE user_id = 'ada'") == 0, table
    told = await fetch(
        pair,
        "SELECT concat((SELECT json_agg(t) FROM conversations t), (SELECT json_agg(t) FROM api_keys t), "
        "(SELECT json_agg(t) FROM people t), (SELECT json_agg(t) FROM managed_limits t), "
        "(SELECT json_agg(t) FROM audit_log t))",
    )
    for personal in ("illness", "Lovelace", "ada@example", "Ada's laptop"):
        assert personal not in told
    assert await fetch(pair, "SELECT count(*) FROM usage_events WHERE user_id LIKE 'erased-%'") == 6
    assert "the chain holds" in pair.one.command("audit", "verify")


# ------------------------------------------------------------------ the audit log


def test_the_audit_log_says_who_did_what_from_where(pair: Pair) -> None:
    pair.person("aud")
    found = pair.ask("GET", "/api/audit?" + urllib.parse.urlencode({"object": "person:acme/aud"}))["items"]
    assert [(one["actor"], one["action"], one["address"]) for one in found] == [
        ("user:acme/olga", "person.create", "127.0.0.1")
    ]
    assert found[0]["request_id"]
    everything = pair.ask("GET", "/api/audit?limit=2", key=ADMIN_TOKEN)
    nearer = pair.ask("GET", f"/api/audit?limit=2&cursor={everything['next_cursor']}", key=ADMIN_TOKEN)
    places = [one["place"] for one in everything["items"] + nearer["items"]]
    assert places == sorted(places, reverse=True)
    assert {one["org"] for one in pair.ask("GET", "/api/audit?limit=200")["items"]} == {"acme"}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_commands_do_what_the_api_does_and_a_changed_entry_breaks_the_chain(pair: Pair) -> None:
    run = pair.one.command
    run("orgs", "create", "umbrella", "--name", "Umbrella", "--time-zone", "Asia/Tokyo")
    run("teams", "create", "lab", "--org", "umbrella", "--model", "gpt-*")
    run("people", "create", "una", "--org", "umbrella", "--name", "Una U", "--role", "lead", "--team", "lab")
    assert "lead of lab" in run("people", "list", "--org", "umbrella")
    assert "Una U" not in run("people", "list", "--org", "umbrella")
    assert pair.ask("GET", "/api/people/una?org=umbrella", key=ADMIN_TOKEN)["name"] == "Una U"
    exported = json.loads(run("people", "export", "una", "--org", "umbrella"))
    assert exported["person"]["name"] == "Una U"
    assert "sums are as they were" in run("people", "erase", "una", "--org", "umbrella")
    assert "everything is under k1" in run("encryption", "rotate")
    lines = [json.loads(line) for line in run("audit", "export", "--org", "umbrella").splitlines()]
    assert [line["action"] for line in lines] == [
        "org.create",
        "team.create",
        "person.create",
        "person.erase",
    ]
    newest = await fetch(pair, "SELECT max(place) FROM audit_log")
    seen = f"entry {newest}, the newest that gateways noted in Redis, is in it"
    within(20, lambda: seen in run("audit", "verify"))
    for change, told in (
        (f"DELETE FROM audit_log WHERE place = {newest}", "its end was cut off or rewritten"),
        (
            f"UPDATE audit_log SET actor = 'nobody' WHERE place = {lines[0]['place']}",
            "was changed after it was written",
        ),
    ):
        await fetch(pair, "ALTER TABLE audit_log DISABLE TRIGGER USER")
        await fetch(pair, change)
        verdict = await asyncio.to_thread(
            subprocess.run,
            [str(TOLLGATE), "audit", "verify", "--config", str(pair.one.config)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert verdict.returncode == 1
        assert told in verdict.stdout
    assert f"row {lines[0]['place']} " in verdict.stdout
