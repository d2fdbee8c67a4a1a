"""Organisations of `tollgate generate-usage` are organisations like any other: all show them by the same months."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.gateway import ADMIN_TOKEN, GatewayProcess
from tests.support.staffed import ask

ORG = "made-3"
ZONE = "Asia/Kolkata"


def get(gateway: GatewayProcess, path: str, **params: str) -> Any:
    query = "&".join(f"{name}={value}" for name, value in {"org": ORG, **params}.items())
    answer = ask(gateway, "GET", f"{path}?{query}", key=ADMIN_TOKEN)
    assert answer.status == 200, answer.body
    return answer.json()


def micro(amount: Any) -> int:
    return int(amount["microcredits"])


def test_balance_statement_and_report_of_a_made_organisation_agree(gateway: GatewayProcess) -> None:
    said = gateway.command(
        "generate-usage", "--prefix", "made", "--org", "3", "--rows", "3000", "--days", "65"
    )
    assert f"?org={ORG[:-1]}1" in said
    [row] = [line for line in gateway.command("orgs", "list").splitlines() if line.startswith(ORG)]
    assert ZONE in row
    get(gateway, "/api/limits")  # which looks what was made a moment ago
    balance = get(gateway, "/api/credits/balance")
    today = datetime.now(UTC).date()
    before = today.replace(day=1) - timedelta(days=1)
    now = get(gateway, "/api/credits/report", day=str(today))
    last = get(gateway, "/api/credits/report", day=str(before))
    statement = get(gateway, "/api/credits/statement", month=f"{before:%Y-%m}")
    assert balance["time_zone"] == statement["time_zone"] == ZONE
    assert micro(balance["used"]["this_month"]) == micro(now["totalCost"])
    assert micro(statement["postpaid"]) == micro(last["totalCost"]) > 0
    assert micro(statement["usage"]) == micro(statement["closing"]) == 0
