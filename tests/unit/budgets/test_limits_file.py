"""limits.yaml is taken whole or refused with file, path and reason."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.budgets.directory import Directory
from gateway.budgets.model import Grace, Limit, Scope, Window
from gateway.errors import ConfigError
from gateway.settings.limits import load_limits, parse_microcredits

EXAMPLE = Path(__file__).parents[3] / "config" / "limits.yaml"
DIGEST = "ab" * 32
OTHER_DIGEST = "cd" * 32


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_limits(path)
    assert str(path) in error.value.message
    return error.value.message


def test_the_example_says_what_its_comments_promise() -> None:
    directory = Directory.compile(load_limits(EXAMPLE), version=7)
    acme = directory.orgs["acme"]
    assert (directory.credit_usd, acme.version, acme.calendar.time_zone) == (
        Decimal("0.01"),
        7,
        "Europe/Paris",
    )
    assert acme.limits[0] == Limit(Scope.ORG, "acme", Window.MONTH, 50_000_000_000)
    assert Limit(Scope.TEAM, "research", Window.DAY, 200_000_000, "image") in acme.limits
    assert Limit(Scope.TEAM, "research", Window.DAY, 5_000_000_000, None, None, Grace(5, 60)) in acme.limits
    assert [limit.window for limit in acme.limits if not limit.enforce] == [Window.WEEK]
    batch, laptop = directory.keys
    assert (laptop.subject.team, laptop.subject.user, laptop.subject.key) == ("research", "ada", "ada-laptop")
    assert (laptop.requests_per_minute, laptop.open_calls_max) == (120, 10)
    assert laptop.expires_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert (batch.subject.team, batch.subject.user, batch.trusted_attribution) == ("research", None, True)


def test_users_and_keys_may_hang_anywhere_above_their_usual_place(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(
        f"""
        orgs:
          - id: acme
            users: [{{id: bob, keys: [{{id: bob-key, sha256: {DIGEST}}}]}}]
            keys: [{{id: org-key, sha256: {OTHER_DIGEST}}}]
        """
    )
    keys = Directory.compile(load_limits(path), 1).keys
    assert [(key.id, key.subject.team, key.subject.user) for key in keys] == [
        ("org-key", None, None),
        ("bob-key", None, "bob"),
    ]


@pytest.mark.parametrize(
    ("written", "microcredits"),
    [
        (0, 0),
        (1, 1_000_000),
        ("0.000001", 1),
        (0.1, 100_000),
        ("9007199254.740992", 2**53),
        (12.5, 12_500_000),
        ("1e6", 10**12),  # what YAML makes of 1e6 without quotes
    ],
)
def test_amounts_are_exact(written: object, microcredits: int) -> None:
    assert parse_microcredits(written) == microcredits


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (-1, "not negative"),
        ("0.0000001", "six decimals"),
        ("9007199254.740993", "at most"),
        (True, "number"),
        ("a lot", "number"),
        (float("nan"), "number"),
        (float("inf"), "number"),
        (None, "number"),
        ("1e400", "at most"),
        ("1e99999999999999999999", "number"),
        ("1_000", "number"),
        ("\uff11\uff12", "number"),
        (" 7 ", "number"),
        ("+5", "number"),
    ],
)
def test_amounts_that_are_none_are_refused(written: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_microcredits(written)


@pytest.mark.parametrize(
    ("text", "where", "reason"),
    [
        ("orgs: [{id: a, limits: [{window: year, credits: 1}]}]", "orgs.0.limits.0.window", "'day'"),
        ("orgs: [{id: a, limits: [{window: day, credits: 1e12}]}]", "orgs.0.limits.0.credits", "2^53"),
        ("orgs: [{id: a, limits: [{window: day, credits: -5}]}]", "orgs.0.limits.0.credits", "not negative"),
        ("orgs: [{id: a, limits: [{window: day}]}]", "orgs.0.limits.0.credits", "is required"),
        ("orgs: [{id: a, limit: []}]", "orgs.0.limit", "unknown key"),
        ("orgs: [{id: a, time_zone: Mars/Olympus}]", "orgs.0.time_zone", "IANA"),
        ("orgs: [{id: a, time_zone: ../etc}]", "orgs.0.time_zone", "IANA"),
        ("orgs: [{id: a, time_zone: localtime}]", "orgs.0.time_zone", "write a place such as Europe/Paris"),
        ("orgs: [{id: a, time_zone: Factory}]", "orgs.0.time_zone", "IANA"),
        ("orgs: [{id: a, time_zone: posix/Europe/Paris}]", "orgs.0.time_zone", "IANA"),
        ("orgs: [{id: a, time_zone: right/Europe/Paris}]", "orgs.0.time_zone", "IANA"),
        ("orgs: [{id: a, time_zone: posixrules}]", "orgs.0.time_zone", "IANA"),
        ("orgs: [{id: 'a|b'}]", "orgs.0.id", "match"),
        ("orgs: [{id: a, keys: [{id: k, sha256: sk-live-secret}]}]", "orgs.0.keys.0.sha256", "SHA-256"),
        ("orgs: [{id: a}, {id: a}]", "orgs.1.id", "already used at orgs.0.id"),
        (
            "orgs: [{id: a, teams: [{id: t}, {id: t}]}]",
            "orgs.0.teams.1.id",
            "team id 't' is already used at orgs.0.teams.0.id",
        ),
        (
            "orgs: [{id: a, users: [{id: u}], teams: [{id: t, users: [{id: u}]}]}]",
            "orgs.0.teams.0.users.0.id",
            "user id 'u' is already used",
        ),
        (
            f"orgs: [{{id: a, keys: [{{id: k, sha256: {DIGEST}}}]}}, "
            f"{{id: b, keys: [{{id: j, sha256: {DIGEST.upper()}}}]}}]",
            "orgs.1.keys.0.sha256",
            "this digest is already used",
        ),
        (
            f"orgs: [{{id: a, keys: [{{id: k, sha256: {DIGEST}}}, {{id: k, sha256: {OTHER_DIGEST}}}]}}]",
            "orgs.0.keys.1.id",
            "key id 'k' is already used",
        ),
        (
            "orgs: [{id: a, limits: [{window: day, credits: 1}, {window: day, credits: 2}]}]",
            "orgs.0.limits.1",
            "repeats",
        ),
        (
            "orgs: [{id: a, limits: [{window: day, credits: 1, grace: {percent: 0, minutes: 5}}]}]",
            "orgs.0.limits.0.grace.percent",
            "greater than or equal to 1",
        ),
        ("credit_usd: 0", "credit_usd", "positive"),
        ("orgs: 3", "orgs", "must be a list"),
    ],
)
def test_mistakes_are_named_with_path_and_reason(tmp_path: Path, text: str, where: str, reason: str) -> None:
    message = refused(tmp_path, text)
    assert f": {where}: " in message
    assert reason in message
    assert "secret" not in message


def test_the_same_limit_on_another_operation_is_another_limit(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(
        "orgs: [{id: a, limits: [{window: day, credits: 1}, {window: day, credits: 2, operation: image}]}]"
    )
    assert len(load_limits(path).orgs[0].limits) == 2
