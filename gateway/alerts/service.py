"""Everything of alerts in one gateway process, built and run together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from gateway.alerts.courier import Courier
from gateway.alerts.courier import Pace as CourierPace
from gateway.alerts.delivery import Channel
from gateway.alerts.digest import Digests, Statements
from gateway.alerts.ledger_statements import LedgerStatements
from gateway.alerts.mail import MailChannel
from gateway.alerts.postgres_book import AlertBook
from gateway.alerts.postgres_choices import AlertChoices, Publishing
from gateway.alerts.postgres_deliveries import DeliveryTable
from gateway.alerts.postgres_spend import Spend
from gateway.alerts.postgres_webhooks import WebhookTable
from gateway.alerts.reader import POLL_S, AlertReader
from gateway.alerts.sms import SmsChannel
from gateway.alerts.timely import TimelyNews
from gateway.alerts.webhook import WebhookChannel
from gateway.budgets.windows import Calendar
from gateway.identity.declared import Declared
from gateway.identity.vault import Vault
from gateway.jobs.job import Trade
from gateway.ledger.postgres_reading import LedgerReading
from gateway.settings.alerts import AlertSettings, MailSettings, SmsSettings, WebhookSettings
from gateway.stores.postgres import Postgres
from gateway.stores.redis import RedisCalls


@dataclass(frozen=True, slots=True)
class AlertSections:
    """What tollgate.yaml says of it."""

    alerts: AlertSettings = field(default_factory=AlertSettings)
    mail: MailSettings = field(default_factory=MailSettings)
    sms: SmsSettings = field(default_factory=SmsSettings)
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)

    @property
    def channels(self) -> list[str]:
        """The ways that this installation has beside webhooks."""
        return [*(["email"] if self.mail.host else []), *(["sms"] if self.sms.account else [])]


class Alerts:
    """`start` and `stop` are idempotent; neither store has to be up.

    ``declared``: what limits.yaml says of people; ``calendar``: of an org, its zone and week.
    """

    def __init__(
        self,
        sections: AlertSections,
        postgres: Postgres,
        redis: RedisCalls,
        vault: Vault,
        declared: Callable[[], Declared],
        calendar: Callable[[str], Calendar],
        now: Callable[[], datetime],
        publishing: Publishing,
        *,
        partitions: int = 1,
        digests: Digests | None = None,
        statements: Statements | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        self.choices = AlertChoices(postgres, vault, now, publishing)
        self.deliveries = DeliveryTable(postgres)
        self.webhooks = WebhookTable(postgres, vault, now, allow_private=sections.webhooks.allow_private)
        self._webhook = WebhookChannel(self.webhooks, sections.webhooks, now)
        self._sms = SmsChannel(sections.sms, self.choices.address_of, calendar)
        mail = MailChannel(sections.mail, self.choices.address_of, calendar)
        ways: list[Channel] = [mail, self._sms]
        used = [channel for channel in ways if channel.name in sections.channels]
        pace = CourierPace(poll_s=poll_s)
        self.couriers = [Courier(self.deliveries, channel, now, pace=pace) for channel in used]
        self.couriers.append(Courier(self.deliveries, self._webhook, now, pace=pace, gone=self._webhook.gone))
        self.book = AlertBook(postgres, redis, declared, now, sections.channels)
        self.reader = AlertReader(redis, postgres, self.book, calendar, partitions=partitions, poll_s=poll_s)
        spend = Spend(postgres)
        self._news = TimelyNews(
            self.book, spend, self.choices, calendar, now, summary_hour=sections.alerts.summary_hour,
            digests=digests or spend, statements=statements or LedgerStatements(LedgerReading(postgres)),
        )  # fmt: skip

    def trades(self) -> list[Trade]:
        """For the process's `gateway.jobs.runner.JobRunner`."""
        return self._news.trades()

    async def start(self) -> None:
        await self.reader.start()
        for courier in self.couriers:
            await courier.start()

    async def stop(self) -> None:
        """Waits for what is being recorded and sent."""
        await self.reader.stop()
        for courier in self.couriers:
            await courier.stop()
        await self._webhook.close()
        await self._sms.close()
