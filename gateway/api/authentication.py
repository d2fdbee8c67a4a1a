"""Who is asking the API: the admin token, or a Tollgate key that stands for someone.

Guesses are bounded: an address that sends too many wrong credentials is told to wait instead of what was wrong, and a
caller that asks too often has to wait. Right credentials are never refused for somebody else's wrong ones: many callers
may share an address, and a token of 32 characters is not found by asking. The counts are in Redis, so that all gateways
count together; while it is down they are not kept, and nothing that the API does works without it anyway.
"""

from __future__ import annotations

import hmac
import time
from typing import Protocol

from aiohttp import web

from gateway.api.peer import address_of, counted_as
from gateway.errors import RateLimited, StoreUnavailable, Unauthenticated
from gateway.identity.roles import ADMIN, Principal
from gateway.settings.api import ApiSettings
from gateway.stores.redis import RedisCalls

MINUTE_S = 60


class Principals(Protocol):
    """See `gateway.identity.principals`."""

    async def principal_of(self, key: str) -> Principal:
        """Whom ``key`` stands for. Raises `Unauthenticated` and its kin, or `StoreUnavailable`."""


class Authentication:
    """One call of `identify` for each call of the API."""

    def __init__(
        self, admin_token: str, principals: Principals, redis: RedisCalls, settings: ApiSettings
    ) -> None:
        self._admin_token = admin_token.encode()
        self._principals = principals
        self._redis = redis
        self._settings = settings

    def address_of(self, request: web.BaseRequest) -> str:
        """Where a call came from, for counting and for the audit log."""
        return address_of(request, self._settings.trusted_proxies)

    async def identify(self, request: web.BaseRequest) -> tuple[Principal, str]:
        """The caller and the credential that was sent. Raises `Unauthenticated`, `RateLimited`, `StoreUnavailable`."""
        credential = credential_of(request)
        if credential is None:
            raise Unauthenticated("Send a Tollgate key, or the admin token, as `Authorization: Bearer ...`.")
        minute = int(time.time()) // MINUTE_S
        if hmac.compare_digest(credential.encode("utf-8", "surrogateescape"), self._admin_token):
            return ADMIN, credential
        try:
            principal = await self._principals.principal_of(credential)
        except Unauthenticated:
            await self._count_guess(counted_as(self.address_of(request)), minute)
            raise
        calls = await self._count(f"tg:api:calls:{principal.counted_as}:{minute}")
        if calls > self._settings.calls_per_minute:
            raise RateLimited(
                f"More than {self._settings.calls_per_minute} calls of the API in a minute.",
                retry_after_s=MINUTE_S,
            )
        return principal, credential

    async def _count_guess(self, address: str, minute: int) -> None:
        failures = await self._count(f"tg:api:failures:{address}:{minute}")
        if failures > self._settings.sign_in_failures_per_minute:
            raise RateLimited(
                "Too many wrong credentials from this address; wait a minute.", retry_after_s=MINUTE_S
            )

    async def _count(self, name: str) -> int:
        """One more in this minute; how many there were."""
        try:
            count = int(await self._redis.command("INCR", name))
            await self._redis.command("EXPIRE", name, str(2 * MINUTE_S))
        except StoreUnavailable:
            return 0
        return count


def credential_of(request: web.BaseRequest) -> str | None:
    """The bearer token, or what ``x-api-key`` says."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key", "").strip() or None
