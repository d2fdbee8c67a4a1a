"""Which limits count a request, and who may use what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budgets.directory import Directory, OrgRules
from gateway.budgets.keyspace import CounterName, decode, encode, partition_of
from gateway.budgets.model import Grace, Limit, Scope, Subject, Window
from gateway.budgets.selection import model_matches
from gateway.budgets.windows import Weekday
from gateway.budgets.wording import credits_text
from gateway.errors import ConfigError, NotAllowed
from gateway.settings.limits import LimitsFile
from tests.unit.budgets.making import ADA, limit_on

LIMITS = st.builds(
    Limit,
    st.sampled_from(list(Scope)),
    st.text(min_size=1),
    st.sampled_from(list(Window)),
    st.integers(0, 2**53),
    st.none() | st.sampled_from(["chat", "image"]),
    st.none() | st.text(min_size=1),
    st.none() | st.builds(Grace, st.integers(1, 100), st.integers(1, 1000)),
    st.booleans(),
)


@given(st.lists(LIMITS), st.sampled_from(list(Weekday)), st.booleans())
def test_rules_survive_being_published(limits: list[Limit], week_start: Weekday, balance: bool) -> None:
    rules = OrgRules(
        "acme", limits=limits, time_zone="Asia/Kolkata", week_start=week_start, balance_required=balance
    )
    read = OrgRules.from_json(rules.to_json(), version=9)
    assert sorted(read.limits, key=repr) == sorted(limits, key=repr)
    assert (read.version, read.balance_required) == (9, balance)
    assert (read.calendar.time_zone, read.calendar.week_start) == ("Asia/Kolkata", week_start)
    assert read.to_json() == rules.to_json()


@given(st.lists(LIMITS, unique=True))
def test_equal_rules_in_any_order_are_the_same_document(limits: list[Limit]) -> None:
    assert OrgRules("a", limits=limits).to_json() == OrgRules("a", limits=limits[::-1]).to_json()


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"org": "a", "limits": [{}]}'])
def test_a_document_that_is_none_is_refused(document: bytes) -> None:
    with pytest.raises(ConfigError):
        OrgRules.from_json(document, version=1)


def test_limits_come_nearest_scope_and_shortest_window_first() -> None:
    limits = [
        limit_on(Scope.ORG, "acme", 1, Window.DAY),
        limit_on(Scope.TEAM, "research", 1, Window.MONTH),
        limit_on(Scope.TEAM, "research", 1, Window.DAY),
        limit_on(Scope.KEY, "ada-laptop", 1, Window.TOTAL),
        limit_on(Scope.USER, "ada", 1, Window.WEEK),
    ]
    found = OrgRules("acme", limits=limits).limits_for(ADA, "chat", "gpt-4o")
    assert [(limit.scope, limit.window) for limit in found] == [
        (Scope.KEY, Window.TOTAL),
        (Scope.USER, Window.WEEK),
        (Scope.TEAM, Window.DAY),
        (Scope.TEAM, Window.MONTH),
        (Scope.ORG, Window.DAY),
    ]


def test_a_service_key_meets_no_limits_of_users_or_teams() -> None:
    limits = [limit_on(Scope.USER, "ada", 1), limit_on(Scope.TEAM, "research", 1)]
    rules = OrgRules("acme", limits=limits)
    assert rules.limits_for(Subject("acme", None, None, "service"), "chat", "gpt-4o") == ()


@pytest.mark.parametrize(
    ("wildcard", "model", "matches"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4*", "gpt-4o-mini", True),
        ("*", "", True),
        ("*-mini", "gpt-4o-mini", True),
        ("g*4*i", "gpt-4o-mini", True),
        ("gpt.4*", "gpt-4o", False),
        ("a*b", "a\nb", True),
        ("ab*ba", "aba", False),
        ("a*a", "a", False),
        ("a**c", "abc", True),
        ("gpt-4o", "GPT-4o", True),
        ("Qwen/*", "qwen/qwen3", True),
        ("gemini-2.5-pro", "models/gemini-2.5-pro", True),
        ("models/gemini-*", "gemini-2.5-pro", True),
        ("gemini-2.5-pro", "publishers/google/models/gemini-2.5-pro", True),
        ("publishers/google/models/gemini-*", "gemini-2.5-pro", True),
        ("gemini-2.5-pro", "models/models/gemini-2.5-pro", False),
        ("gemini-2.5-pro", "tunedModels/gemini-2.5-pro", False),
        ("*b*b*", "ab", False),
        ("*b*b*", "abb", True),
        ("*" + "a*" * 99 + "b", "a" * 256, False),
    ],
)
def test_model_wildcards(wildcard: str, model: str, matches: bool) -> None:
    assert model_matches(wildcard, model) is matches


ALLOWING = {
    "orgs": [
        {
            "id": "acme",
            "allowed_operations": ["chat"],
            "teams": [
                {
                    "id": "research",
                    "allowed_models": ["gpt-*"],
                    "users": [{"id": "ada", "keys": [{"id": "ada-laptop", "sha256": "ab" * 32}]}],
                }
            ],
        }
    ]
}


def test_every_allow_list_above_a_key_must_agree() -> None:
    directory = Directory.compile(LimitsFile.model_validate(ALLOWING), 1)
    directory.check_allowed(ADA, "chat", "gpt-4o")
    with pytest.raises(NotAllowed, match="org acme may not use the operation image"):
        directory.check_allowed(ADA, "image", "gpt-4o")
    with pytest.raises(NotAllowed, match="team research may not use this model"):
        directory.check_allowed(ADA, "chat", "claude-opus")


@given(st.text())
def test_encoded_names_have_no_separators_and_come_back(name: str) -> None:
    encoded = encode(name)
    assert decode(encoded) == name
    assert not set(encoded) & set(" |{}\r\n")


@given(st.text(min_size=1), st.text(min_size=1), st.none() | st.text(min_size=1))
def test_counter_names_come_back_from_their_keys(org: str, scope_id: str, model: str | None) -> None:
    name = CounterName(org, Scope.USER, scope_id, None, model, Window.WEEK, 1_800_000_000_000_000)
    assert CounterName.decoded(name.encoded()) == name


def test_orgs_keep_their_partitions() -> None:
    """Written down: another answer would lose the counters of every installation."""
    assert [partition_of(org, 16) for org in ("acme", "globex", "initech")] == [0, 7, 3]


@pytest.mark.parametrize(
    ("microcredits", "text"),
    [(0, "0"), (1, "0.000001"), (12_500_000, "12.5"), (-250_000, "-0.25"), (2**53, "9007199254.740992")],
)
def test_credits_are_written_exactly(microcredits: int, text: str) -> None:
    assert credits_text(microcredits) == text
