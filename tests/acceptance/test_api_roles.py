"""The role matrix has no hole: every operation as every role, on one's own organisation and on another's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.identity.roles import ACTIONS, Action, Extent, Role
from tests.support.gateway import ADMIN_TOKEN, GatewayProcess
from tests.support.staffed import ROLES, Answer, ask, key_of
from tests.support.staffed import staffed as staffed

STREAMS = {"listen"}
"""They answer for as long as one listens."""


@pytest.fixture(scope="module")
def described(staffed: GatewayProcess) -> dict[str, Any]:
    document: dict[str, Any] = ask(staffed, "GET", "/api/openapi.json", key=None).json()
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["operationId"] not in STREAMS:
                yield method.upper(), path, operation


def filled(path: str) -> str:
    """A path whose objects do not exist."""
    return "/".join("no-such-thing" if part.startswith("{") else part for part in path.split("/"))


def attempt(gateway: GatewayProcess, method: str, path: str, key: str | None) -> Answer:
    return ask(gateway, method, path, key=key, body={} if method in ("POST", "PUT", "PATCH") else None)


def test_nobody_does_anything_without_a_credential(
    staffed: GatewayProcess, described: dict[str, Any]
) -> None:
    for method, path, operation in operations(described):
        for key in (None, "tg_" + "x" * 43, "not-the-admin-token"):
            assert attempt(staffed, method, filled(path), key).status == 401, operation["operationId"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_refused_exactly_what_the_table_refuses(
    staffed: GatewayProcess, described: dict[str, Any], role: str
) -> None:
    wrong = []
    for method, path, operation in operations(described):
        extent = ACTIONS[Action(operation["x-tollgate-action"])][Role(role)]
        reply = attempt(staffed, method, filled(path), key_of(role))
        refused = reply.status == 403 and reply.json()["code"] == "not_allowed"
        if refused != (extent is Extent.NONE) or reply.status in (401, 500):
            wrong.append((operation["operationId"], extent.name, reply.status, reply.body[:200]))
    assert wrong == []


@pytest.mark.parametrize("role", ROLES)
def test_another_organisation_is_out_of_reach_of_every_role(
    staffed: GatewayProcess, described: dict[str, Any], role: str
) -> None:
    wrong = []
    for method, path, operation in operations(described):
        if not any(one["name"] == "org" and one["in"] == "query" for one in operation["parameters"]):
            continue
        for org in ("globex", "no-such-org"):
            reply = attempt(staffed, method, f"{filled(path)}?org={org}", key_of(role))
            # Other faults may be found first; what must not be is an answer.
            if reply.status not in (400, 403) or b"globex" in reply.body.replace(org.encode(), b""):
                wrong.append((operation["operationId"], org, reply.status, reply.body[:200]))
    assert wrong == []


def test_the_admin_may_ask_about_any_organisation_and_has_to_say_which(
    staffed: GatewayProcess, described: dict[str, Any]
) -> None:
    reply = ask(staffed, "GET", "/api/credits/balance?org=globex", key=ADMIN_TOKEN)
    assert reply.status == 200, reply.body
    reply = ask(staffed, "GET", "/api/credits/balance", key=ADMIN_TOKEN)
    assert (reply.status, reply.json()["param"]) == (400, "org")


def test_the_admin_neither_sees_nor_sets_anything_of_an_organisation_that_is_not_there(
    staffed: GatewayProcess, described: dict[str, Any]
) -> None:
    wrong = []
    for method, path, operation in operations(described):
        if not any(one["name"] == "org" and one["in"] == "query" for one in operation["parameters"]):
            continue
        if Extent.NONE is ACTIONS[Action(operation["x-tollgate-action"])][Role.ADMIN]:
            continue
        needed = {one["name"] for one in operation["parameters"] if one["required"]}
        reply = attempt(staffed, method, f"{filled(path)}?org=misspelt", ADMIN_TOKEN)
        said = reply.json()
        fault_found_first = reply.status == 400 and said["param"] in needed
        if not fault_found_first and (reply.status, said.get("param")) != (404, "org"):
            wrong.append((operation["operationId"], reply.status, said))
    assert wrong == []


def test_an_applications_key_tells_nothing_of_the_person_and_changes_no_other_key(
    staffed: GatewayProcess,
) -> None:
    def owner(path: str, body: object) -> Any:
        answer = ask(staffed, "POST", path, key=key_of("owner"), body=body)
        assert answer.status == 201, answer.body
        return answer.json()

    profile = {"name": "Oz", "email": "oz@example.com", "phone": "+33612345678"}
    owner("/api/people", {"id": "oz", "roles": [{"role": "owner"}], **profile})
    role = owner("/api/keys", {"name": "laptop", "user": "oz", "access": "role"})
    app = owner("/api/keys", {"name": "app", "user": "oz"})
    for method, path, body in (
        ("GET", "/api/people/oz/export", None),
        ("GET", "/api/people/oz", None),
        ("POST", "/api/keys", {"name": "another"}),
        ("POST", f"/api/keys/{role['id']}/revoke", None),
        ("POST", f"/api/keys/{role['id']}/rotate", {}),
        ("POST", "/api/credits/purchase", {"credits": "5"}),
    ):
        assert ask(staffed, method, path, key=app["key"], body=body).status == 403, path
    me = ask(staffed, "GET", "/api/me", key=app["key"]).json()
    assert (me["user"], me["name"], me["roles"]) == ("oz", None, ["caller"])
    assert ask(staffed, "GET", "/api/me", key=role["key"]).json()["name"] == "Oz"
    rotated = ask(staffed, "POST", f"/api/keys/{app['id']}/rotate", key=app["key"], body={})
    assert ask(staffed, "GET", "/api/credits/balance", key=rotated.json()["key"]).status == 200


def test_an_applications_key_sees_whose_usage_its_own_is(staffed: GatewayProcess) -> None:
    call = {"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
    answer = ask(staffed, "POST", "/v1/chat/completions", key=key_of("caller"), body=call)
    staffed.rows(request_id=answer.headers["x-tollgate-request-id"])
    found = ask(staffed, "GET", "/api/credits/usage?group_by=user", key=key_of("caller")).json()
    assert [(item["user"], found["people_hidden"]) for item in found["items"]] == [("caller", False)]
