"""Webhooks by Standard Webhooks: a signed JSON body; 2xx is taken, 3xx and everything else is tried again, 410 ends it.

What a receiver answers is not read: only its status counts.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import orjson

from gateway.alerts.delivery import Attempt, Delivery, Outcome
from gateway.alerts.guard import AddressRefused, GuardedResolver, Lookup, check_url, open_public
from gateway.alerts.kind import TEST
from gateway.alerts.notice import instant
from gateway.alerts.postgres_book import document
from gateway.alerts.postgres_webhooks import WebhookTable
from gateway.alerts.signing import headers
from gateway.errors import BadRequest
from gateway.settings.alerts import WebhookSettings

BODY_BYTES_MAX = 20_000
"""Standard Webhooks asks for less than 20 kB; alerts have one or two."""


class WebhookChannel:
    """``close`` is idempotent. ``lookup``: in place of the system's name resolution."""

    name = "webhook"

    def __init__(
        self,
        table: WebhookTable,
        settings: WebhookSettings,
        now: Callable[[], datetime],
        *,
        lookup: Lookup | None = None,
    ) -> None:
        self._table = table
        self._settings = settings
        self._now = now
        self._lookup = lookup
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, delivery: Delivery) -> Attempt:
        found = await self._table.sendable(delivery.target.partition(":")[2])
        if found is None:
            return Attempt(Outcome.REFUSED, reason="the webhook is not in use any more")
        url, signers = found
        try:
            check_url(url, allow_private=self._settings.allow_private)
        except BadRequest as error:
            return Attempt(Outcome.REFUSED, reason=error.message)
        sent = body(delivery)
        signed = headers(delivery.message_id, self._now(), sent, signers)
        try:
            async with self._http().post(
                url,
                data=sent,
                headers={"content-type": "application/json", "user-agent": "Tollgate-Webhooks", **signed},
                allow_redirects=False,
            ) as reply:
                return self._attempt(reply)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return Attempt(Outcome.FAILED, reason=_reason(error))

    async def gone(self, delivery: Delivery) -> None:
        """The receiver answered 410: send it nothing more."""
        await self._table.disable(delivery.target.partition(":")[2], "its receiver answered 410 Gone")

    def _attempt(self, reply: aiohttp.ClientResponse) -> Attempt:
        status = reply.status
        if 200 <= status < 300:
            return Attempt(Outcome.DELIVERED, status)
        if status == 410:
            return Attempt(Outcome.GONE, status, "the receiver is gone")
        if 300 <= status < 400:
            return Attempt(Outcome.FAILED, status, "the receiver redirects; redirects are not followed")
        wait = retry_after_s(reply.headers.get("retry-after"), self._now())
        return Attempt(Outcome.FAILED, status, "the receiver did not take it", wait)

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            allow_private = self._settings.allow_private
            resolver = (
                GuardedResolver(allow_private=allow_private)
                if self._lookup is None
                else GuardedResolver(allow_private=allow_private, lookup=self._lookup)
            )
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=resolver,
                    use_dns_cache=False,
                    limit=64,
                    socket_factory=None if allow_private else open_public,
                ),
                timeout=aiohttp.ClientTimeout(self._settings.timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def body(delivery: Delivery) -> bytes:
    """``{type, timestamp, data}``. Too large (no alert is): without what makes it so."""
    alert = delivery.alert
    if alert is None:
        return orjson.dumps(
            {"type": TEST, "timestamp": instant(delivery.created_at), "data": {"org_id": delivery.org_id}}
        )
    message = {
        "type": f"alert.{alert.kind}",
        "timestamp": instant(alert.occurred_at),
        "data": document(alert),
    }
    written = orjson.dumps(message)
    if len(written) < BODY_BYTES_MAX:
        return written
    said = {**document(alert), **dict.fromkeys(alert.data), "truncated": True}
    return orjson.dumps({**message, "data": said})


def retry_after_s(value: str | None, now: datetime | None) -> float | None:
    """Seconds that a ``Retry-After`` asks for, as a number or a date (RFC 9110, 10.2.3); None: nothing usable."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value[:10])
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def _reason(error: Exception) -> str:
    """Without the address: it may be in the words of the error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AddressRefused):
            return "the address is not one of the public internet"
        cause = cause.__cause__ or (
            cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else None
        )
    if isinstance(error, TimeoutError):
        return "the receiver did not answer in time"
    return f"no connection: {type(error).__name__}"
