"""A provider's keys are shared by weight; one that was told to wait rests, and is never the reason for a refusal."""

from __future__ import annotations

from collections import Counter

from pydantic import SecretStr

from gateway.proxy.upstream_keys import REST_S_DEFAULT, REST_S_MAX, UpstreamKeys
from gateway.settings.providers import UpstreamKey


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def key(name: str, weight: int = 1, *orgs: str) -> UpstreamKey:
    return UpstreamKey(api_key=SecretStr(name), weight=weight, orgs=orgs)


def chosen(keys: UpstreamKeys, times: int, org: str = "acme") -> Counter[str | None]:
    return Counter(keys.choose(org) for _ in range(times))


def test_a_provider_without_keys_is_called_without_one() -> None:
    assert UpstreamKeys([], Clock()).choose("acme") is None


def test_keys_are_used_in_proportion_to_their_weights() -> None:
    keys = UpstreamKeys([key("a", 3), key("b", 1)], Clock())
    assert chosen(keys, 400) == {"a": 300, "b": 100}


def test_turns_are_spread_rather_than_taken_in_a_row() -> None:
    keys = UpstreamKeys([key("a", 2), key("b", 1)], Clock())
    order = [keys.choose("acme") for _ in range(6)]
    assert all("b" in order[at : at + 3] for at in (0, 3))


def test_a_key_that_was_told_to_wait_rests_so_long() -> None:
    clock = Clock()
    keys = UpstreamKeys([key("a"), key("b")], clock)
    keys.rest("a", b"30")
    assert chosen(keys, 10) == {"b": 10}
    clock.now_s += 30
    assert set(chosen(keys, 10)) == {"a", "b"}


def test_a_retry_after_that_is_absent_or_a_date_or_absurd_is_bounded() -> None:
    clock = Clock()
    for retry_after, rest_s in (
        (None, REST_S_DEFAULT),
        (b"Wed, 21 Oct", REST_S_DEFAULT),
        (b"99999", REST_S_MAX),
    ):
        keys = UpstreamKeys([key("a"), key("b")], clock)
        keys.rest("a", retry_after)
        clock.now_s += rest_s - 1
        assert chosen(keys, 4) == {"b": 4}
        clock.now_s += 1
        assert set(chosen(keys, 4)) == {"a", "b"}


def test_when_all_rest_the_one_that_rests_least_is_used() -> None:
    keys = UpstreamKeys([key("a"), key("b")], Clock())
    keys.rest("a", b"60")
    keys.rest("b", b"10")
    assert keys.choose("acme") == "b"


def test_an_org_with_keys_of_its_own_uses_those_only() -> None:
    keys = UpstreamKeys([key("shared"), key("own", 1, "acme")], Clock())
    assert chosen(keys, 5) == {"own": 5}
    assert chosen(keys, 5, "other") == {"shared": 5}


def test_an_org_gets_no_key_meant_for_another() -> None:
    keys = UpstreamKeys([key("own", 1, "acme")], Clock())
    assert keys.choose("other") is None


def test_a_retry_after_that_is_not_a_number_puts_no_key_to_rest_for_ever() -> None:
    clock = Clock()
    keys = UpstreamKeys([key("a"), key("b")], clock)
    keys.rest("a", b"nan")
    clock.now_s += REST_S_MAX
    assert chosen(keys, 10) == {"a": 5, "b": 5}
