"""E-mail, handed to an SMTP server. When the server is down or says "later", the message is tried again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Literal

import aiosmtplib

from gateway.alerts.delivery import Attempt, Delivery, Outcome
from gateway.alerts.wording import message
from gateway.budgets.windows import Calendar
from gateway.identity.profile import is_email
from gateway.settings.alerts import MailSettings

AddressOf = Callable[[str, str, Literal["email", "sms"]], Awaitable[str | None]]
"""(org, target, channel) -> where the target is reached now."""
NOBODY = Attempt(Outcome.REFUSED, reason="has no such address any more")
NOT_ONE = Attempt(Outcome.REFUSED, reason="the address is not that of one mailbox")


class MailChannel:
    """``settings.host`` must be given."""

    name = "email"

    def __init__(
        self, settings: MailSettings, address_of: AddressOf, calendar: Callable[[str], Calendar]
    ) -> None:
        self._settings = settings
        self._address_of = address_of
        self._calendar = calendar

    async def send(self, delivery: Delivery) -> Attempt:
        address = await self._address_of(delivery.org_id, delivery.target, "email")
        if address is None:
            return NOBODY
        if not is_email(address):  # taken before such addresses were refused; a header may make several of it
            return NOT_ONE
        return await self._hand_over(self._mail(delivery, address))

    def _mail(self, delivery: Delivery, address: str) -> EmailMessage:
        said = message(delivery.alert, self._calendar(delivery.org_id))
        mail = EmailMessage()
        mail["From"] = self._settings.sender
        mail["To"] = address
        mail["Subject"] = said.title
        mail["Date"] = format_datetime(delivery.created_at)
        # The same over all attempts, so that a mail program shows a message that came twice once.
        mail["Message-ID"] = (
            f"<{delivery.message_id}@{parseaddr(self._settings.sender)[1].partition('@')[2]}>"
        )
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies
        mail.set_content(said.plain)
        mail.add_alternative(said.html, subtype="html")
        return mail

    async def _hand_over(self, mail: EmailMessage) -> Attempt:
        settings = self._settings
        password = settings.password
        try:
            await aiosmtplib.send(
                mail, hostname=settings.host, port=settings.port, username=settings.username,
                password=None if password is None else password.get_secret_value(), timeout=settings.timeout_s,
                use_tls=settings.encryption == "tls",
                start_tls=settings.encryption == "starttls",
            )  # fmt: skip
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refused.code for refused in error.recipients]
            final = all(code >= 500 for code in codes)
            outcome = Outcome.REFUSED if final else Outcome.FAILED
            return Attempt(outcome, codes[0] if codes else None, "the mail server refuses the recipient")
        except aiosmtplib.SMTPAuthenticationError as error:
            # The fault is ours and may be mended: no reason to give the message up.
            return Attempt(Outcome.FAILED, error.code, "the mail server refuses our credentials")
        except aiosmtplib.SMTPResponseException as error:
            outcome = Outcome.REFUSED if error.code >= 500 else Outcome.FAILED
            return Attempt(outcome, error.code, "the mail server refuses the message")
        except (aiosmtplib.SMTPException, OSError) as error:
            return Attempt(Outcome.FAILED, reason=f"the mail server does not answer: {type(error).__name__}")
        return Attempt(Outcome.DELIVERED, 250)
