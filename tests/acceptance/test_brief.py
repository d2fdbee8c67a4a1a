"""What users of credits expect, line by line: each test is named after a line of docs/features.md and proves it over
HTTP, on a gateway as it is served."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import json
from decimal import Decimal
from typing import Any

import pytest
from pypdf import PdfReader

from pricing.calculator import CostCalculator
from tests.support.gateway import ADMIN_TOKEN, GatewayProcess
from tests.support.live import listening
from tests.support.staffed import Answer, ask, key_of
from tests.support.staffed import staffed as staffed

MODEL = "gpt-4o-mini"
CHAT = {"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": "Hello"}]}
IMAGE = {"model": "dall-e-3", "prompt": "a gate", "size": "1024x1024", "quality": "standard"}

numbers = itertools.count(1)


def call(
    gateway: GatewayProcess,
    role: str = "member",
    *,
    path: str = "/v1/chat/completions",
    body: object = None,
    **headers: str,
) -> Answer:
    """One metered call."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = ask(gateway, "POST", path, key=key_of(role), body=body or CHAT, headers=sent)
    assert reply.status == 200, reply.body
    return reply


def get(gateway: GatewayProcess, path: str, role: str = "owner") -> Any:
    reply = ask(gateway, "GET", path, key=key_of(role))
    assert reply.status == 200, reply.body
    return reply.json()


def settled(gateway: GatewayProcess, role: str = "member", **more: Any) -> Answer:
    """One metered call whose row is written."""
    reply = call(gateway, role, **more)
    gateway.rows(request_id=reply.headers["x-tollgate-request-id"])
    return reply


def credits_of(amount: dict[str, Any]) -> Decimal:
    assert Decimal(amount["credits"]) * 1_000_000 == amount["microcredits"]
    return Decimal(amount["credits"])


def charged(reply: Answer) -> Decimal:
    return Decimal(reply.headers["x-tollgate-credits"])


@pytest.fixture
def conversation() -> str:
    """A conversation that nobody had before."""
    return f"conversation-{next(numbers)}"


@pytest.fixture
def topped_up(staffed: GatewayProcess) -> Any:
    """A purchase of the owner's that the admin confirmed."""
    bought = ask(staffed, "POST", "/api/credits/purchase", key=key_of("owner"), body={"credits": 500})
    assert bought.status == 201, bought.body
    path = f"/api/credits/top-ups/{bought.json()['id']}/confirm?org=acme"
    confirmed = ask(staffed, "POST", path, key=ADMIN_TOKEN, body={"reason": "paid by transfer"})
    assert confirmed.status == 200, confirmed.body
    return confirmed.json()


# ------------------------------------------------------------------ 1. real-time tracking


async def test_live_updates(staffed: GatewayProcess) -> None:
    async with listening(staffed.base, key_of("member")) as live:
        reply = await asyncio.to_thread(call, staffed)
        event = await live.until(lambda event: event.name == "usage")
        assert event.data["id"] == reply.headers["x-tollgate-request-id"]


async def test_per_request_cost(staffed: GatewayProcess) -> None:
    async with listening(staffed.base, key_of("member")) as live:
        reply = await asyncio.to_thread(call, staffed)
        event = await live.until(lambda event: event.name == "usage")
        assert credits_of(event.data["charged"]) == charged(reply) > 0


async def test_running_total(staffed: GatewayProcess) -> None:
    async with listening(staffed.base, key_of("member")) as live:
        replies = [await asyncio.to_thread(call, staffed) for _ in range(3)]
        wanted = sum(map(charged, replies))
        totals = await live.until(
            lambda event: event.name == "totals" and credits_of(event.data["session"]) == wanted
        )
        assert credits_of(totals.data["this_month"]) >= credits_of(totals.data["today"]) >= wanted


def test_rate_display(staffed: GatewayProcess) -> None:
    settled(staffed)
    balance = get(staffed, "/api/credits/balance", "member")
    assert credits_of(balance["per_hour"]) > 0
    assert credits_of(balance["per_day"]) > 0


# ------------------------------------------------------------------ 2. usage analytics


def test_historical_data(staffed: GatewayProcess) -> None:
    reply = settled(staffed)
    lines = get(staffed, "/api/credits/usage/lines?range=30d", "member")["items"]
    [line] = [line for line in lines if line["request_id"] == reply.headers["x-tollgate-request-id"]]
    assert credits_of(line["cost"]) == charged(reply)
    days = get(staffed, "/api/credits/usage?range=30d&granularity=day", "member")
    assert sum(credits_of(day["cost"]) for day in days["items"]) == credits_of(days["total"]["cost"])


def test_breakdown_by_feature(staffed: GatewayProcess) -> None:
    settled(staffed)
    settled(staffed, path="/v1/images/generations", body=IMAGE)
    found = get(staffed, "/api/credits/usage?group_by=operation")
    assert {"chat", "image"} <= {item["operation"] for item in found["items"]}
    assert sum(credits_of(item["cost"]) for item in found["items"]) == credits_of(found["total"]["cost"])


def test_cost_attribution(staffed: GatewayProcess, conversation: str) -> None:
    replies = [settled(staffed, x_tollgate_conversation=conversation) for _ in range(2)]
    path = f"/api/conversations/{conversation}"
    named = ask(staffed, "PUT", path, key=key_of("member"), body={"title": "Gates of Paris"})
    assert named.status == 200, named.body
    found = get(staffed, path, "member")
    assert found["title"] == "Gates of Paris"
    assert credits_of(found["cost"]) == sum(map(charged, replies))


def test_usage_patterns(staffed: GatewayProcess) -> None:
    settled(staffed)
    patterns = get(staffed, "/api/credits/patterns?range=7d")
    busiest = max(patterns["heat"], key=lambda hour: hour["requests"])
    assert len(patterns["heat"]) == 7 * 24
    assert busiest["requests"] > 0


# ------------------------------------------------------------------ 3. budget management


def test_usage_limits(staffed: GatewayProcess) -> None:
    """Daily, weekly, monthly, total and per operation, in force with the reply."""
    for window in ("day", "week", "month", "total"):
        for operation in (None, "chat", "image", "batch"):
            limit = {"scope": "team", "scope_id": "sales", "window": window, "credits": "12.5"}
            body = limit if operation is None else {**limit, "operation": operation}
            reply = ask(staffed, "PUT", "/api/limits", key=key_of("owner"), body=body)
            assert reply.status in (200, 201), reply.body
    found = [limit for limit in get(staffed, "/api/limits")["items"] if limit["scope_id"] == "sales"]
    assert len(found) == 16
    assert {limit["source"] for limit in found} == {"api"}


def image_key(gateway: GatewayProcess, credits: str) -> str:
    """A key that may spend ``credits`` on images, which cost four each."""
    made = ask(gateway, "POST", "/api/keys", key=key_of("owner"), body={"name": "painter"}).json()
    limit = {
        "scope": "key",
        "scope_id": made["id"],
        "window": "total",
        "operation": "image",
        "credits": credits,
    }
    assert ask(gateway, "PUT", "/api/limits", key=key_of("owner"), body=limit).status in (200, 201)
    return str(made["key"])


async def test_alerts_at_threshold_levels(staffed: GatewayProcess) -> None:
    """A budget alert is in the live stream and in the inbox."""
    key = image_key(staffed, "16")
    async with listening(staffed.base, key_of("owner")) as live:
        for _ in range(3):
            reply = await asyncio.to_thread(
                ask, staffed, "POST", "/v1/images/generations", key=key, body=IMAGE
            )
            assert reply.status == 200, reply.body
        told = await live.until(lambda event: event.name == "alert")
        assert told.data["kind"] == "budget_threshold"
    inbox = get(staffed, "/api/alerts")["items"]
    assert told.data["id"] in {alert["id"] for alert in inbox}


async def test_warning_levels(staffed: GatewayProcess) -> None:
    """75, 90 and 100 percent, each once."""
    key = image_key(staffed, "40")
    async with listening(staffed.base, key_of("owner")) as live:
        for _ in range(10):
            reply = await asyncio.to_thread(
                ask, staffed, "POST", "/v1/images/generations", key=key, body=IMAGE
            )
            assert reply.status == 200, reply.body
        await live.until(lambda event: event.name == "alert" and event.data["level"] == 100)
        levels = [event.data["level"] for event in live.named("alert")]
    assert levels == [75, 90, 100]


def test_auto_stop(staffed: GatewayProcess) -> None:
    """A request that would break a limit is refused before it costs anything."""
    made = ask(staffed, "POST", "/api/keys", key=key_of("owner"), body={"name": "stopped"}).json()
    key, key_id = made["key"], made["id"]
    assert ask(staffed, "POST", "/v1/chat/completions", key=key, body=CHAT).status == 200
    limit = {"scope": "key", "scope_id": key_id, "window": "total", "credits": "0.000001"}
    assert ask(staffed, "PUT", "/api/limits", key=key_of("owner"), body=limit).status in (200, 201)
    refused = ask(staffed, "POST", "/v1/chat/completions", key=key, body=CHAT)
    assert (refused.status, refused.headers["x-tollgate-error"]) == (402, "budget_exceeded")
    assert refused.headers["x-should-retry"] == "false"


def test_budget_forecasting(staffed: GatewayProcess) -> None:
    """A young organisation is told that there is too little to go by; see test_forecast for those with a past."""
    assert get(staffed, "/api/credits/forecast")["status"] == "insufficient_history"


# ------------------------------------------------------------------ 4. billing


def test_current_balance(staffed: GatewayProcess, topped_up: dict[str, Any]) -> None:
    balance = get(staffed, "/api/credits/balance")
    assert credits_of(balance["used"]["this_month"]) >= credits_of(balance["used"]["today"])
    standing = get(staffed, "/api/credits/statement")
    assert credits_of(standing["closing"]) >= 500


def test_top_up_options(topped_up: dict[str, Any]) -> None:
    assert topped_up["status"] == "confirmed"
    assert credits_of(topped_up["amount"]) == 500


def test_usage_history(staffed: GatewayProcess, topped_up: dict[str, Any]) -> None:
    """The statement of a month adds up, and ties to the ledger."""
    statement = get(staffed, "/api/credits/statement")
    moved = sum(credits_of(statement[name]) for name in ("grants", "purchases", "adjustments", "refunds"))
    gone = sum(credits_of(statement[name]) for name in ("usage", "expiry"))
    assert credits_of(statement["opening"]) + moved - gone == credits_of(statement["closing"])


def test_exportable_usage_reports(staffed: GatewayProcess, conversation: str) -> None:
    """The same sum in every format."""
    settled(staffed, x_tollgate_conversation=conversation)
    path = "/api/credits/report?period=monthly"
    document = get(staffed, path)
    total = credits_of(document["totalCost"])

    def export(wanted: str) -> Answer:
        reply = ask(staffed, "GET", f"{path}&format={wanted}", key=key_of("owner"))
        assert reply.status == 200, reply.body
        return reply

    focus = list(csv.DictReader(io.StringIO(export("focus").body.decode())))
    assert sum(Decimal(row["x_Credits"]) for row in focus) == total
    days = csv.DictReader(io.StringIO(export("csv").body.decode()))
    assert sum(Decimal(day["credits"]) for day in days) == total
    pdf = "".join(page.extract_text() for page in PdfReader(io.BytesIO(export("pdf").body)).pages)
    assert str(total) in pdf.replace(",", "")


# ------------------------------------------------------------------ interfaces of the brief


def test_credit_tracking_schema(staffed: GatewayProcess, conversation: str) -> None:
    """userId, timestamp, operation, creditsUsed, tokenCount, conversationId."""
    reply = settled(staffed, x_tollgate_conversation=conversation)
    path = f"/api/credits/usage/lines?conversation={conversation}"
    [line] = get(staffed, path, "member")["items"]
    assert line["user"] == "member"
    assert line["operation"] == "chat"
    assert line["conversation"] == conversation
    assert line["started_at"] < line["finished_at"]
    assert credits_of(line["cost"]) == charged(reply)
    assert line["input_tokens"] + line["output_tokens"] > 0


def test_track_usage(staffed: GatewayProcess) -> None:
    """The row, the counters and the balance's figures move together, by what the reply said."""
    before = get(staffed, "/api/credits/balance", "billing")
    reply = settled(staffed, "billing")
    after = get(staffed, "/api/credits/balance", "billing")
    moved = credits_of(after["used"]["today"]) - credits_of(before["used"]["today"])
    assert moved >= charged(reply)
    [row] = staffed.rows(request_id=reply.headers["x-tollgate-request-id"])
    assert Decimal(row["credits_microcredits"]) / 1_000_000 == charged(reply)


def test_cost_calculation() -> None:
    """chatMessage(tokens), imageGeneration(quality, size), batchOperation(items)."""
    for name in ("chat_message", "image_generation", "batch_operation"):
        assert callable(getattr(CostCalculator, name))


def test_usage_stats(staffed: GatewayProcess) -> None:
    """totalCredits, usedToday, usedThisMonth, and the breakdown by chat, images, batch."""
    settled(staffed)
    balance = get(staffed, "/api/credits/balance")
    by_operation = {item["operation"]: item for item in balance["breakdown"]}
    assert sum(credits_of(item["today"]) for item in by_operation.values()) == credits_of(
        balance["used"]["today"]
    )
    assert credits_of(by_operation["chat"]["this_month"]) > 0


def test_projections(staffed: GatewayProcess) -> None:
    """What an operation would cost, here and with other models."""
    wanted = {"path": "/v1/chat/completions", "body": CHAT, "alternatives": ["openai/gpt-4o"]}
    quoted = ask(staffed, "POST", "/api/credits/quote", key=key_of("member"), body=wanted)
    assert quoted.status == 200, quoted.body
    assert charged(call(staffed)) <= Decimal(quoted.json()["credits_max"])
    others = {other["model"]: other for other in quoted.json()["alternatives"]}
    assert Decimal(others["gpt-4o"]["credits_max"]) > Decimal(quoted.json()["credits_max"])


def test_grace_period(staffed: GatewayProcess) -> None:
    """Beyond the limit calls go on with a warning, within bounds of time and amount."""
    made = ask(staffed, "POST", "/api/keys", key=key_of("owner"), body={"name": "graced"}).json()
    key, key_id = made["key"], made["id"]
    limit = {"scope": "key", "scope_id": key_id, "window": "total", "credits": "0.012"}
    body = {**limit, "grace": {"percent": 100, "minutes": 60}}
    assert ask(staffed, "PUT", "/api/limits", key=key_of("owner"), body=body).status in (200, 201)
    replies = [ask(staffed, "POST", "/v1/chat/completions", key=key, body=CHAT) for _ in range(40)]
    assert any(reply.status == 200 and "x-tollgate-grace" in reply.headers for reply in replies)
    assert replies[-1].status == 402, "grace ends with its amount"


def test_usage_report(staffed: GatewayProcess, conversation: str) -> None:
    """period, totalCost, operationBreakdown, conversationCosts with id, title and cost."""
    reply = settled(staffed, x_tollgate_conversation=conversation)
    for period in ("daily", "weekly", "monthly"):
        report = get(staffed, f"/api/credits/report?period={period}")
        assert report["period"] == period
        assert sum(map(credits_of, report["operationBreakdown"].values())) == credits_of(report["totalCost"])
        [found] = [one for one in report["conversationCosts"] if one["id"] == conversation]
        assert credits_of(found["cost"]) == charged(reply)
        assert found["title"] is None


def test_usage_tips(staffed: GatewayProcess) -> None:
    settled(staffed)
    for tip in get(staffed, "/api/credits/tips")["items"]:
        assert credits_of(tip["saving"]) >= 0
        assert tip["text"]


def test_cost_comparison(staffed: GatewayProcess) -> None:
    settled(staffed)
    items = get(staffed, "/api/credits/compare?model=openai/gpt-4o")["items"]
    [row] = [item for item in items if item["model"] == MODEL]
    assert credits_of(row["in_batches"]) < credits_of(row["charged"])
    assert row["alternatives"]


def test_bulk_discount_tracking(staffed: GatewayProcess) -> None:
    """What batches would have saved, and what caches did."""
    settled(staffed)
    [row] = [row for row in get(staffed, "/api/credits/compare")["items"] if row["model"] == MODEL]
    assert 0 < credits_of(row["in_batches"]) < credits_of(row["charged"])
    assert credits_of(row["saved_by_cache"]) >= 0


def test_api_endpoints(staffed: GatewayProcess) -> None:
    described = ask(staffed, "GET", "/api/openapi.json", key=None).json()["paths"]
    for method, path in (
        ("get", "/api/credits/balance"),
        ("get", "/api/credits/usage"),
        ("post", "/api/credits/purchase"),
        ("get", "/api/credits/report"),
    ):
        assert method in described[path]


# ------------------------------------------------------------------ security and privacy


def test_usage_data_encryption(staffed: GatewayProcess) -> None:
    """Personal fields are sealed at rest: see also test_people and test_encryption_rotation."""
    person = {"id": f"grace-{next(numbers)}", "name": "Grace Hopper", "email": "grace@example.com"}
    made = ask(staffed, "POST", "/api/people", key=key_of("owner"), body=person)
    assert made.status == 201, made.body
    dump = json.dumps(staffed.table("people"), default=str)
    assert person["id"] in dump
    assert "grace@example.com" not in dump
    assert "Hopper" not in dump


def test_pii_anonymization_in_analytics(staffed: GatewayProcess) -> None:
    settled(staffed)
    seen = {
        role: get(staffed, "/api/credits/usage?group_by=user", role)["items"] for role in ("owner", "auditor")
    }
    assert "member" in {item["user"] for item in seen["owner"]}
    assert "member" not in {item["user"] for item in seen["auditor"]}
    assert len(seen["owner"]) == len(seen["auditor"])


def test_audit_trail_logging(staffed: GatewayProcess) -> None:
    limit = {"scope": "team", "scope_id": "research", "window": "day", "credits": "77"}
    assert ask(staffed, "PUT", "/api/limits", key=key_of("owner"), body=limit).status in (200, 201)
    entries = get(staffed, "/api/audit", "auditor")["items"]
    [entry] = [
        entry for entry in entries if "research" in entry["object"] and "77" in json.dumps(entry["after"])
    ]
    assert entry["actor"] == "user:acme/owner"
    assert "the chain holds" in staffed.command("audit", "verify")


def test_compliance_reporting(staffed: GatewayProcess) -> None:
    """Everything that is known of one person, on demand."""
    settled(staffed)
    assert get(staffed, "/api/people/member/export", "member")["usage"]


# ------------------------------------------------------------------ access control


def test_admin_and_user_views_differ(staffed: GatewayProcess) -> None:
    settled(staffed, "owner")
    settled(staffed, "member")
    seen = {
        role: get(staffed, "/api/credits/usage?group_by=user", role)["items"] for role in ("owner", "member")
    }
    assert {item["user"] for item in seen["member"]} == {"member"}
    assert {"owner", "member"} <= {item["user"] for item in seen["owner"]}


def test_team_usage_visibility(staffed: GatewayProcess) -> None:
    settled(staffed, "owner")
    settled(staffed, "member")
    seen = {item["user"] for item in get(staffed, "/api/credits/usage?group_by=user", "lead")["items"]}
    assert "member" in seen
    assert "owner" not in seen


def test_organization_level_tracking(staffed: GatewayProcess) -> None:
    replies = [settled(staffed, role) for role in ("owner", "member")]
    total = get(staffed, "/api/credits/usage?range=today")["total"]
    assert credits_of(total["cost"]) >= sum(map(charged, replies))


def test_role_based_permissions(staffed: GatewayProcess) -> None:
    """The whole table: see test_api_roles."""
    assert ask(staffed, "GET", "/api/audit", key=key_of("member")).status == 403
