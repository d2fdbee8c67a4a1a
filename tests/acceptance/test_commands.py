"""What an operator does on the command line, against a gateway that runs."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateway import TOLLGATE, GatewayProcess


def call(gateway: GatewayProcess, key: str, **headers: str) -> tuple[int, dict[str, str]]:
    """One chat call; its status and headers. ``headers``: of attribution, by their names after ``x-tollgate-``."""
    request = urllib.request.Request(
        f"{gateway.openai_base}/chat/completions",
        data=json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}).encode(),
        headers={
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
            **{f"x-tollgate-{name}": value for name, value in headers.items()},
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers)
    except urllib.error.HTTPError as refused:
        return refused.code, dict(refused.headers)


def refused(gateway: GatewayProcess, *words: str) -> str:
    with pytest.raises(AssertionError) as failed:
        gateway.command(*words)
    return str(failed.value)


def test_a_created_key_works_at_once_is_listed_by_its_prefix_and_stops_when_revoked(
    gateway: GatewayProcess,
) -> None:
    key = gateway.command("keys", "create", "--org", "acme", "--user", "ada", "--name", "a laptop").strip()
    assert call(gateway, key)[0] == 200
    listing = gateway.command("keys", "list", "--org", "acme")
    [line] = [line for line in listing.splitlines() if "a laptop" in line]
    assert key not in listing
    assert key[:9] in line
    assert line.split()[2:5] == ["acme", "research", "ada"], "it counts for the only team of its user"
    gateway.command("keys", "revoke", line.split()[0])
    status, headers = call(gateway, key)
    assert (status, headers["x-tollgate-error"]) == (401, "revoked_api_key")
    assert "revoked" in gateway.command("keys", "list", "--org", "acme")


def test_a_key_of_the_file_is_read_only_to_the_command_line(gateway: GatewayProcess) -> None:
    assert "limits.yaml" in refused(gateway, "keys", "revoke", "main")


def test_a_limit_set_by_command_counts_what_was_spent_before_it_and_can_be_taken_away(
    gateway: GatewayProcess,
) -> None:
    key = gateway.command("keys", "create", "--org", "acme", "--user", "eve", "--name", "limited").strip()
    _, before = call(gateway, key)
    gateway.command("limits", "set", "acme", "--user", "eve", "--window", "day", "--credits", "0.001")
    wait_until_limited(gateway, "eve", "0.001")
    status, headers = call(gateway, key)
    assert (status, headers["x-tollgate-error"]) == (402, "budget_exceeded")
    [line] = [line for line in gateway.command("limits", "list").splitlines() if "user eve" in line]
    assert line.split()[5] == "0.001"
    assert line.split()[6] == before["x-tollgate-credits"]
    gateway.command("limits", "remove", "acme", "--user", "eve", "--window", "day")
    assert "no such limit" in refused(gateway, "limits", "remove", "acme", "--user", "eve", "--window", "day")


@pytest.mark.parametrize("model", ["models/*", "publishers/google/*"])
def test_a_limit_whose_model_would_be_all_or_none_is_refused(gateway: GatewayProcess, model: str) -> None:
    limit = ("acme", "--user", "eve", "--window", "week", "--model", model)
    assert "--model" in refused(gateway, "limits", "set", *limit, "--credits", "1")


def test_each_end_user_of_a_trusted_key_has_a_limit_of_their_own(gateway: GatewayProcess) -> None:
    make = ("keys", "create", "--org", "acme", "--user", "gil", "--name")
    trusted = gateway.command(*make, "app", "--trusted-attribution").strip()
    other = gateway.command(*make, "script").strip()
    status, before = call(gateway, trusted, user="zoe")
    assert status == 200
    each = ("acme", "--user", "gil", "--end-users", "--window", "day")
    assert "use another window" in refused(gateway, "limits", "set", *each[:-1], "total", "--credits", "1")
    gateway.command("limits", "set", *each, "--credits", "0.001")
    for _ in range(200):  # in force within a second
        status, headers = call(gateway, trusted, user="zoe")
        if status == 402:
            break
    assert headers["x-tollgate-error"] == "budget_exceeded"
    assert call(gateway, trusted)[0] == 200, "nobody is named"
    assert call(gateway, other, user="zoe")[0] == 200, "this key's word is not taken"
    assert call(gateway, trusted, user="z o e")[0] == 400
    listing = gateway.command("limits", "list", "--end-users").splitlines()
    [of_all] = [line for line in listing if "user gil, each end user" in line]
    assert of_all.split()[-3:] == ["1", "end", "users"]
    [of_zoe] = [line for line in listing if "user gil, zoe" in line]
    assert float(of_zoe.split()[7]) >= float(before["x-tollgate-credits"])
    assert "drift 0" in gateway.command("reconcile")
    gateway.command("limits", "remove", *each)


def test_what_costs_nothing_passes_a_limit_that_is_overdrawn(gateway: GatewayProcess) -> None:
    key = gateway.command("keys", "create", "--org", "acme", "--user", "bob", "--name", "overdrawn").strip()
    assert call(gateway, key)[0] == 200
    gateway.command("limits", "set", "acme", "--user", "bob", "--window", "day", "--credits", "0.000001")
    wait_until_limited(gateway, "bob", "0.000001")
    request = urllib.request.Request(
        f"{gateway.openai_base}/models", headers={"authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200
        assert answer.headers["x-tollgate-remaining"] == "0"
        [row] = gateway.rows(request_id=answer.headers["x-tollgate-request-id"])
    assert (row["credits_microcredits"], row["usage_source"], row["status"]) == (0, "none", "ok")


def wait_until_limited(gateway: GatewayProcess, user: str, limit: str) -> None:
    """Until the refusal that the limit causes shows; bounded by the gateway's own promise of a second."""
    key = gateway.command("keys", "create", "--org", "acme", "--user", user, "--name", "probe").strip()
    for _ in range(200):
        if call(gateway, key)[0] == 402:
            return
    raise AssertionError(f"the limit of {limit} credits is not in force after 200 calls")


def test_a_limit_that_the_file_declares_is_changed_there(gateway: GatewayProcess) -> None:
    said = refused(gateway, "limits", "set", "acme", "--window", "month", "--credits", "1")
    assert "limits.yaml" in said
    assert "change it there" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("limits", "set", "acme", "--window", "day", "--credits", "-1"), "negative"),
        (("limits", "set", "acme", "--window", "day", "--credits", "1", "--grace-percent", "5"), "together"),
        (("keys", "create", "--org", "acme", "--name", "x", "--expires", "tomorrow"), "--expires"),
        (("keys", "create", "--org", "a b", "--name", "x"), "org"),
        (("keys", "revoke", "nobody"), "nobody"),
        (("holds", "release", "nothing", "--reason", "x"), "nothing"),
        (("credits", "grant", "acme", "0.0000001"), "6 decimals"),
        (("audit", "verify", "--head", "5d1f"), "64 hexadecimal digits"),
        (("report", "acme", "--day", "tomorrow"), "a date like 2026-11-22"),
        (("report", "acme", "--day", "9999-12-31"), "between the years 2020 and 2200"),
        (("credits", "grant", "acme", "5", "--expires", "9999-12-31"), "between the years 2020 and 2200"),
        (("credits", "grant", "acme", "5", "--expires", "0001-01-01T00:00:00+14:00"), "between the years"),
        (("keys", "create", "--org", "acme", "--name", "x", "--expires", "9999-12-31"), "between the years"),
        (("credits", "grant", "nope", "5"), "no organisation 'nope'"),
        (("credits", "adjust", "nope", "5", "--reason", "x"), "no organisation 'nope'"),
        (("credits", "refund", "nope", "1", "--reason", "x"), "no organisation 'nope'"),
        (("credits", "show", "nope"), "no organisation 'nope'"),
        (("credits", "ledger", "nope"), "no organisation 'nope'"),
        (("credits", "statement", "nope"), "no organisation 'nope'"),
        (("credits", "statement", "acme", "--month", "2026-13"), "a month like 2026-11"),
        (("limits", "set", "nope", "--window", "day", "--credits", "1"), "no organisation 'nope'"),
        (("report", "nope"), "no organisation 'nope'"),
        (("usage", "rebuild", "nope"), "no organisation 'nope'"),
        *(
            ((*what, "list", "--org", "nope"), "no organisation 'nope'")
            for what in (["alerts"], ["webhooks"], ["people"], ["teams"], ["keys"], ["credits", "top-ups"])
        ),
        (("prices", "show", "no-such-model"), "no-such-model"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(
    gateway: GatewayProcess, words: tuple[str, ...], said: str
) -> None:
    message = refused(gateway, *words)
    assert said in message
    assert "Traceback" not in message


def test_a_grant_with_the_same_idempotency_key_adds_once(gateway: GatewayProcess) -> None:
    gateway.command("orgs", "create", "prepaid-org", "--prepaid", "yes")
    for _ in range(2):
        gateway.command("credits", "grant", "prepaid-org", "2.5", "--idempotency-key", "invoice-7")
    assert "2.5 credits left of 2.5" in gateway.command("credits", "show", "prepaid-org")


def test_a_grant_that_cannot_be_spent_says_so(gateway: GatewayProcess) -> None:
    gateway.command("orgs", "create", "postpaid-org")
    assert "is not prepaid" in gateway.command("credits", "grant", "postpaid-org", "2.5")
    gateway.command("orgs", "change", "postpaid-org", "--prepaid", "yes")
    assert "is not prepaid" not in gateway.command("credits", "grant", "postpaid-org", "2.5")


def test_no_calls_in_flight_hold_nothing_and_the_books_agree(gateway: GatewayProcess) -> None:
    assert gateway.command("holds", "list").strip() == "no calls in flight"
    assert gateway.command("reconcile").splitlines()[-1] == "drift 0"


def test_a_second_migration_has_nothing_to_do(gateway: GatewayProcess) -> None:
    assert "nothing to do" in gateway.command("migrate")


def test_prices_are_shown_with_where_they_come_from(gateway: GatewayProcess) -> None:
    shown = gateway.command("prices", "show", "gpt-4o-mini")
    assert "input 0.15" in shown
    assert "genai-prices" in shown


@pytest.mark.parametrize(
    ("path", "model", "said"),
    [
        ("/chat/completions", "gpt-4o-mini", "Did you mean /v1/chat/completions?"),
        ("/v1/chat/completions", "claude-sonnet-4-5", "anthropic (/anthropic/…)"),
    ],
)
def test_a_call_to_the_wrong_address_is_told_the_right_one(
    gateway: GatewayProcess, path: str, model: str, said: str
) -> None:
    document = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}
    request = urllib.request.Request(gateway.base + path, json.dumps(document).encode(), headers)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=30)
    with refusal.value as answer:
        assert (answer.code, said in json.load(answer)["error"]["message"]) == (403, True)


def test_a_quote_bounds_the_call_that_follows(gateway: GatewayProcess) -> None:
    body: dict[str, Any] = {
        "model": "gpt-4o-mini",
        "max_tokens": 20,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    request = urllib.request.Request(
        f"{gateway.base}/api/credits/quote",
        data=json.dumps({"path": "/v1/chat/completions", "body": body}).encode(),
        headers={"authorization": f"Bearer {gateway.key}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        quoted = json.load(answer)
    _, headers = call(gateway, gateway.key)
    assert 0 < float(headers["x-tollgate-credits"]) <= float(quoted["credits_max"])
    assert quoted["output_tokens_max"] == 20


def test_a_quote_that_comes_in_pieces_is_read_to_its_end(gateway: GatewayProcess) -> None:
    body = json.dumps(
        {
            "path": "/v1/chat/completions",
            "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]},
        }
    ).encode()

    class Pieces:
        """What urllib sends one by one."""

        def __iter__(self) -> Iterator[bytes]:
            return iter((body[:20], body[20:]))

    request = urllib.request.Request(
        f"{gateway.base}/api/credits/quote",
        data=Pieces(),
        headers={"authorization": f"Bearer {gateway.key}", "content-length": str(len(body))},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["model"] == "gpt-4o-mini"
        assert answer.headers["x-tollgate-request-id"]


@pytest.mark.parametrize(
    ("of", "warned"),
    [
        (("--org", "acmee"), "no organisation 'acmee'"),
        (("--org", "acme", "--team", "reserach"), "no team 'reserach'"),
        (("--org", "acme", "--team", "research"), None),
    ],
)
def test_a_key_whose_organisation_or_team_is_nowhere_is_warned_of(
    gateway: GatewayProcess, of: tuple[str, ...], warned: str | None
) -> None:
    words = [str(TOLLGATE), "keys", "create", "--config", str(gateway.config), "--name", "x", *of]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    if warned is None:
        assert "warning" not in done.stderr
    else:
        assert f"warning: there is {warned}" in done.stderr
