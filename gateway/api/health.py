"""Is this process alive, is it fit for traffic, and what does it measure of itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import orjson
from aiohttp import web

from gateway.api.router import Router


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that readiness depends on. ``fatal``: without it no request should be sent here."""

    name: str
    ok: bool
    fatal: bool = True
    reason: str | None = None


Checks = Callable[[], Awaitable[list[Check]]]


def add_health(router: Router, checks: Checks, metrics: Callable[[], bytes]) -> None:
    async def live(_: web.BaseRequest, __: Mapping[str, str]) -> web.Response:
        return _json(200, {"status": "ok"})

    async def ready(_: web.BaseRequest, __: Mapping[str, str]) -> web.Response:
        found = await checks()
        fit = all(check.ok for check in found if check.fatal)
        body = {
            "status": "ok" if fit else "unavailable",
            "checks": {
                check.name: "ok" if check.ok else f"{'failed' if check.fatal else 'warning'}: {check.reason}"
                for check in found
            },
        }
        return _json(200 if fit else 503, body)

    async def exposition(_: web.BaseRequest, __: Mapping[str, str]) -> web.Response:
        return web.Response(
            body=metrics(), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    router.add("GET", "/health/live", live)
    router.add("GET", "/health/ready", ready)
    router.add("GET", "/metrics", exposition)


def _json(status: int, body: object) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
