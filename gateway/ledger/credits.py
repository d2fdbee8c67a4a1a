"""The credit ledger of one process, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gateway.ledger.bookkeeper import BalanceRelay, Balances, Bookkeeper
from gateway.ledger.postgres_credits import CreditLedger
from gateway.ledger.postgres_outbox import BalanceOutbox
from gateway.ledger.postgres_poster import LedgerPoster
from gateway.ledger.postgres_reading import LedgerReading
from gateway.ledger.postgres_topups import TopUpNews, TopUps
from gateway.ledger.topups import PaymentProvider
from gateway.stores.postgres import Postgres


@dataclass(frozen=True, slots=True)
class Credits:
    """Nothing runs until ``bookkeeper`` is started; all else may be used without it."""

    ledger: CreditLedger
    top_ups: TopUps
    reading: LedgerReading
    poster: LedgerPoster
    relay: BalanceRelay
    bookkeeper: Bookkeeper

    @classmethod
    def build(
        cls,
        postgres: Postgres,
        balances: Balances,
        payments: PaymentProvider,
        now: Callable[[], datetime],
        news: TopUpNews | None = None,
    ) -> Credits:
        outbox, poster = BalanceOutbox(postgres), LedgerPoster(postgres)
        relay = BalanceRelay(outbox, balances, now)
        ledger = CreditLedger(postgres, balances, now, relay.tell)
        return cls(
            ledger=ledger,
            top_ups=TopUps(postgres, ledger, payments, relay.tell, news=news),
            reading=LedgerReading(postgres),
            poster=poster,
            relay=relay,
            bookkeeper=Bookkeeper(poster, relay, outbox, now),
        )
