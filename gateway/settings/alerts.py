"""The ``alerts``, ``mail``, ``sms`` and ``webhooks`` sections of tollgate.yaml: when people are told, and how."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from gateway.settings.limits import AlertLevels
from gateway.settings.section import Section

_MAILBOX = re.compile(r"[^<>\r\n]*<[^\s@<>]+@[^\s@<>]+>|[^\s@<>]+@[^\s@<>]+")


class AlertSettings(Section):
    """What holds for every organisation that says nothing else."""

    levels: AlertLevels = (75, 90, 100)
    """Percent of a limit at which people are told."""
    summary_hour: Annotated[int, Field(ge=0, le=23)] = 8
    """When daily summaries and monthly statements are sent, in each organisation's own zone."""


class MailSettings(Section):
    """The SMTP server that e-mail is handed to. Without ``host`` no e-mail is sent."""

    host: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    encryption: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: SecretStr | None = None
    sender: Annotated[str, Field(validate_default=True)] = "Tollgate <tollgate@localhost>"
    """``Name <address>`` or an address. Message ids carry its domain."""
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 30.0

    @field_validator("sender")
    @classmethod
    def _a_mailbox(cls, value: str) -> str:
        if not _MAILBOX.fullmatch(value):
            raise ValueError("must look like Tollgate <tollgate@example.com>")
        return value


class SmsSettings(Section):
    """A service that takes text messages as Twilio's does. Without ``account`` no text message is sent."""

    base_url: str = "https://api.twilio.com"
    account: str | None = None
    token: Annotated[SecretStr | None, Field(validate_default=True)] = None
    sender: Annotated[str | None, Field(validate_default=True)] = None
    """The number or name that messages come from."""
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 15.0

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^/?#\s@]+(/[^?#\s]*)?", value):
            raise ValueError("must look like https://host[:port], without query or credentials")
        return value.rstrip("/")

    @field_validator("token", "sender")
    @classmethod
    def _with_the_account(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.data.get("account"):
            raise ValueError("is needed with an account")
        return value


class WebhookSettings(Section):
    """How messages are sent to the webhooks of organisations."""

    allow_private: bool = False
    """true: also to addresses that are not of the public internet, and without TLS. For tests and intranets whose
    organisations trust each other: the gateway then lets them reach whatever it can reach."""
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 15.0
