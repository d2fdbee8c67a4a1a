"""Everything that happens off the path of a request: built here, started and stopped together.

What is here may be slow or down without a single call being held up by it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version

from gateway.alerts.digest import Digest, ModelSpend
from gateway.alerts.service import Alerts, AlertSections
from gateway.alerts.top_up_news import TopUpMessages
from gateway.api.alert_settings import alert_setting_operations
from gateway.api.alerts import alert_operations
from gateway.api.audit import audit_operations
from gateway.api.authentication import Authentication
from gateway.api.balance import balance_operations
from gateway.api.conversations import conversation_operations
from gateway.api.credit_grants import credit_grant_operations
from gateway.api.dispatch import Dispatch
from gateway.api.forecast import forecast_operations
from gateway.api.keys import key_operations
from gateway.api.ledger_entries import ledger_operations
from gateway.api.limit_book import LimitBook
from gateway.api.limits import limit_operations
from gateway.api.live import live_operations
from gateway.api.me import me_operations
from gateway.api.openapi import add_document
from gateway.api.operation import AnyOperation
from gateway.api.orgs import org_operations
from gateway.api.patterns import pattern_operations
from gateway.api.people import people_operations
from gateway.api.postgres_answers import Answers
from gateway.api.privacy import privacy_operations
from gateway.api.quote import quote_operations
from gateway.api.report import report_operations
from gateway.api.router import Router
from gateway.api.savings import savings_operations
from gateway.api.teams import team_operations
from gateway.api.top_ups import top_up_operations
from gateway.api.usage import usage_operations
from gateway.api.webhooks import webhook_operations
from gateway.budgets.model import Scope
from gateway.budgets.postgres_managed import ManagedLimits
from gateway.budgets.redis_holds import RedisHolds
from gateway.budgets.redis_standings import LimitStandings
from gateway.identity.keyring import Keyring
from gateway.identity.postgres_places import Places
from gateway.identity.principals import KeyPrincipals
from gateway.identity.registry import Registry
from gateway.identity.roles import Reach
from gateway.identity.vault import Vault
from gateway.jobs.runner import JobRunner
from gateway.jobs.upkeep import upkeep_trades
from gateway.ledger.credits import Credits
from gateway.ledger.postgres_calendars import Calendars
from gateway.ledger.postgres_spent import PostgresLedger
from gateway.ledger.topups import ManualPayments
from gateway.live.service import Live
from gateway.proxy.handler import Proxy
from gateway.reload import LiveConfig
from gateway.reports.calendar_keeper import CalendarKeeper
from gateway.reports.desk import ReportDesk
from gateway.reports.elsewhere import ElsewhereQuotes
from gateway.reports.postgres_usage_reading import GROUPS_MAX
from gateway.reports.prepaid import GRANTS_MAX, Prepaid
from gateway.reports.prices import CurrentPrices
from gateway.reports.question import Dimension
from gateway.settings.config import Settings
from gateway.stores.postgres import Postgres
from gateway.stores.redis import RedisStore
from gateway.stores.redis_witness import AuditWitness


def now() -> datetime:
    return datetime.now(UTC)


class UsageDigests:
    """What summaries say was used: the figures of reports, by the same sums. See `gateway.alerts.digest.Digests`."""

    def __init__(self, desk: ReportDesk) -> None:
        self._desk = desk

    async def digest(self, org: str, start: datetime, end: datetime) -> Digest:
        """Raises `PostgresUnavailable`."""
        async with self._desk.snapshot(org, Reach(org)) as snapshot:
            period = snapshot.calendar.between(start, end)
            question = snapshot.question(period, group_by=[Dimension.MODEL])
            groups = await snapshot.reading.top(question, snapshot.calendar, GROUPS_MAX)
        return Digest(
            tuple(
                ModelSpend(group.names[0] or "", group.sums.credits_microcredits, group.sums.requests)
                for group in groups
            )
        )


class BackOffice:
    """The credits side of one gateway process. `start` and `stop` once each."""

    def __init__(
        self,
        settings: Settings,
        redis: RedisStore,
        postgres: Postgres,
        keyring: Keyring,
        config: LiveConfig,
        holds: RedisHolds,
        live: Live,
    ) -> None:
        self._config = config
        token = settings.admin_token.get_secret_value()
        self.registry = Registry(
            postgres,
            redis,
            holds,
            Vault(settings.encryption),
            partitions=settings.redis.partitions,
            limits=lambda: config.current.limits,
            file=settings.limits,
            limited=self._has_limits,
        )
        self._principals = KeyPrincipals(keyring, self.registry.people_table, self.registry.declarations)
        authentication = Authentication(token, self._principals, redis, settings.api)
        answers = Answers(postgres)
        self._dispatch = Dispatch(authentication, answers, now, self.registry.known_orgs.check_read)
        self.live = live
        self.reports = ReportDesk(
            settings.postgres.dsn.get_secret_value(), self.registry.pseudonyms, self._balance_of
        )
        self._prices = CurrentPrices(settings.providers, lambda: config.current.prices)
        self._calendars = CalendarKeeper(Calendars(postgres), lambda: config.current.directory.orgs)
        self._balances = holds.balances
        self.alerts = Alerts(
            AlertSections(settings.alerts, settings.mail, settings.sms, settings.webhooks),
            postgres,
            redis,
            Vault(settings.encryption),
            lambda: self.registry.declarations.current,
            lambda org: config.rules(org).calendar,
            now,
            self.registry.publishing,
            partitions=settings.redis.partitions,
            digests=UsageDigests(self.reports),
        )
        news = TopUpMessages(self.alerts.book)
        self.credits = Credits.build(postgres, holds.balances, ManualPayments(), now, news)
        forgetting = [answers.forget, self.alerts.deliveries.forget, self.alerts.webhooks.forget]
        upkeep = upkeep_trades(self.registry.erasures, self.registry.retention, now, forgetting)
        self.jobs = JobRunner(postgres, [*self.alerts.trades(), *upkeep], now)
        self._witness = AuditWitness(postgres, redis)
        self._limit_book = LimitBook(
            config,
            holds,
            ManagedLimits(postgres, redis),
            LimitStandings(redis, PostgresLedger(postgres), partitions=settings.redis.partitions),
            Places(postgres, lambda: config.current.limits),
            file_name=settings.limits.name,
            check_org=self.registry.known_orgs.check,
        )

    def _has_limits(self, org: str, key: str) -> bool:
        rules = self._config.current.directory.rules(org)
        return any(limit.scope is Scope.KEY and limit.scope_id == key for limit in rules.limits)

    async def start(self) -> None:
        """Begin what runs by itself."""
        await self.live.start()
        await self.reports.start()
        await self._calendars.start()
        await self.credits.bookkeeper.start()
        await self.alerts.start()
        await self.jobs.start()
        await self._witness.start()

    async def stop(self) -> None:
        """Idempotent; waits."""
        await self._witness.stop()
        await self.jobs.stop()
        await self.alerts.stop()
        await self.live.stop()
        await self._calendars.stop()
        await self.reports.stop()
        await self.credits.bookkeeper.stop()

    def operations(self, proxy: Proxy) -> list[AnyOperation]:
        """All of the API, in the order in which its description lists it."""
        return [
            *quote_operations(proxy, ElsewhereQuotes(self.reports, self._prices)),
            *live_operations(self.live.hub, self._principals),
            *balance_operations(self._balances, self.live.backlog, self._limit_book, self._config.rules),
            *limit_operations(self._limit_book),
            *self._credit_operations(),
            *self._report_operations(),
            *self._people_operations(),
            *self._alert_operations(),
        ]

    def _alert_operations(self) -> list[AnyOperation]:
        alerts = self.alerts
        return [
            *alert_operations(alerts.book),
            *alert_setting_operations(alerts.choices),
            *webhook_operations(alerts.webhooks, alerts.deliveries),
        ]

    def _credit_operations(self) -> list[AnyOperation]:
        credits, config, check_org = self.credits, self._config, self.registry.known_orgs.check
        return [
            *credit_grant_operations(credits, check_org, self._prepaid),
            *top_up_operations(
                credits.top_ups, lambda: config.current.directory.credit_usd, check_org, self._prepaid
            ),
            *ledger_operations(credits.reading, lambda org: config.current.directory.rules(org).calendar),
        ]

    def _people_operations(self) -> list[AnyOperation]:
        registry = self.registry
        return [
            *me_operations(registry.orgs, registry.people),
            *org_operations(registry.orgs),
            *team_operations(registry.teams),
            *people_operations(registry.people),
            *privacy_operations(registry.people, registry.subject_export, registry.erasures),
            *key_operations(registry.keys),
            *audit_operations(registry.audit),
        ]

    def _report_operations(self) -> list[AnyOperation]:
        desk = self.reports
        return [
            *usage_operations(desk),
            *report_operations(desk, lambda: self._config.current.directory.credit_usd),
            *forecast_operations(desk),
            *savings_operations(desk, self._prices),
            *pattern_operations(desk),
            *conversation_operations(desk),
        ]

    def _prepaid(self, org: str) -> bool:
        return self._config.rules(org).balance_required

    async def _balance_of(self, org: str) -> Prepaid | None:
        """A prepaid balance, for forecasts; None: the org pays afterwards."""
        if not self._prepaid(org):
            return None
        grants = await self.credits.reading.grants(org, GRANTS_MAX, alive_at=now())
        return Prepaid.of((await self._balances.read(org)).left, grants)

    def add_routes(self, router: Router, proxy: Proxy) -> None:
        operations = self.operations(proxy)
        router.add_operations(operations, self._dispatch)
        add_document(router.add, operations, version("tollgate"))
