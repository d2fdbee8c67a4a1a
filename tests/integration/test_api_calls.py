"""Rules that every call of the API keeps, whatever its operation: over real sockets, Redis and Postgres."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from openapi_spec_validator import validate
from pydantic import BaseModel, Field

from gateway.api.authentication import Authentication
from gateway.api.dispatch import Dispatch
from gateway.api.openapi import openapi
from gateway.api.operation import AnyOperation, Call, NoParams, Operation, OrgParams, Strict
from gateway.api.peer import counted_as
from gateway.api.postgres_answers import Answers
from gateway.api.protection import Protection
from gateway.api.router import Router
from gateway.errors import Conflict, UnknownKey
from gateway.identity.roles import Action, Principal, Role, named_org
from gateway.ledger.migrate import migrate
from gateway.proxy.body_room import BodyRoom
from gateway.settings.api import ApiSettings
from gateway.stores.postgres import Postgres
from gateway.stores.redis import RedisStore

ADMIN = "the-admin-token-of-this-test"
PAGE = "https://console.example"


class Shelf(OrgParams):
    name: Annotated[str, Field(min_length=2, max_length=10)]
    colour: tuple[str, ...] = ()


class Thing(Strict):
    size: Annotated[int, Field(ge=1, le=9)]


class Seen(BaseModel):
    org: str
    name: str
    size: int
    times: int


@dataclass
class Shop:
    """Operations to try the framework with, and what they were asked."""

    asked: list[Call[Any, Any]] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def put(self, call: Call[Shelf, Thing]) -> Seen:
        self.asked.append(call)
        if call.params.name == "taken":
            raise Conflict("There is something there already.")
        return Seen(
            org=named_org(call.reach), name=call.params.name, size=call.body.size, times=len(self.asked)
        )

    async def broken(self, call: Call[NoParams, Any]) -> Seen:
        raise RuntimeError(f"secret of {call.credential}")

    async def text(self, call: Call[NoParams, Any]) -> web.StreamResponse:
        reply = call.stream("text/csv", {"content-disposition": "attachment"})
        await reply.prepare(call.request)
        await reply.write(b"a,b\n")
        await reply.write_eof()
        return reply

    def operations(self) -> list[AnyOperation]:
        put = Operation(
            method="POST",
            path="/api/shelves/{name}",
            name="put_thing",
            tag="Shelves",
            summary="Put a thing",
            action=Action.BUY,
            handler=self.put,
            params=Shelf,
            body=Thing,
            reply=Seen,
            status=201,
            errors=(409,),
            idempotent=True,
        )
        broken = Operation(
            "GET", "/api/broken", "be_broken", "Shelves", "Break", Action.SEE_ME, self.broken, reply=Seen
        )
        text = Operation(
            "GET", "/api/text", "get_text", "Shelves", "Text", Action.SEE_ME, self.text, media=("text/csv",)
        )
        return [put, broken, text]


class People:
    """Four keys of people, one of another organisation, and any number of a team's own."""

    async def principal_of(self, key: str) -> Principal:
        if key.startswith("bot-"):
            return Principal(f"key:{key}", frozenset({Role.MEMBER}), "acme", None, "research", key)
        roles = {"ada": Role.OWNER, "eve": Role.OWNER, "kim": Role.AUDITOR, "gus": Role.OWNER}
        if key not in roles:
            raise UnknownKey
        org = "globex" if key == "gus" else "acme"
        return Principal(f"user:{key}", frozenset({roles[key]}), org, key, None, key)


async def there_is(org: str) -> None:
    """Every organisation."""


@pytest.fixture
def shop() -> Shop:
    return Shop()


class Room(BodyRoom):
    """Little of it; ``filled`` when two bodies of a million bytes are in it."""

    def __init__(self) -> None:
        super().__init__(3 * 1024 * 1024, 1024 * 1024)
        self.filled = asyncio.Event()

    def take(self, org: str, size: int) -> None:
        super().take(org, size)
        if self.taken >= 2_000_000:
            self.filled.set()


@pytest.fixture
def bodies() -> Room:
    return Room()


@pytest.fixture
async def client(
    shop: Shop, bodies: Room, redis_url: str, postgres_dsn: str
) -> AsyncIterator[aiohttp.ClientSession]:
    await migrate(postgres_dsn)
    redis, postgres = RedisStore(redis_url), Postgres(postgres_dsn)
    await postgres.start()
    settings = ApiSettings(calls_per_minute=40, sign_in_failures_per_minute=5, cors_origins=(PAGE,))
    authentication = Authentication(ADMIN, People(), redis, settings)
    router = Router(Protection(settings.cors_origins))
    dispatch = Dispatch(authentication, Answers(postgres), lambda: datetime.now(UTC), there_is, bodies)
    router.add_operations(shop.operations(), dispatch)
    server = RawTestServer(router.handle)
    await server.start_server()
    async with aiohttp.ClientSession(
        server.make_url("/"), headers={"authorization": "Bearer ada"}
    ) as session:
        yield session
    await server.close()
    await redis.close()
    await postgres.stop()


async def problem_of(reply: aiohttp.ClientResponse) -> dict[str, Any]:
    assert reply.content_type == "application/problem+json"
    document: dict[str, Any] = await reply.json(content_type=None)
    assert document["status"] == reply.status
    assert document["code"] == reply.headers["x-tollgate-error"]
    assert document["request_id"] == reply.headers["x-tollgate-request-id"]
    return document


async def test_a_call_reaches_its_handler_with_what_was_sent(
    client: aiohttp.ClientSession, shop: Shop
) -> None:
    async with client.post("/api/shelves/top?colour=red&colour=blue", json={"size": 3}) as reply:
        assert reply.status == 201
        assert await reply.json() == {"org": "acme", "name": "top", "size": 3, "times": 1}
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-content-type-options"] == "nosniff"
    assert shop.asked[0].params.colour == ("red", "blue")
    assert shop.asked[0].source == "127.0.0.1"


@pytest.mark.parametrize(
    ("query", "body", "named"),
    [
        ("", b'{"size": 10}', "size"),
        ("", b'{"size": "three"}', "size"),
        ("", b"{}", "size"),
        ("", b"", "size"),
        ("", b'{"size": 1, "sice": 2}', "sice"),
        ("?sort=up", b'{"size": 1}', "sort"),
        ("?colour=re%00d", b'{"size": 1}', "colour"),
        ("", b'{"si\\u0000ze": 1}', "(body)"),
        ("?name=other", b'{"size": 1}', "name"),
        ("?org=acme&org=globex", b'{"size": 1}', "org"),
        ("", b'{"size": 1', None),
        ("", b"[1]", None),
        ("", b"\xff\xfe", None),
    ],
)
async def test_what_is_wrong_is_named(
    client: aiohttp.ClientSession, shop: Shop, query: str, body: bytes, named: str | None
) -> None:
    async with client.post(f"/api/shelves/top{query}", data=body) as reply:
        assert reply.status == 400
        assert (await problem_of(reply)).get("param") == named
    assert shop.asked == []


async def test_a_body_beyond_the_bound_is_refused(client: aiohttp.ClientSession) -> None:
    async with client.post("/api/shelves/top", data=io.BytesIO(b" " * (1024 * 1024 + 1))) as reply:
        assert reply.status == 413


async def test_an_organisation_whose_bodies_drip_in_takes_no_more_memory_than_leaves_room_for_others(
    client: aiohttp.ClientSession, bodies: Room
) -> None:
    go_on = asyncio.Event()

    async def dripping() -> AsyncIterator[bytes]:
        yield b'{"size": ' + b" " * 1_000_000
        await go_on.wait()
        yield b"3}"

    async def put(name: str) -> int:
        async with client.post(f"/api/shelves/{name}", data=dripping()) as reply:
            return reply.status

    slow = [asyncio.create_task(put(name)) for name in ("first", "second")]
    await bodies.filled.wait()
    large = b'{"size": 3}' + b" " * 500_000
    async with client.post("/api/shelves/third", data=large) as reply:
        assert (reply.status, (await problem_of(reply))["code"]) == (503, "gateway_busy")
        assert int(reply.headers["retry-after"]) > 0
    other = {"authorization": "Bearer gus"}
    async with client.post("/api/shelves/third", data=large, headers=other) as reply:
        assert reply.status == 201
    go_on.set()
    assert await asyncio.gather(*slow) == [201, 201]
    async with client.post("/api/shelves/third", data=large) as reply:
        assert reply.status == 201
    assert bodies.taken == 0


async def test_who_one_is_comes_before_what_one_sent(client: aiohttp.ClientSession) -> None:
    for credential, status in (("Bearer nobody", 401), ("", 401), ("Basic ada", 401), ("Bearer kim", 403)):
        async with client.post(
            "/api/shelves/x?nonsense=1", data=b"{", headers={"authorization": credential}
        ) as reply:
            assert reply.status == status
            await problem_of(reply)


async def test_the_admin_must_say_which_organisation_is_meant(client: aiohttp.ClientSession) -> None:
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with client.post("/api/shelves/top", json={"size": 1}, headers=headers) as reply:
        assert (reply.status, (await problem_of(reply))["param"]) == (400, "org")
    async with client.post("/api/shelves/top?org=globex", json={"size": 1}, headers=headers) as reply:
        assert (await reply.json())["org"] == "globex"


async def test_another_organisation_is_refused(client: aiohttp.ClientSession, shop: Shop) -> None:
    async with client.post("/api/shelves/top?org=globex", json={"size": 1}) as reply:
        assert reply.status == 403
    assert shop.asked == []


async def test_a_guesser_is_told_to_wait_and_whoever_shares_the_address_is_not(
    client: aiohttp.ClientSession,
) -> None:
    for attempt in range(7):
        async with client.get("/api/text", headers={"authorization": f"Bearer guess-{attempt}"}) as reply:
            assert reply.status == (401 if attempt < 5 else 429)
    assert int(reply.headers["retry-after"]) > 0
    for credential in ("ada", ADMIN):
        async with client.get("/api/text", headers={"authorization": f"Bearer {credential}"}) as reply:
            assert reply.status == 200


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("unknown", "unknown"),
    ],
)
def test_a_subscriber_with_many_addresses_is_counted_once(address: str, counted: str) -> None:
    assert counted_as(address) == counted


async def test_a_caller_that_asks_too_often_has_to_wait_and_others_do_not(
    client: aiohttp.ClientSession,
) -> None:
    statuses = []
    for _ in range(41):
        async with client.get("/api/text") as reply:
            statuses.append(reply.status)
    assert statuses == [200] * 40 + [429]
    async with client.get("/api/text", headers={"authorization": "Bearer eve"}) as reply:
        assert reply.status == 200


async def test_keys_that_belong_to_nobody_ask_together_as_often_as_one_person(
    client: aiohttp.ClientSession,
) -> None:
    statuses = []
    for number in range(41):
        async with client.get("/api/text", headers={"authorization": f"Bearer bot-{number}"}) as reply:
            statuses.append(reply.status)
    assert statuses == [200] * 40 + [429]


async def test_a_repetition_is_answered_like_the_first_time(
    client: aiohttp.ClientSession, shop: Shop
) -> None:
    headers = {"idempotency-key": "order-1"}
    answers = []
    for body in (b'{"size": 3}', b' {"size":3} '):
        async with client.post("/api/shelves/top", data=body, headers=headers) as reply:
            answers.append((reply.status, await reply.text()))
    assert answers[0] == answers[1]
    assert len(shop.asked) == 1
    assert shop.asked[0].idempotency_key == "order-1"
    async with client.post("/api/shelves/top", json={"size": 4}, headers=headers) as reply:
        assert (await problem_of(reply))["code"] == "idempotency_key_reused"
    async with client.post("/api/shelves/low", json={"size": 3}, headers=headers) as reply:
        assert reply.status == 409
    async with client.post(
        "/api/shelves/top", json={"size": 4}, headers={**headers, "authorization": "Bearer eve"}
    ) as reply:
        assert reply.status == 201, "another caller's keys are their own"


async def test_a_refusal_is_not_remembered_as_an_answer(client: aiohttp.ClientSession, shop: Shop) -> None:
    for _ in range(2):
        async with client.post(
            "/api/shelves/taken", json={"size": 1}, headers={"idempotency-key": "again"}
        ) as reply:
            assert reply.status == 409
    assert len(shop.asked) == 2


async def test_a_mistake_of_ours_is_a_problem_without_details(client: aiohttp.ClientSession) -> None:
    async with client.get("/api/broken") as reply:
        assert reply.status == 500
        assert "secret" not in str(await problem_of(reply))


async def test_a_streamed_reply_carries_what_every_reply_does(client: aiohttp.ClientSession) -> None:
    async with client.get("/api/text") as reply:
        assert await reply.text() == "a,b\n"
        assert reply.headers["content-type"] == "text/csv; charset=utf-8"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-tollgate-request-id"]


async def test_a_wrong_method_and_a_wrong_path_are_told_apart(client: aiohttp.ClientSession) -> None:
    async with client.delete("/api/text") as reply:
        assert (reply.status, reply.headers["allow"]) == (405, "GET")
    async with client.get("/api/nothing") as reply:
        assert (await problem_of(reply))["code"] == "not_found"


async def test_only_pages_of_the_named_origins_may_read(client: aiohttp.ClientSession) -> None:
    ask = {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}
    async with client.options("/api/text", headers={**ask, "origin": PAGE}) as reply:
        assert reply.status == 204
        assert reply.headers["access-control-allow-origin"] == PAGE
        assert "authorization" in reply.headers["access-control-allow-headers"]
    for origin in ("https://evil.example", "null"):
        async with client.get("/api/text", headers={"origin": origin}) as reply:
            assert "access-control-allow-origin" not in reply.headers
            assert reply.headers["vary"] == "origin"


def test_the_description_of_the_api_is_valid(shop: Shop) -> None:
    document = openapi(shop.operations(), "1")
    validate(document)
    put = document["paths"]["/api/shelves/{name}"]["post"]
    assert {(one["name"], one["in"], one["required"]) for one in put["parameters"]} == {
        ("name", "path", True),
        ("org", "query", False),
        ("colour", "query", False),
        ("Idempotency-Key", "header", False),
    }
    assert {"201", "400", "401", "403", "409", "413", "429", "500", "503"} <= set(put["responses"])
