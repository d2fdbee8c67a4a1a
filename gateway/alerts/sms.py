"""Text messages, by the HTTP interface that Twilio made common: a form, basic authentication, 201 when it is taken.

https://www.twilio.com/docs/messaging/api/message-resource. When the service is down the message is tried again.
"""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from gateway.alerts.delivery import Attempt, Delivery, Outcome
from gateway.alerts.mail import NOBODY, AddressOf
from gateway.alerts.webhook import retry_after_s
from gateway.alerts.wording import message
from gateway.budgets.windows import Calendar
from gateway.settings.alerts import SmsSettings


class SmsChannel:
    """``settings.account``, ``token`` and ``sender`` must be given. ``close`` is idempotent."""

    name = "sms"

    def __init__(
        self, settings: SmsSettings, address_of: AddressOf, calendar: Callable[[str], Calendar]
    ) -> None:
        self._settings = settings
        self._address_of = address_of
        self._calendar = calendar
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, delivery: Delivery) -> Attempt:
        address = await self._address_of(delivery.org_id, delivery.target, "sms")
        if address is None:
            return NOBODY
        settings, token = self._settings, self._settings.token
        assert settings.account is not None
        assert settings.sender is not None
        assert token is not None
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(settings.timeout_s))
        said = message(delivery.alert, self._calendar(delivery.org_id)).sms
        try:
            async with self._session.post(
                f"{settings.base_url}/2010-04-01/Accounts/{settings.account}/Messages.json",
                data={"To": address, "From": settings.sender, "Body": said},
                headers={
                    "authorization": aiohttp.encode_basic_auth(settings.account, token.get_secret_value())
                },
                allow_redirects=False,
            ) as reply:
                return _attempt(reply)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Attempt(
                Outcome.FAILED, reason=f"the message service does not answer: {type(error).__name__}"
            )


def _attempt(reply: aiohttp.ClientResponse) -> Attempt:
    if reply.status < 300:
        return Attempt(Outcome.DELIVERED, reply.status)
    # Credentials, payments and rates are ours to mend; a number that is not one stays that.
    if reply.status in (400, 404):
        return Attempt(Outcome.REFUSED, reply.status, "the message service refuses the number")
    wait = retry_after_s(reply.headers.get("retry-after"), None)
    return Attempt(Outcome.FAILED, reply.status, "the message service refuses", wait)
