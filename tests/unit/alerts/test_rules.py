"""Retries, signatures, unusual hours and ladders of levels: rules without any store."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from standardwebhooks import Webhook

from gateway.alerts.anomaly import LEAST, same_hours, unusual
from gateway.alerts.retrying import ATTEMPTS_MAX, wait_after
from gateway.alerts.signing import headers, new_secret, secret_bytes
from gateway.alerts.webhook import retry_after_s
from gateway.budgets.levels import Ladder, Told, balance_reached
from gateway.budgets.model import Limit, Scope, Window

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(1, 5), (2, 300), (3, 1800), (4, 7200), (5, 18000), (6, 36000), (7, 50400), (8, 72000), (9, 86400)],
)
def test_waits_grow_and_are_up_to_a_tenth_longer(attempts: int, seconds: int) -> None:
    assert wait_after(attempts, jitter=lambda: 0.0) == timedelta(seconds=seconds)
    assert wait_after(attempts, jitter=lambda: 1.0) == timedelta(seconds=seconds * 1.1)


def test_the_tenth_attempt_is_the_last() -> None:
    assert ATTEMPTS_MAX == 10
    assert wait_after(10) is None
    assert wait_after(10, retry_after_s=60) is None


@pytest.mark.parametrize(("asked", "waited"), [(2, 5), (60, 60), (86_400 * 30, 86_400)])
def test_a_receiver_may_ask_for_longer_but_not_for_shorter_nor_for_ever(asked: float, waited: float) -> None:
    assert wait_after(1, asked, lambda: 0.0) == timedelta(seconds=waited)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        ("Sun, 22 Nov 2026 12:02:00 GMT", 120.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("9" * 400, 9_999_999_999.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, NOW) == seconds


def test_signatures_are_those_of_standard_webhooks_one_for_each_secret() -> None:
    now, body, secrets = datetime.now(UTC), b'{"type":"x"}', [new_secret(), new_secret()]
    made = headers("msg_1", now, body, secrets)
    for secret in secrets:
        assert Webhook(secret).verify(body, made) == {"type": "x"}
    with pytest.raises(Exception, match="signature"):
        Webhook(new_secret()).verify(body, made)


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_not base64", "whsec_" + base64.b64encode(b"x" * 23).decode(),
     "whsec_" + base64.b64encode(b"x" * 65).decode(), base64.b64encode(b"x" * 32).decode()],
)  # fmt: skip
def test_a_secret_has_a_prefix_and_24_to_64_bytes(secret: str) -> None:
    with pytest.raises(ValueError, match="must be whsec_"):
        secret_bytes(secret)


@pytest.mark.parametrize(
    ("spent", "before", "told"),
    [
        (LEAST, [0] * 8, True),
        (LEAST - 1, [0] * 8, False),
        (LEAST * 10, [0] * 3, False),  # too little is known
        (LEAST * 10, [0] * 4, True),
        (LEAST * 9, [LEAST * 3] * 8, True),
        (LEAST * 9 - 1, [LEAST * 3] * 8, False),  # not three times the median
        (LEAST * 9, [LEAST] * 7 + [LEAST * 9], False),  # there was such an hour before
    ],
)
def test_an_hour_is_unusual_by_its_own_weekday_and_hour(spent: int, before: list[int], told: bool) -> None:
    assert (unusual(spent, before) is not None) is told


def test_the_same_hour_is_that_of_the_clock_on_the_wall() -> None:
    paris = ZoneInfo("Europe/Paris")
    found = same_hours(
        datetime(2026, 11, 2, 9, tzinfo=UTC), paris
    )  # 10 o'clock, a week after clocks went back
    assert [at.astimezone(paris).hour for at in found] == [10] * 8
    assert found[0] == datetime(2026, 10, 26, 9, tzinfo=UTC)
    assert found[1] == datetime(2026, 10, 19, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("amount", "settled", "told", "reached"),
    [
        (1000, 749, Told(), ()),
        (1000, 750, Told(), (75,)),
        (1000, 999, Told(75, 1000), (90,)),
        (1000, 1000, Told(), (75, 90, 100)),
        (1000, 1000, Told(100, 1000), ()),
        (1000, 1000, Told(100, 2000), (75, 90, 100)),  # of another amount: anew
        (7, 5, Told(), ()),  # 75 % of 7 is 5.25: reached by 6
        (7, 6, Told(), (75,)),
    ],
)
def test_a_level_is_reached_at_its_share_of_the_limit_rounded_up(
    amount: int, settled: int, told: Told, reached: tuple[int, ...]
) -> None:
    ladder = Ladder.of(Limit(Scope.ORG, "acme", Window.DAY, amount), (75, 90, 100))
    assert ladder is not None
    assert ladder.reached(settled, told) == reached


def test_a_limit_of_nothing_has_no_levels() -> None:
    assert Ladder.of(Limit(Scope.ORG, "acme", Window.DAY, 0), (75, 90, 100)) is None


def test_a_balance_is_measured_by_what_the_last_top_up_left() -> None:
    assert balance_reached(1000, 251, (75, 90), Told()) == ()
    assert balance_reached(1000, 250, (75, 90), Told()) == (75,)
    assert balance_reached(1000, -5, (75, 90, 100), Told(75, 1000)) == (90, 100)
    assert balance_reached(0, -5, (75,), Told()) == ()
