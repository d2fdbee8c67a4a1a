"""Gateways' alerts on real stores, with a clock that tests turn and people who can be reached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from gateway.alerts.courier import Courier
from gateway.alerts.service import Alerts, AlertSections
from gateway.budgets.directory import Directory
from gateway.budgets.ports import EmptyLedger
from gateway.budgets.postgres_managed import ManagedLimits
from gateway.budgets.redis_holds import RedisHolds
from gateway.budgets.windows import Calendar
from gateway.identity.declared import Declared
from gateway.identity.orgs import Publishing
from gateway.identity.vault import Vault, place
from gateway.ledger.migrate import migrate
from gateway.settings.alerts import MailSettings, SmsSettings, WebhookSettings
from gateway.settings.encryption import EncryptionSettings
from gateway.settings.limits import LimitsFile
from gateway.stores.postgres import Postgres
from gateway.stores.redis import RedisStore
from tests.support.alert_receivers import HttpReceiver, MailServer
from tests.unit.budgets.making import ask_for

VAULT = Vault(EncryptionSettings(keys={"k1": SecretStr("00112233445566778899aabbccddeeff" * 2)}, active="k1"))
PARTITIONS = 4
START = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Clock:
    def __init__(self, time: datetime = START) -> None:
        self.time = time

    def __call__(self) -> datetime:
        return self.time

    def forward(self, **by: float) -> None:
        self.time += timedelta(**by)


class AlertingGateway:
    """One gateway's part: holds and alerts, with connections of its own. Nothing runs unless a test says so."""

    def __init__(self, redis_url: str, dsn: str, directory: Directory, sections: AlertSections, clock: Clock):
        self.redis = RedisStore(redis_url)
        self.postgres = Postgres(dsn)
        self.holds = RedisHolds(self.redis, directory, EmptyLedger(), partitions=PARTITIONS)
        declared = Declared(LimitsFile())
        self.calendar = Calendar("Europe/Paris")
        self.alerts = Alerts(
            sections, self.postgres, self.redis, VAULT, lambda: declared, lambda org: self.calendar, clock,
            Publishing(ManagedLimits(self.postgres, self.redis), self.holds.published_version),
            partitions=PARTITIONS, poll_s=0.02,
        )  # fmt: skip

    async def start(self) -> None:
        await self.postgres.start()
        await self.holds.start()

    async def spend(self, amount: int) -> None:
        ask = ask_for(amount)
        await self.holds.settle(await self.holds.hold(ask), ask, amount, b"{}")

    def courier(self, channel: str) -> Courier:
        return next(one for one in self.alerts.couriers if one.channel == channel)

    async def close(self) -> None:
        await self.alerts.stop()
        await self.holds.close()
        await self.redis.close()
        await self.postgres.stop()


class Town:
    """Everything around gateways."""

    def __init__(self, redis_url: str, dsn: str) -> None:
        self.redis_url = redis_url
        self.dsn = dsn
        self.clock = Clock()
        self.mail = MailServer()
        self.http = HttpReceiver()
        self.gateways: list[AlertingGateway] = []
        self.postgres = Postgres(dsn)

    @property
    def sections(self) -> AlertSections:
        return AlertSections(
            mail=MailSettings(
                host="127.0.0.1",
                port=self.mail.port,
                encryption="none",
                sender="Tollgate <bell@tollgate.test>",
            ),
            sms=SmsSettings(
                base_url=self.http.url, account="AC1", token=SecretStr("t0k3n"), sender="+15005550006"
            ),
            webhooks=WebhookSettings(allow_private=True, timeout_s=5),
        )

    async def gateway(self, directory: Directory) -> AlertingGateway:
        made = AlertingGateway(self.redis_url, self.dsn, directory, self.sections, self.clock)
        self.gateways.append(made)
        await made.start()
        return made

    async def person(
        self, user: str, role: str, *, team: str = "", email: str | None = None, phone: str | None = None
    ) -> None:
        """Somebody of acme."""
        email_sealed = (
            None if email is None else VAULT.seal(email, place("people", "email_sealed", "acme", user))
        )
        phone_sealed = (
            None if phone is None else VAULT.seal(phone, place("people", "phone_sealed", "acme", user))
        )
        await self.postgres.execute(
            "INSERT INTO people (org_id, user_id, kind, email_sealed, phone_sealed) "
            "VALUES ('acme', $1, 'person', $2, $3)",
            user,
            email_sealed,
            phone_sealed,
        )
        await self.postgres.execute(
            "INSERT INTO memberships (org_id, user_id, team_id, role, granted_by) "
            "VALUES ('acme', $1, $2, $3, 'test')",
            user,
            team,
            role,
        )


@asynccontextmanager
async def town(redis_url: str, dsn: str) -> AsyncIterator[Town]:
    await migrate(dsn)
    made = Town(redis_url, dsn)
    await made.postgres.start()
    await made.mail.start()
    await made.http.start()
    yield made
    for gateway in made.gateways:
        await gateway.close()
    await made.mail.stop()
    await made.http.stop()
    await made.postgres.stop()
