"""What somebody sends who means harm: forged cursors, odd credentials and amounts, other people's ids and keys."""

from __future__ import annotations

import base64
import json
import socket
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.support.gateway import GatewayProcess
from tests.support.staffed import Answer, ask, key_of, staffed

__all__ = ["staffed"]

CALL = {"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello"}]}
TOO_EARLY, TOO_LATE = "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"
ENDLESS = ("1e999999999", "-1e999999999", "NaN", "Infinity", "1e308")


def cursor(*position: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).rstrip(b"=").decode()


def owner(gateway: GatewayProcess, method: str, path: str, body: object = None) -> Answer:
    return ask(gateway, method, path, key=key_of("owner"), body=body)


def used(gateway: GatewayProcess, key: str, conversation: str) -> None:
    """One metered call whose row is written."""
    headers = {"x-tollgate-conversation": conversation}
    reply = ask(gateway, "POST", "/v1/chat/completions", key=key, body=CALL, headers=headers)
    gateway.rows(request_id=reply.headers["x-tollgate-request-id"])


def person(gateway: GatewayProcess, user: str, *roles: dict[str, str]) -> None:
    made = owner(gateway, "POST", "/api/people", {"id": user, "email": f"{user}@example.com", "roles": roles})
    assert made.status == 201, made.body


@pytest.mark.parametrize(
    ("path", "position"),
    [
        *((path, (TOO_EARLY, "x")) for path in ("/api/alerts", "/api/conversations", "/api/credits/top-ups")),
        *(
            (path, (TOO_LATE, "x"))
            for path in ("/api/alerts", "/api/conversations", "/api/credits/usage/lines")
        ),
        *(("/api/conversations", ("2026-01-01T00:00:00Z", name)) for name in ("\0", 5, None)),
        ("/api/credits/usage/lines", ("2026-01-01T00:00:00Z", "\0")),
        ("/api/credits/usage?group_by=model", ("\0",) * 9),
        ("/api/webhooks", ("\0",)),
        ("/api/webhooks", ({"a": 1},)),
        ("/api/credits/ledger", (2**70,)),
        ("/api/audit", (True,)),
    ],
)
def test_a_forged_cursor_is_the_callers_fault(
    staffed: GatewayProcess, path: str, position: tuple[Any, ...]
) -> None:
    answer = owner(staffed, "GET", f"{path}{'&' if '?' in path else '?'}cursor={cursor(*position)}")
    assert (answer.status, answer.json()["param"]) == (400, "cursor")


@pytest.mark.parametrize(
    "query",
    [
        *(
            f"/api/credits/{name}?start={TOO_EARLY}&end=0001-01-02"
            for name in ("usage", "compare", "patterns")
        ),
        f"/api/credits/usage/lines?start=2026-01-01&end={TOO_LATE}",
        *(f"/api/credits/report?day={day}&period=monthly" for day in ("0001-01-01", "9999-12-31")),
        f"/api/audit?since={TOO_EARLY}",
    ],
)
def test_no_calendar_goes_as_far_as_that(staffed: GatewayProcess, query: str) -> None:
    assert owner(staffed, "GET", query.replace("+", "%2B")).status == 400


@pytest.mark.parametrize("credits", ENDLESS)
def test_no_amount_is_as_large_as_that(staffed: GatewayProcess, credits: str) -> None:
    assert owner(staffed, "POST", "/api/credits/purchase", {"credits": credits}).status == 400


def test_json_nested_deeper_than_python_calls_is_a_member_that_is_not_known(staffed: GatewayProcess) -> None:
    nested: object = 1
    for _ in range(400):
        nested = {"a": [nested]}
    answer = owner(staffed, "POST", "/api/teams", {"id": "x", "deep": nested})
    assert (answer.status, answer.json()["param"]) == (400, "deep")


def test_a_credential_that_is_no_text_is_an_unknown_one(staffed: GatewayProcess) -> None:
    with socket.create_connection(("127.0.0.1", staffed.port), timeout=30) as connection:
        connection.sendall(
            b"GET /api/me HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \xff\xfe\r\nconnection: close\r\n\r\n"
        )
        assert connection.recv(12) == b"HTTP/1.1 401"


def test_another_role_of_somebody_lifts_no_pseudonym(staffed: GatewayProcess) -> None:
    """Members see people, themselves; an auditor who is one as well sees nobody else by name."""
    used(staffed, key_of("member"), "talk-1")
    person(staffed, "mix", {"role": "auditor"}, {"role": "member", "team": "research"})
    made = owner(staffed, "POST", "/api/keys", {"name": "mix", "user": "mix", "access": "role"}).json()
    split = ask(staffed, "GET", "/api/credits/usage?group_by=user", key=made["key"]).json()
    assert split["people_hidden"] is True
    assert all(item["user"].startswith("anon-") for item in split["items"])
    assert split["items"]


def test_the_title_of_a_conversation_is_told_to_nobody_who_only_uses_its_id(staffed: GatewayProcess) -> None:
    used(staffed, key_of("owner"), "board-meeting")
    assert owner(staffed, "PUT", "/api/conversations/board-meeting", {"title": "Layoffs"}).status == 200
    used(staffed, key_of("member"), "board-meeting")
    titles = {}
    for role in ("owner", "member"):
        report = ask(staffed, "GET", "/api/credits/report", key=key_of(role)).json()
        titles[role] = [one["title"] for one in report["conversationCosts"] if one["id"] == "board-meeting"]
    assert titles == {"owner": ["Layoffs"], "member": [None]}


def test_two_people_may_choose_the_same_idempotency_key(staffed: GatewayProcess) -> None:
    bought = {
        role: ask(
            staffed,
            "POST",
            "/api/credits/purchase",
            key=key_of(role),
            body={"credits": "7"},
            headers={"idempotency-key": "order-1"},
        ).json()
        for role in ("member", "lead", "member")
    }
    assert {role: one["requested_by"] for role, one in bought.items()} == {
        "member": "user:acme/member",
        "lead": "user:acme/lead",
    }


def test_a_lead_gets_no_key_that_stands_for_an_owner(staffed: GatewayProcess) -> None:
    """Not even one for calls: it would see and export what is the owner's own."""
    person(staffed, "boss", {"role": "owner"}, {"role": "member", "team": "research"})
    body = {"name": "x", "user": "boss", "team": "research"}
    theirs = owner(staffed, "POST", "/api/keys", body).json()
    for path, sent in (("/api/keys", body), (f"/api/keys/{theirs['id']}/rotate", {})):
        assert ask(staffed, "POST", path, key=key_of("lead"), body=sent).status == 403
    assert ask(staffed, "POST", f"/api/keys/{theirs['id']}/revoke", key=key_of("lead")).status == 200


def test_an_export_says_not_from_where_somebody_else_did_something(staffed: GatewayProcess) -> None:
    assert owner(staffed, "PUT", "/api/people/member/profile", {"name": "Max"}).status == 200
    ask(staffed, "POST", "/api/credits/purchase", key=key_of("member"), body={"credits": "7"})
    exported = ask(staffed, "GET", "/api/people/member/export", key=key_of("member")).json()
    addresses = {(entry["actor"], entry["address"]) for entry in exported["audit"]}
    assert addresses == {("user:acme/owner", None), ("user:acme/member", "127.0.0.1")}


@pytest.mark.parametrize("text", ["a\r\nb", "\u202egnp.exe", "a\u2028b", "\x85", "\u2066x"])
def test_what_people_read_holds_nothing_that_turns_or_breaks_its_line(
    staffed: GatewayProcess, text: str
) -> None:
    used(staffed, key_of("owner"), "talk-2")
    asked = [
        ("PUT", "/api/conversations/talk-2", {"title": text}),
        ("POST", "/api/teams", {"id": "turned", "name": text}),
        ("POST", "/api/webhooks", {"url": "https://example.com/", "description": text}),
    ]
    for method, path, body in asked:
        assert owner(staffed, method, path, body).status == 400, path


@pytest.mark.parametrize("levels", [300, 1000])
def test_a_quote_for_json_nested_that_deep_is_refused(staffed: GatewayProcess, levels: int) -> None:
    deep = "[" * levels + "]" * levels
    body = f'{{"path":"/v1/chat/completions","body":{{"model":"gpt-4o-mini","messages":[],"x":{deep}}}}}'
    request = urllib.request.Request(f"{staffed.base}/api/credits/quote", body.encode(), method="POST")
    request.add_header("authorization", f"Bearer {key_of('owner')}")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    with caught.value as error:
        assert error.code == 400, error.read()
