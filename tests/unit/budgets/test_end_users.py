"""Limits of end users: who counts, by which names, and what is refused of them in limits.yaml."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from gateway.budgets.directory import Directory, OrgRules
from gateway.budgets.keyspace import CounterName, limit_identity
from gateway.budgets.model import Scope, Window
from gateway.budgets.wording import limit_text
from gateway.errors import BadRequest, ConfigError
from gateway.proxy.intake import attribution
from gateway.settings.limits import load_limits
from tests.unit.budgets.making import ADA, limit_on

EACH = limit_on(Scope.TEAM, "research", 50, Window.DAY, each_end_user=True)
OF_TEAM = limit_on(Scope.TEAM, "research", 900, Window.DAY)
ZOE = ADA._replace(end_user="zoe")


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_limits(path)
    return error.value.message


def test_an_org_a_team_a_user_and_a_key_may_limit_each_of_their_end_users(tmp_path: Path) -> None:
    each = "end_users: {limits: [{window: day, credits: 50}]}"
    path = tmp_path / "limits.yaml"
    path.write_text(
        f"""
        orgs:
          - id: acme
            {each}
            teams: [{{id: research, {each}, users: [{{id: ada, {each}, keys: [
                {{id: ada-laptop, sha256: {"ab" * 32}, trusted_attribution: true, {each}}}]}}]}}]
        """
    )
    rules = Directory.compile(load_limits(path), 1).orgs["acme"]
    assert rules.limits_for(ADA, "chat", "gpt-4o") == ()
    found = rules.limits_for(ZOE, "chat", "gpt-4o")
    assert [limit.scope for limit in found] == [Scope.KEY, Scope.USER, Scope.TEAM, Scope.ORG]
    assert all(limit.each_end_user and limit.amount == 50_000_000 for limit in found)


@pytest.mark.parametrize(
    ("limits", "where", "reason"),
    [
        ("[{window: total, credits: 1}]", "limits.0.window", "use month, week or day"),
        ("[{window: day, credits: 1, alerts: [50]}]", "limits.0.alerts", "not announced"),
        ("[{window: day, credits: 1}, {window: day, credits: 2}]", "limits.1", "repeats"),
        ("[{window: day, creds: 1}]", "limits.0.creds", "did you mean 'credits'?"),
    ],
)
def test_what_is_no_limit_of_end_users_is_refused(
    tmp_path: Path, limits: str, where: str, reason: str
) -> None:
    message = refused(tmp_path, f"orgs: [{{id: a, end_users: {{limits: {limits}}}}}]")
    assert f"orgs.0.end_users.{where}: " in message
    assert reason in message


def test_the_scope_s_own_limit_and_that_of_each_end_user_are_two() -> None:
    assert EACH.identity != replace(OF_TEAM, amount=EACH.amount).identity
    assert limit_identity(EACH, "UTC", 0) != limit_identity(OF_TEAM, "UTC", 0)
    assert limit_text(EACH) == "daily limit of each end user of team research"
    assert limit_text(EACH, "zoe") == "daily limit of end user zoe of team research"


@pytest.mark.parametrize("end_user", [None, "zoe", "a|b", "x@y.test", "é{}"])
def test_counters_are_found_again_by_their_names(end_user: str | None) -> None:
    name = CounterName("acme", Scope.TEAM, "research", None, None, Window.DAY, 7, end_user)
    assert CounterName.decoded(name.encoded()) == name
    each = replace(EACH, each_end_user=end_user is not None)
    assert name.identity("UTC", 0) == limit_identity(each, "UTC", 0)


def test_rules_without_them_are_published_as_before() -> None:
    plain = OrgRules("acme", limits=[OF_TEAM])
    assert "each_end_user" not in orjson.loads(plain.to_json())["limits"][0]
    both = OrgRules("acme", limits=[OF_TEAM, EACH])
    assert set(OrgRules.from_json(both.to_json(), 1).limits) == {OF_TEAM, EACH}


@pytest.mark.parametrize("name", ["zoe", "zoe@example.com", "u:1+2-3_4.5", "Z" * 128])
def test_a_name_that_a_counter_may_bear(name: str) -> None:
    assert attribution({"x-tollgate-user": name}, trusted=True).end_user == name


@pytest.mark.parametrize("name", ["zoe smith", "zoé", "-zoe", "z/z", "Z" * 129, "a|b"])
def test_other_names_are_recorded_but_carry_no_limit(name: str) -> None:
    assert attribution({"x-tollgate-user": name}).end_user == name
    with pytest.raises(BadRequest, match="x-tollgate-user: on this key"):
        attribution({"x-tollgate-user": name}, trusted=True)
