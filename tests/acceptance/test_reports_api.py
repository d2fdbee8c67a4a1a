"""Usage over the API: each role sees what it may, names of people included, and is told what is wrong with it."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from gateway.api.cursor import write_cursor
from gateway.ledger.postgres_usage import UsageTable
from gateway.ledger.row import UsageRow, merge, microseconds
from gateway.stores.postgres import Postgres
from tests.support.gateway import ADMIN_TOKEN, GatewayProcess
from tests.support.servers import run
from tests.support.staffed import ask, key_of, staffed
from tests.support.usage_events import ADMISSION, RESULT, entry

__all__ = ["staffed"]

DAYS = 40
EACH = 1_000_000
"""Microcredits of each request: a credit."""
UNKNOWN = 2 * DAYS + 3
"""The number of the one request whose usage is not known: of Sam's, in the last seven days."""


def made_rows() -> Iterator[UsageRow]:
    """One request a day of each person, and of one of another org, on ``DAYS`` days.

    Each stands at the start of its day, and the last one tomorrow: so ``range=7d`` holds seven of them whatever the
    time is, also where midnight passes while these tests run.
    """
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    people = [
        ("acme", "research", "member"),
        ("acme", "research", "lead"),
        ("acme", "sales", "sam"),
        ("acme", None, "owner"),
    ]
    number = 0
    for org, team, user in [*people, ("globex", "research", "member")]:
        for day in range(DAYS):
            number += 1
            admission = replace(
                ADMISSION,
                org_id=org,
                team_id=team,
                user_id=user,
                key_id=f"{org}-{user}",
                conversation_id=f"talk-{user}-{day}",
            )
            at_us = microseconds(today + timedelta(days=1 - day))
            yield merge(
                entry(
                    f"r{number}",
                    admission=admission,
                    started_at_us=at_us,
                    charged_microcredits=EACH,
                    result=replace(RESULT, usage_source="bound") if number == UNKNOWN else RESULT,
                )
            )


@pytest.fixture(scope="module")
def used(staffed: GatewayProcess) -> GatewayProcess:
    async def write() -> None:
        postgres = Postgres(staffed.postgres_dsn)
        await postgres.start()
        await UsageTable(postgres).write(list(made_rows()))
        await postgres.stop()

    run(write())
    return staffed


def get(gateway: GatewayProcess, path: str, role: str = "owner", status: int = 200) -> Any:
    answer = ask(gateway, "GET", f"/api/credits/{path}", key=key_of(role))
    assert answer.status == status, answer.body
    return answer.json()


@pytest.mark.parametrize(
    ("role", "users"),
    [("owner", 4), ("billing", 4), ("auditor", 4), ("lead", 2), ("member", 1)],
)
def test_each_role_sees_the_usage_it_may(used: GatewayProcess, role: str, users: int) -> None:
    total = get(used, "usage?range=7d", role)["total"]
    assert total["cost"]["microcredits"] == 7 * EACH * users
    assert len(get(used, "usage/lines?range=7d&limit=1000", role)["items"]) == 7 * users
    series = get(used, "usage?range=7d&granularity=day&group_by=user", role)
    assert len(series["items"]) == 7 * users
    report = get(used, "report?period=monthly", role)
    conversations = sum(one["cost"]["microcredits"] for one in report["conversationCosts"])
    assert conversations == report["totalCost"]["microcredits"]
    listed = ask(used, "GET", "/api/conversations?limit=1000", key=key_of(role)).json()
    assert len(listed["items"]) == DAYS * users


@pytest.mark.parametrize(
    ("role", "hidden"), [("owner", False), ("billing", True), ("auditor", True), ("lead", False)]
)
def test_people_stand_under_pseudonyms_for_those_who_may_not_see_them(
    used: GatewayProcess, role: str, hidden: bool
) -> None:
    split = get(used, "usage?range=7d&group_by=user", role)
    names = {group["user"] for group in split["items"]}
    assert split["people_hidden"] is hidden
    assert ("member" in names) is not hidden
    assert all(name.startswith("anon-") for name in names) is hidden
    for path in ("usage/lines?range=7d&format=csv", "report?format=csv", "report?format=focus"):
        body = ask(used, "GET", f"/api/credits/{path}", key=key_of(role)).body.decode()
        people = [row.get("user") or row.get("x_UserId") for row in csv.DictReader(io.StringIO(body))]
        assert people
        assert any(name in ("member", "sam") for name in people if name) is not hidden
    if hidden:
        one = min(names)
        assert get(used, f"usage?range=7d&user={one}", role)["total"]["requests"] == 7
        assert get(used, "usage?range=7d&user=member", role)["total"]["requests"] == 0


@pytest.mark.parametrize("role", ["billing", "auditor"])
def test_the_place_where_a_page_ended_tells_nobody_who_a_pseudonym_is(
    used: GatewayProcess, role: str
) -> None:
    path, seen, cursor = "usage?range=7d&group_by=user&limit=1", list[str](), ""
    while True:
        page = get(used, f"{path}{cursor}", role)
        seen += [group["user"] for group in page["items"]]
        if page["next_cursor"] is None:
            break
        place = orjson.loads(base64.urlsafe_b64decode(page["next_cursor"] + "=="))
        assert seen[-1] in place
        assert not {"member", "lead", "sam", "owner"} & set(place)
        cursor = f"&cursor={page['next_cursor']}"
    assert len(seen) == len(set(seen)) == 4
    forged = write_cursor(*(part if part != seen[-2] else "lead" for part in place))
    assert get(used, f"{path}&cursor={forged}", role, 400)["param"] == "cursor"


def test_another_org_is_out_of_reach_and_the_platform_has_to_name_one(used: GatewayProcess) -> None:
    for path in ("usage", "usage/lines", "report", "forecast", "compare", "tips", "patterns"):
        get(used, f"{path}?org=globex", "owner", 403)
        get(used, f"{path}?org=nowhere", "owner", 403)
        assert ask(used, "GET", f"/api/credits/{path}", key=ADMIN_TOKEN).status == 400
        assert ask(used, "GET", f"/api/credits/{path}?org=globex", key=ADMIN_TOKEN).status == 200


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("start=2026-11-01&end=2026-11-01", "end"),
        ("start=2026-11-02&end=2026-11-01", "end"),
        ("start=2026-11-01T00:00:00&end=2026-11-02", "start"),
        ("start=2026-13-01", "start"),
        ("end=2026-11-01", "start"),
        ("start=1999-01-01&end=2026-11-01", "start"),
        ("start=2026-11-01&range=7d", "range"),
        ("range=2d", "range"),
        ("granularity=hour&range=year&start=", "start"),
        ("granularity=hour&start=2026-01-01&end=2026-11-01", "granularity"),
        ("group_by=colour", "group_by"),
        ("group_by=tag", "tag_name"),
        ("sort=cost&granularity=day", "sort"),
        ("tag=novalue", "tag"),
        ("operation=chatt", "operation"),
        ("cursor=xx", "cursor"),
        ("limit=0", "limit"),
        ("colour=red", "colour"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_by_name(
    used: GatewayProcess, query: str, named: str
) -> None:
    problem = get(used, f"usage?{query}", status=400)
    assert problem["param"].startswith(named)
    assert problem["detail"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("tag=feature=search", "name:value"),
        ("group_by=user,model", "group_by=user&group_by=model"),
        ("operation=chatt", "'chat'"),
    ],
)
def test_a_refusal_says_how_to_ask_instead(used: GatewayProcess, query: str, said: str) -> None:
    assert said in get(used, f"usage?{query}", status=400)["detail"]


def test_what_cannot_be_priced_again_is_said_so_that_comparisons_add_up(used: GatewayProcess) -> None:
    reply, total = get(used, "compare?range=7d"), get(used, "usage?range=7d")["total"]
    assert reply["left_out"] == {"requests": 1, "charged": {"microcredits": EACH, "credits": "1"}}
    assert sum(one["requests"] for one in reply["items"]) + 1 == total["requests"]
    charged = sum(one["charged"]["microcredits"] for one in reply["items"])
    assert charged + EACH == total["cost"]["microcredits"]


def test_the_dearest_come_first_and_the_rest_is_summed_up(used: GatewayProcess) -> None:
    reply = get(used, "usage?range=7d&group_by=user&sort=cost&limit=1")
    assert len(reply["items"]) == 1
    assert reply["other"]["requests"] == reply["total"]["requests"] - reply["items"][0]["requests"]


def test_pages_of_lines_go_on_where_the_one_before_ended(used: GatewayProcess) -> None:
    seen, cursor = [], ""
    while True:
        page = get(used, f"usage/lines?range=30d&limit=50{cursor}")
        seen += [line["request_id"] for line in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(seen) == len(set(seen)) == 30 * 4


def test_a_forecast_needs_seven_days_and_then_says_what_to_expect(used: GatewayProcess) -> None:
    forecast = get(used, "forecast?days=3")
    assert (forecast["status"], forecast["method"]) == ("ok", "weekday_mean_28_days")
    assert forecast["next_7_days"]["expected"]["microcredits"] == 28 * EACH
    assert len(forecast["days"]) == 3
    nobody = get(used, "forecast?user=nobody")
    assert (nobody["status"], nobody["days"], nobody["month"]) == ("insufficient_history", [], None)


def test_comparisons_and_patterns_are_of_the_calls_in_reach(used: GatewayProcess) -> None:
    [own] = get(used, "compare?range=7d&model=openai/gpt-5-mini", "member")["items"]
    assert own["requests"] == 7
    assert [other["model"] for other in own["alternatives"]] == ["gpt-5-mini"]
    assert own["alternatives"][0]["difference"]["microcredits"] < 0
    assert get(used, "compare?model=openai/no-such-model", status=400)["param"] == "model"
    [unasked] = get(used, "compare?range=7d", "member")["items"]
    costs = [other["cost"]["microcredits"] for other in unasked["alternatives"]]
    assert 2 <= len(costs) <= 8
    assert costs == sorted(costs)
    assert costs[0] < unasked["today"]["microcredits"]
    assert (unasked["provider"], unasked["model"]) not in {
        (other["provider"], other["model"]) for other in unasked["alternatives"]
    }
    patterns = get(used, "patterns?range=7d", "member")
    assert len(patterns["heat"]) == 168
    assert patterns["trend"]["current"]["requests"] == sum(cell["requests"] for cell in patterns["heat"]) == 7
    assert patterns["trend"]["cost_change_percent"] == 0.0


def test_a_conversation_is_named_by_those_it_belongs_to(used: GatewayProcess) -> None:
    path = "/api/conversations/talk-member-0"
    named = ask(used, "PUT", path, key=key_of("member"), body={"title": "Überblick 数据"})
    assert (named.status, named.json()["title"]) == (200, "Überblick 数据")
    assert ask(used, "GET", path, key=key_of("lead")).json()["title"] == "Überblick 数据"
    assert ask(used, "PUT", path, key=key_of("auditor"), body={"title": "x"}).status == 403
    assert (
        ask(used, "PUT", "/api/conversations/talk-sam-0", key=key_of("member"), body={"title": "x"}).status
        == 404
    )
    assert ask(used, "GET", "/api/conversations/talk-sam-0", key=key_of("lead")).status == 404
    assert ask(used, "GET", path, key=key_of("owner", "globex")).json()["title"] is None
    for bad in ({"title": ""}, {"title": "a\nb"}, {"title": "x" * 201}, {}):
        assert ask(used, "PUT", path, key=key_of("member"), body=bad).status == 400
    assert ask(used, "PUT", path, key=key_of("member"), body={"title": None}).json()["title"] is None


def test_a_quote_says_what_the_request_would_cost_elsewhere(used: GatewayProcess) -> None:
    body = {"model": "gpt-5", "max_completion_tokens": 2000, "messages": [{"role": "user", "content": "Hi"}]}
    wanted = {"path": "/v1/chat/completions", "body": body}
    asked = {**wanted, "alternatives": ["openai/gpt-5-mini", "anthropic/claude-haiku-4-5", "openai/nothing"]}
    quote = ask(used, "POST", "/api/credits/quote", key=key_of("member"), body=asked).json()
    found = {(one["model"], one["tier"]): float(one["credits_max"]) for one in quote["alternatives"]}
    assert set(found) == {("gpt-5", "batch"), ("gpt-5-mini", ""), ("claude-haiku-4-5", "")}
    assert found["gpt-5", "batch"] == pytest.approx(float(quote["credits_max"]) / 2, abs=1e-5)
    assert list(found.values()) == sorted(found.values())
    default = ask(used, "POST", "/api/credits/quote", key=key_of("member"), body=wanted).json()
    assert {one["tier"] for one in default["alternatives"]} == {"batch"}


def test_exports_at_once_are_served_while_others_wait(used: GatewayProcess) -> None:
    async def export() -> int:
        path = "/api/credits/usage/lines?format=csv"
        return (await asyncio.to_thread(ask, used, "GET", path, key=key_of("owner"))).status

    async def all_of_them() -> list[int]:
        return list(await asyncio.gather(*(export() for _ in range(12))))

    found: list[int] = []

    async def keep() -> None:
        found.extend(await all_of_them())

    run(keep())
    assert found == [200] * 12


@pytest.mark.parametrize(
    "zone", ["Pacific/Kiritimati", "Etc/GMT+12"]
)  # one of them has another date than UTC
def test_the_name_of_a_report_is_the_local_day_that_it_is_about(used: GatewayProcess, zone: str) -> None:
    async def move(name: str) -> None:
        postgres = Postgres(used.postgres_dsn)
        await postgres.start()
        await postgres.execute(
            "UPDATE org_calendars SET time_zone = $1, wanted_time_zone = $1 WHERE org_id = 'globex'", name
        )
        await postgres.stop()

    def today() -> str:
        return datetime.now(ZoneInfo(zone)).date().isoformat()

    run(move(zone))
    before = today()
    path = "/api/credits/report?period=daily&format=csv"
    reply = ask(used, "GET", path, key=key_of("owner", "globex"))
    run(move("UTC"))
    names = {f'attachment; filename="usage-globex-daily-{day}.csv"' for day in (before, today())}
    assert reply.headers["content-disposition"] in names
