"""What keys, limits and balances allow, said through the gateway as clients hear it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.budgets.directory import Directory
from gateway.budgets.ports import EmptyLedger
from gateway.budgets.redis_books import RedisBooks
from gateway.budgets.redis_holds import RedisHolds
from gateway.stores.redis import RedisStore
from tests.support.gateway import GatewayPlan, GatewayProcess, digest
from tests.support.hostile import ANTHROPIC, GEMINI, OPENAI, WORDINGS, Wording
from tests.support.raw_http import RawConnection, RawReply, exchange, request
from tests.support.scripted_provider import ScriptedProvider, scripted_provider
from tests.support.servers import TestPostgres, TestRedis
from tests.support.simulator import SimulatorProcess, new_label

LONG = 12_000
"""An output cap whose price is far above what any reply of the simulator costs."""


def org(name: str, *, keys: int = 1, key: Mapping[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """An organisation of one test, with keys NAME, NAME-2..."""
    names = [name, *(f"{name}-{number}" for number in range(2, keys + 1))]
    return {
        "id": name,
        "keys": [{"id": n, "sha256": digest(f"key-of-{n}"), **(key or {})} for n in names],
        **settings,
    }


def total(credits: str, **settings: Any) -> list[dict[str, Any]]:
    return [{"window": "total", "credits": credits, **settings}]


LIMITS = {
    "credit_usd": 0.01,
    "orgs": [
        org("free"),
        org("models", allowed_models=["gpt-4o*", "claude-*", "gemini-2.5-flash"]),
        org("keymodels", key={"allowed_models": ["gpt-4o-mini"]}),
        org("operations", allowed_operations=["chat"]),
        org("keyoperations", key={"allowed_operations": ["embedding"]}),
        org("minute", key={"requests_per_minute": 2}),
        org("open", key={"open_calls": 1}),
        org("shadow", limits=total("0.000001", enforce=False)),
        org("grace", limits=total("0.02", grace={"percent": 100, "minutes": 60})),
        org("small", limits=total("0.5")),
        org("prepaid", balance={"required": True}),
        org("vip"),
        org("tight", limits=total("0.000001")),
    ],
}


@pytest.fixture(scope="module")
def said() -> Iterator[ScriptedProvider]:
    with scripted_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def policed_process(
    simulator_process: SimulatorProcess,
    postgres_server: TestPostgres,
    server_directory: Path,
    said: ScriptedProvider,
) -> Iterator[GatewayProcess]:
    redis = TestRedis(server_directory / "policed-redis")
    redis.start()
    dsn = postgres_server.create_database("policed_gateway")
    shared = [{"api_key": "upstream-heavy", "weight": 3}, {"api_key": "upstream-light"}]
    providers = {
        "openai": {
            "kind": "openai",
            "base_url": simulator_process.url,
            "api_key": "upstream-openai-key",
            "default": True,
        },
        "anthropic": {
            "kind": "anthropic",
            "base_url": simulator_process.url,
            "api_key": "upstream-anthropic-key",
            "default": True,
        },
        "many": {
            "kind": "openai",
            "base_url": simulator_process.url,
            "api_keys": [*shared, {"api_key": "upstream-vip", "orgs": ["vip"]}],
        },
        "second": {"kind": "anthropic", "base_url": simulator_process.url, "api_key": "upstream-second"},
        "resting": {
            "kind": "openai",
            "base_url": said.url,
            "api_keys": [{"api_key": "one"}, {"api_key": "two"}],
        },
    }
    # No renewal comes in between where a test takes a hold away: it would end the call.
    settings = {"providers": providers, "budgets": {"hold_ttl_s": 3600}}
    plan = GatewayPlan(
        server_directory / "policed", simulator_process.url, redis.url, dsn, LIMITS, settings=settings
    )
    gateway = GatewayProcess(plan)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()
        postgres_server.drop_database("policed_gateway")
        redis.stop()


@pytest.fixture
def policed(policed_process: GatewayProcess, simulator: SimulatorProcess) -> GatewayProcess:
    return policed_process


def call(
    gateway: GatewayProcess,
    who: str,
    api: Wording = OPENAI,
    *,
    headers: Mapping[str, str] | None = None,
    **changes: Any,
) -> RawReply:
    body = json.dumps({**api.body, **changes}).encode()
    return exchange(gateway.port, api.request(body, f"key-of-{who}", headers))


def row_of(gateway: GatewayProcess, reply: RawReply) -> dict[str, Any]:
    [row] = gateway.rows(request_id=reply.header("x-tollgate-request-id"))
    return row


# ------------------------------------------------------------------ what a key may do


@pytest.mark.parametrize("who", ["models", "keymodels"])
def test_models_that_are_not_allowed(policed: GatewayProcess, simulator: SimulatorProcess, who: str) -> None:
    assert call(policed, who).status == 200
    OPENAI.assert_refused(call(policed, who, model="gpt-3.5-turbo"), 403, "not_allowed")
    assert simulator.totals()["requests"] == 1


def test_models_that_are_not_allowed_in_every_dialect(
    policed: GatewayProcess, simulator: SimulatorProcess
) -> None:
    for api in (ANTHROPIC, GEMINI):
        api.assert_refused(call(policed, "keymodels", api), 403, "not_allowed")
    assert simulator.totals()["requests"] == 0


def test_operations_that_are_not_allowed(policed: GatewayProcess, simulator: SimulatorProcess) -> None:
    embedding = {"model": "text-embedding-3-small", "input": "x"}
    image = {"model": "dall-e-3", "prompt": "x", "n": 1, "size": "1024x1024"}
    for who, allowed in (("operations", {"chat"}), ("keyoperations", {"embedding"})):
        for path, body, operation in (
            ("/v1/chat/completions", OPENAI.body, "chat"),
            ("/v1/embeddings", embedding, "embedding"),
            ("/v1/images/generations", image, "image"),
        ):
            data = request(path, json.dumps(body).encode(), key=f"key-of-{who}")
            reply = exchange(policed.port, data)
            if operation in allowed:
                assert reply.status == 200
            else:
                error = OPENAI.assert_refused(reply, 403, "not_allowed")
                assert operation in error["message"]
    assert simulator.totals()["requests"] == 2


def test_requests_a_minute(policed: GatewayProcess, simulator: SimulatorProcess) -> None:
    assert [call(policed, "minute").status for _ in range(2)] == [200, 200]
    for api in WORDINGS:
        reply = call(policed, "minute", api)
        api.assert_refused(reply, 429, "rate_limited")
        assert 1 <= int(reply.header("retry-after") or 0) <= 60
    assert simulator.totals()["requests"] == 2


def test_open_calls(policed: GatewayProcess, simulator: SimulatorProcess) -> None:
    label = new_label("open")
    with RawConnection(policed.port) as connection:
        headers = {"x-sim-label": label, "x-sim-chunk-ms": "30"}
        body = json.dumps({**OPENAI.body, "stream": True}).encode()
        connection.send(OPENAI.request(body, "key-of-open", headers))
        while not simulator.so_far(label):
            pass
        reply = call(policed, "open", ANTHROPIC)
        ANTHROPIC.assert_refused(reply, 429, "too_many_open_calls")
        assert int(reply.header("retry-after") or 0) >= 1
        assert connection.reply().status == 200
    assert call(policed, "open").status == 200


# ------------------------------------------------------------------ limits


def test_a_shadow_limit_refuses_nothing_and_says_so(policed: GatewayProcess) -> None:
    reply = call(policed, "shadow")
    assert reply.status == 200
    row_of(policed, reply)
    metrics = exchange(policed.port, request("/metrics", None, method="GET")).body.decode()
    assert 'tollgate_flagged_rows_total{flag="shadow"} 1.0' in metrics
    assert "tollgate_shadow_refusals_total 1.0" in metrics


def test_grace_lets_a_limit_be_passed_and_says_so(policed: GatewayProcess) -> None:
    replies = [call(policed, "grace", headers={"x-sim-input-tokens": "200"}) for _ in range(14)]
    statuses = [reply.status for reply in replies]
    graced = [reply.status for reply in replies if reply.header("x-tollgate-grace")]
    assert graced
    assert set(graced) == {200}
    assert statuses[-1] == 402
    assert statuses == sorted(statuses), "once it is used up it stays so"
    spent = sum(row_of(policed, reply)["credits_microcredits"] for reply in replies if reply.status == 200)
    assert 20_000 < spent <= 40_000


def test_a_spent_limit_is_refused_for_good_in_every_dialect(
    policed: GatewayProcess, simulator: SimulatorProcess
) -> None:
    for api in WORDINGS:
        reply = call(policed, "tight", api)
        error = api.assert_refused(reply, 402, "budget_exceeded")
        assert "tight" in error["message"]
        assert reply.header("x-should-retry") == "false"
        assert reply.header("retry-after") is None
    assert simulator.totals()["requests"] == 0


def test_a_cap_is_lowered_to_what_is_left(policed: GatewayProcess, simulator: SimulatorProcess) -> None:
    reply = call(policed, "small", max_tokens=LONG)
    assert reply.status == 200
    cap = int(reply.header("x-tollgate-output-cap") or 0)
    assert 1_024 <= cap < LONG
    [asked] = simulator.requests()
    assert asked["caps"] == {"max_tokens": cap}
    assert 0 < Decimal(reply.header("x-tollgate-credits") or 0) < Decimal("0.5")
    assert 0 < Decimal(reply.header("x-tollgate-remaining") or 0) < Decimal("0.5")
    row = row_of(policed, reply)
    assert Decimal(row["credits_microcredits"]) / 1_000_000 == Decimal(
        reply.header("x-tollgate-credits") or 0
    )


def test_a_client_that_wants_no_clamping_is_refused(
    policed: GatewayProcess, simulator: SimulatorProcess
) -> None:
    reply = call(policed, "small", max_tokens=LONG, headers={"x-tollgate-clamp": "off"})
    OPENAI.assert_refused(reply, 402, "budget_exceeded")
    assert simulator.totals()["requests"] == 0
    assert call(policed, "small", headers={"x-tollgate-clamp": "off"}).header("x-tollgate-output-cap") is None


# ------------------------------------------------------------------ prepaid


def test_a_prepaid_balance(policed: GatewayProcess, simulator: SimulatorProcess) -> None:
    for api in WORDINGS:
        reply = call(policed, "prepaid", api)
        api.assert_refused(reply, 402, "balance_exhausted")
        assert reply.header("x-should-retry") == "false"
    assert simulator.totals()["requests"] == 0
    policed.command("credits", "grant", "prepaid", "2.5")
    reply = call(policed, "prepaid")
    assert reply.status == 200
    left = Decimal("2.5") - Decimal(reply.header("x-tollgate-credits") or 0)
    assert Decimal(reply.header("x-tollgate-remaining") or 0) == left
    assert policed.command("credits", "show", "prepaid").startswith(
        f"prepaid: {left.normalize()} credits left"
    )


# ------------------------------------------------------------------ what replies say


@pytest.mark.parametrize("api", WORDINGS, ids=lambda api: api.name)
def test_what_a_call_cost_is_in_its_headers(policed: GatewayProcess, api: Wording) -> None:
    reply = call(policed, "free", api)
    assert reply.status == 200
    row = row_of(policed, reply)
    assert reply.header("x-tollgate-usage-source") == row["usage_source"] == "provider"
    assert Decimal(reply.header("x-tollgate-credits") or 0) * 1_000_000 == row["credits_microcredits"]
    assert row["provider"] == api.name


async def _released(redis_url: str, org: str) -> None:
    """Give back what ``org`` holds, as `tollgate holds release` does."""
    store = RedisStore(redis_url)
    holds = RedisHolds(store, Directory({}), EmptyLedger())
    async for hold in RedisBooks(store).open_holds(org):
        await holds.release(hold.request_id, org)
    await holds.close()
    await store.close()


def test_a_call_whose_hold_somebody_else_ended_tells_no_charge(
    policed: GatewayProcess, simulator: SimulatorProcess
) -> None:
    label = new_label("late")
    with RawConnection(policed.port) as connection:
        headers = {"x-sim-label": label, "x-sim-first-byte-ms": "1000"}
        connection.send(OPENAI.request(json.dumps(OPENAI.body).encode(), "key-of-free", headers))
        while not simulator.so_far(label):
            pass
        asyncio.run(_released(policed.redis_url, "free"))
        reply = connection.reply()
    assert reply.status == 200
    assert (reply.header("x-tollgate-credits"), reply.header("x-tollgate-usage-source")) == (None, None)
    metrics = exchange(policed.port, request("/metrics", None, method="GET")).body.decode()
    assert "tollgate_late_settles_total 1.0" in metrics


def test_attribution_is_recorded_and_not_forwarded(
    policed: GatewayProcess, simulator: SimulatorProcess
) -> None:
    named = {
        "x-tollgate-user": "zo\u00eb",
        "x-tollgate-conversation": "c-1",
        "x-tollgate-tags": "team=x, kind = night",
    }
    row = row_of(policed, call(policed, "free", headers=named))
    assert (row["end_user"], row["conversation_id"]) == ("zo\u00eb", "c-1")
    tags = row["tags"] if isinstance(row["tags"], dict) else json.loads(row["tags"])
    assert tags == {"team": "x", "kind": "night"}
    [asked] = simulator.requests()
    assert not [name for name in asked["header_names"] if name.startswith("x-tollgate")]


def quote(gateway: GatewayProcess, who: str | None, document: object) -> RawReply:
    key = None if who is None else f"key-of-{who}"
    return exchange(gateway.port, request("/api/credits/quote", json.dumps(document).encode(), key=key))


def test_a_quote_holds_nothing_and_bounds_the_call(
    policed: GatewayProcess, simulator: SimulatorProcess
) -> None:
    reply = quote(policed, "free", {"path": OPENAI.path, "body": OPENAI.body})
    assert reply.status == 200
    found = reply.json()
    charged = call(policed, "free").header("x-tollgate-credits")
    assert Decimal(charged or 0) <= Decimal(found["credits_max"])
    assert Decimal(found["credits_min"]) <= Decimal(found["credits_max"])
    assert (found["model"], found["operation"], found["provider"]) == ("gpt-4o-mini", "chat", "openai")
    assert found["output_tokens_max"] == 20
    assert simulator.totals()["requests"] == 1


@pytest.mark.parametrize(
    ("who", "document", "status"),
    [
        (None, {"path": OPENAI.path, "body": {}}, 401),
        ("nobody", {"path": OPENAI.path, "body": {}}, 401),
        ("free", [], 400),
        ("free", {"path": 1, "body": {}}, 400),
        ("free", {"path": OPENAI.path, "body": "x"}, 400),
        ("free", {"path": OPENAI.path, "body": {}}, 400),
        ("free", {"path": "/v1/files", "body": {}}, 403),
        ("free", {"path": "/v1/../x", "body": {}}, 403),
        ("free", {"path": OPENAI.path, "body": {**OPENAI.body, "model": "nobody-sells-this"}}, 403),
        ("keymodels", {"path": OPENAI.path, "body": {**OPENAI.body, "model": "gpt-4o"}}, 403),
    ],
)
def test_a_quote_refuses_what_the_call_would_be_refused_for(
    policed: GatewayProcess, who: str | None, document: object, status: int
) -> None:
    reply = quote(policed, who, document)
    assert reply.status == status
    assert reply.json()["detail"]


# ------------------------------------------------------------------ providers


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_upstream_keys_are_shared_by_weight_and_by_org(
    policed: GatewayProcess, simulator: SimulatorProcess
) -> None:
    body = json.dumps(OPENAI.body).encode()
    for who, times in (("free", 8), ("vip", 2)):
        for _ in range(times):
            path = "/many/v1/chat/completions"
            assert exchange(policed.port, request(path, body, key=f"key-of-{who}")).status == 200
    used = Counter(asked["auth_sha256"] for asked in simulator.requests(at_least=10))
    assert used == {_sha256("upstream-heavy"): 6, _sha256("upstream-light"): 2, _sha256("upstream-vip"): 2}


def test_an_upstream_key_that_got_429_rests(policed: GatewayProcess, said: ScriptedProvider) -> None:
    body = json.dumps(OPENAI.body).encode()
    said.say(
        b"HTTP/1.1 429 Slow down\r\nretry-after: 60\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    )
    reply = exchange(policed.port, request("/resting/v1/chat/completions", body, key="key-of-free"))
    assert (reply.status, reply.body) == (429, b"{}")
    [first] = said.received
    said.say(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
    for _ in range(4):
        assert (
            exchange(policed.port, request("/resting/v1/chat/completions", body, key="key-of-free")).status
            == 200
        )
    later = {received.values(b"authorization")[0] for received in said.received}
    assert later == {b"Bearer one", b"Bearer two"} - set(first.values(b"authorization"))


def test_a_provider_is_reached_by_its_name(policed: GatewayProcess, simulator: SimulatorProcess) -> None:
    data = ANTHROPIC.call("key-of-free").replace(b"POST /", b"POST /second/", 1)
    reply = exchange(policed.port, data)
    assert reply.status == 200
    assert row_of(policed, reply)["provider"] == "second"
    [asked] = simulator.requests()
    assert (asked["path"], asked["auth_sha256"]) == ("/v1/messages", _sha256("upstream-second"))


@pytest.mark.parametrize(
    "path", ["/v1/models", "/openai/v1/models", "/v1/models/gpt-4o-mini", "/gemini/v1beta/models"]
)
def test_model_lists_are_free(policed: GatewayProcess, path: str) -> None:
    for who in ("free", "prepaid", "tight"):
        reply = exchange(policed.port, request(path, None, method="GET", key=f"key-of-{who}"))
        assert reply.status == 200, who
    assert exchange(policed.port, request(path, None, method="GET")).status == 401


@pytest.mark.parametrize(
    ("api", "path"),
    [(OPENAI, "/v1/files"), (OPENAI, "/v1/batches"), (OPENAI, "/v1/audio/speech"), (ANTHROPIC, "/v1/messages/batches"),
     (GEMINI, "/v1beta/models/gemini-2.5-flash:predictLongRunning")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)  # fmt: skip
def test_a_route_whose_cost_is_not_understood(
    policed: GatewayProcess, simulator: SimulatorProcess, api: Wording, path: str
) -> None:
    data = api.call("key-of-free").replace(api.path.encode(), path.encode(), 1)
    api.assert_refused(exchange(policed.port, data), 403, "unsupported_route")
    assert simulator.totals()["requests"] == 0


def test_after_all_this_the_books_agree(policed: GatewayProcess) -> None:
    assert policed.command("holds", "list").strip() == "no calls in flight"
    assert policed.command("reconcile").splitlines()[-1] == "drift 0"
