"""Credits over the API: given, bought, corrected, given back, and what the ledger says of it all."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.support.gateway import ADMIN_TOKEN, GatewayProcess
from tests.support.staffed import Answer, ask, key_of
from tests.support.staffed import staffed as staffed

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def gateway(staffed: GatewayProcess) -> GatewayProcess:
    return staffed


def post(gateway: GatewayProcess, path: str, body: Any, *, key: str = ADMIN_TOKEN, once: str = "") -> Answer:
    headers = {"idempotency-key": once or f"test-{next(_numbers)}"}
    return ask(gateway, "POST", path, key=key, body=body, headers=headers)


def get(gateway: GatewayProcess, path: str, *, key: str = ADMIN_TOKEN) -> Any:
    answer = ask(gateway, "GET", path, key=key)
    assert answer.status == 200, answer.body
    return answer.json()


def balance(gateway: GatewayProcess, org: str) -> str:
    """As the newest entry of the ledger says it."""
    items = get(gateway, f"/api/credits/ledger?org={org}&limit=1")["items"]
    return str(items[0]["balance_after"]["credits"]) if items else "0"


def test_a_grant_shows_in_the_ledger_and_can_be_listed(gateway: GatewayProcess) -> None:
    wanted = {
        "credits": "12.5",
        "reason": "welcome",
        "expires_at": "2099-12-31T01:00:00+01:00",
        "priority": 7,
    }
    answer = post(gateway, "/api/credits/grants?org=acme", wanted)
    assert answer.status == 201, answer.body
    grant = answer.json()
    assert "is not prepaid" in grant.pop("note")
    assert grant["amount"] == {"microcredits": 12_500_000, "credits": "12.5"}
    assert (grant["kind"], grant["expires_at"], grant["by"]) == ("promotion", "2099-12-31T00:00:00Z", "admin")
    listed = get(gateway, "/api/credits/grants?org=acme&alive=true", key=ADMIN_TOKEN)["items"]
    assert grant in listed
    (entry,) = [
        entry
        for entry in get(gateway, "/api/credits/ledger", key=key_of("auditor"))["items"]
        if entry["id"] == grant["transaction_id"]
    ]
    assert [(line["account"], line["amount"]["credits"]) for line in entry["lines"]] == [
        ("promo_expense", "-12.5"),
        ("customer_credit", "12.5"),
    ]


def test_the_same_key_grants_once(gateway: GatewayProcess) -> None:
    path, body = "/api/credits/grants?org=globex", {"credits": 5, "reason": "x"}
    first, again = (post(gateway, path, body, once="order-1") for _ in range(2))
    assert first.json() == again.json()
    other = post(gateway, path, {"credits": 6, "reason": "x"}, once="order-1")
    assert (other.status, other.json()["code"]) == (409, "idempotency_key_reused")
    assert len(get(gateway, "/api/credits/grants?org=globex")["items"]) == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"credits": "0", "reason": "x"}, "credits"),
        ({"credits": "-1", "reason": "x"}, "credits"),
        ({"credits": "1.0000001", "reason": "x"}, "credits"),
        ({"credits": "1", "reason": " "}, "reason"),
        ({"credits": "1", "reason": "x", "expires_at": "2099-01-01T00:00:01Z"}, "expires_at"),
        ({"credits": "1", "reason": "x", "expires_at": "2021-01-01T00:00:00Z"}, "expires_at"),
        ({"credits": "1", "reason": "x", "expires_at": "2099-01-01T00:00:00"}, "expires_at"),
    ],
)
def test_what_cannot_be_granted_is_refused_by_name(
    gateway: GatewayProcess, body: dict[str, Any], param: str
) -> None:
    answer = post(gateway, "/api/credits/grants?org=acme", body)
    assert (answer.status, answer.json()["param"]) == (400, param), answer.body


def test_an_organisation_that_is_not_there_is_neither_given_anything_nor_shown(
    gateway: GatewayProcess,
) -> None:
    given = post(gateway, "/api/credits/grants?org=acmee", {"credits": "1", "reason": "x"})
    limit = {"window": "day", "credits": "1"}
    limited = ask(gateway, "PUT", "/api/limits?org=acmee", key=ADMIN_TOKEN, body=limit)
    seen = [
        ask(gateway, "GET", f"/api/{path}?org=acmee", key=ADMIN_TOKEN)
        for path in ("credits/balance", "credits/ledger", "credits/usage", "credits/report", "limits")
    ]
    for answer in (given, limited, *seen):
        assert (answer.status, answer.json()["param"]) == (404, "org"), answer.body


def test_a_purchase_becomes_credits_when_it_is_confirmed_and_only_once(gateway: GatewayProcess) -> None:
    before = balance(gateway, "acme")
    bought = post(gateway, "/api/credits/purchase", {"credits": "1000"}, key=key_of("billing")).json()
    assert "is not prepaid" in bought["note"]
    assert (bought["status"], bought["price"]["text"]) == ("pending", "10.00 USD")
    assert bought["reference"] in bought["instructions"]
    assert balance(gateway, "acme") == before
    path = f"/api/credits/top-ups/{bought['id']}/confirm"
    assert post(gateway, path, {}, key=key_of("owner")).status == 403
    first, again = post(gateway, path, {"reason": "paid"}), post(gateway, path, {"reason": "paid"})
    assert first.json()["status"] == "confirmed"
    assert again.json()["grant_id"] == first.json()["grant_id"]
    assert float(balance(gateway, "acme")) == float(before) + 1000
    refused = post(gateway, f"/api/credits/top-ups/{bought['id']}/cancel", {})
    assert (refused.status, refused.json()["code"]) == (409, "top_up_not_pending")


def test_a_member_sees_and_cancels_only_top_ups_of_their_own(gateway: GatewayProcess) -> None:
    theirs = post(gateway, "/api/credits/purchase", {"credits": "3"}, key=key_of("owner")).json()["id"]
    mine = post(gateway, "/api/credits/purchase", {"credits": "2"}, key=key_of("member")).json()["id"]
    seen = get(gateway, "/api/credits/top-ups", key=key_of("member"))["items"]
    assert [top_up["id"] for top_up in seen] == [mine]
    path = f"/api/credits/top-ups/{theirs}/cancel"
    assert post(gateway, path, {}, key=key_of("member")).status == 404
    assert post(gateway, path, {}, key=key_of("owner", "globex")).status == 404
    cancelled = post(gateway, f"/api/credits/top-ups/{mine}/cancel", {}, key=key_of("member"))
    assert cancelled.json()["status"] == "cancelled"


def test_too_many_pending_top_ups_are_refused(gateway: GatewayProcess) -> None:
    answers = [
        post(gateway, "/api/credits/purchase", {"credits": "1"}, key=key_of("owner", "globex"))
        for _ in range(6)
    ]
    assert [answer.status for answer in answers] == [201] * 5 + [409]
    for answer in answers[:5]:
        post(gateway, f"/api/credits/top-ups/{answer.json()['id']}/cancel", {})


def test_pages_of_the_ledger_and_of_top_ups_meet_without_gap_or_overlap(gateway: GatewayProcess) -> None:
    for path in ("/api/credits/ledger", "/api/credits/top-ups", "/api/credits/grants"):
        whole = get(gateway, f"{path}?org=acme&limit=200")["items"]
        pieces, cursor = [], ""
        while cursor is not None:
            page = get(gateway, f"{path}?org=acme&limit=2{cursor}")
            pieces += page["items"]
            cursor = None if page["next_cursor"] is None else f"&cursor={page['next_cursor']}"
        assert pieces == whole


def test_a_statement_adds_up_and_is_tied_to_the_ledger(gateway: GatewayProcess) -> None:
    post(gateway, "/api/credits/adjustments?org=acme", {"credits": "-2.25", "reason": "mistake"})
    found = get(gateway, "/api/credits/statement", key=key_of("billing"))
    micro = {name: part["microcredits"] for name, part in found.items() if isinstance(part, dict)}
    assert micro["closing"] == (
        micro["opening"] + micro["purchases"] + micro["grants"] + micro["refunds"] + micro["adjustments"]
        - micro["usage"] - micro["expiry"]
    )  # fmt: skip
    assert micro["adjustments"] == -2_250_000
    assert found["closing"]["credits"] == balance(gateway, "acme")
    entries = get(gateway, "/api/credits/ledger?org=acme&kind=adjustment")["items"]
    (line,) = [line for line in found["lines"] if line["kind"] == "adjustment"]
    assert (line["first_id"], line["transactions"]) == (entries[-1]["id"], len(entries))
    assert get(gateway, "/api/credits/statement?org=acme&month=2025-02")["closing"]["credits"] == "0"


def test_a_purchase_is_refunded_as_far_as_it_is_left(gateway: GatewayProcess) -> None:
    bought = post(gateway, "/api/credits/purchase?org=globex", {"credits": "10"}).json()["id"]
    confirmed = post(gateway, f"/api/credits/top-ups/{bought}/confirm", {}).json()
    (grant,) = [
        grant
        for grant in get(gateway, "/api/credits/grants?org=globex")["items"]
        if grant["id"] == confirmed["grant_id"]
    ]
    wanted = {"transaction_id": grant["transaction_id"], "credits": "4", "reason": "changed their mind"}
    entry = post(gateway, "/api/credits/refunds?org=globex", wanted).json()
    assert (entry["kind"], entry["change"]["credits"]) == ("refund", "-4")
    too_much = post(gateway, "/api/credits/refunds?org=globex", {**wanted, "credits": "7"})
    assert (too_much.status, too_much.json()["param"]) == (409, "credits")
    elsewhere = post(gateway, "/api/credits/refunds?org=acme", wanted)
    assert elsewhere.status == 404
