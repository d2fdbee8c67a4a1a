"""Deciding what a request may do and asking the budgets for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from gateway.budgets.directory import check_allow_lists
from gateway.budgets.holding import Holding, Holdings
from gateway.budgets.model import Ask, Subject
from gateway.errors import BadRequest, BudgetContended, BudgetExceeded, UnpricedModel
from gateway.identity.keys import KeyRecord
from gateway.ledger.event import Admission
from gateway.metering.tokens import MESSAGE_TOKENS, TokenCounter, exactly_known
from gateway.providers.base import Call
from gateway.proxy.estimate import Estimate, PriceOf, estimate, free_estimate
from gateway.proxy.intake import attribution
from gateway.proxy.provider import Provider
from gateway.reload import Loaded
from gateway.settings.limits import MICROCREDITS_MAX
from pricing.book import PriceBook
from pricing.errors import PricingError
from pricing.price import Price
from pricing.record import record


@record(frozen=True, slots=True)
class Prepared:
    """A request that may be made, if the budgets allow it."""

    call: Call
    estimate: Estimate
    ask: Ask
    price_of: PriceOf
    provider: str
    clamp: bool


class Admissions:
    """From an understood call to a hold."""

    def __init__(
        self, config: Callable[[], Loaded], holdings: Holdings, tokens: TokenCounter, gateway_id: str
    ) -> None:
        self._config = config
        self._tokens = tokens
        self._holdings = holdings
        self._gateway_id = gateway_id

    def priced_by(self, providers: Iterable[Provider], model: str) -> list[Provider]:
        """Those of ``providers`` that have a price for ``model``."""
        book = self._config().prices
        return [provider for provider in providers if _has_price(book, provider, model)]

    def prepare(
        self, provider: Provider, call: Call, key: KeyRecord, request_id: str, headers: Mapping[str, str]
    ) -> Prepared:
        """Check what the key may do, price the call and bound it.

        Raises `NotAllowed`, `UnpricedModel`, and `BadRequest` for bad attribution headers.
        """
        loaded = self._config()
        book = loaded.prices
        said = attribution(headers, trusted=key.trusted_attribution)
        trusted = said.end_user is not None and key.trusted_attribution
        subject = Subject(
            key.org_id, key.team_id, key.user_id, key.key_id, said.end_user if trusted else None
        )
        if call.route.metered:
            operation = call.route.operation
            loaded.directory.check_allowed(subject, operation, call.model)
            if key.allowed_models is not None or key.allowed_operations is not None:
                check_allow_lists(
                    f"key {key.key_id}", key.allowed_models, key.allowed_operations, operation, call.model
                )
        price_of = price_lookup(book, provider)
        clamp = headers.get("x-tollgate-clamp", "").lower() != "off"
        try:
            bounded = (
                estimate(call, price_of, book.exchange, clamp=clamp)
                if call.route.metered
                else free_estimate(book.exchange)
            )
        except PricingError as error:
            raise UnpricedModel(f"{error} An administrator can add a price in pricing.yaml.") from error
        if bounded.bound > MICROCREDITS_MAX:
            raise BadRequest(
                "This request could cost more than any budget can hold. Lower its output cap, its number of "
                "choices, or how often its tools may be used."
            )
        route, bound = call.route, bounded.bound
        # By place: named arguments are dear by the dozen, and every request comes by here.
        admission = Admission(
            request_id, key.org_id, key.team_id, key.user_id, key.key_id, provider.name, call.model, route.operation,
            route.name, call.streamed, self._gateway_id, said.conversation_id, said.end_user, trusted, said.tags, bound,
            str(book.exchange.femtousd(bound)),
        )  # fmt: skip
        ask = Ask(
            request_id, subject, route.operation, call.model, bounded.fixed, bounded.least, bounded.most,
            admission.to_json(), key.requests_per_minute, key.open_calls_max,
        )  # fmt: skip
        return Prepared(call, bounded, ask, price_of, provider.name, clamp)

    async def hold(self, prepared: Prepared) -> tuple[Prepared, Holding]:
        """Take the hold. The byte bound is cheap and wide: if it does not fit, the prompt is counted and it is
        tried once more. Raises the refusals of `gateway.errors`."""
        try:
            return prepared, await self._holdings.take(prepared.ask)
        except (BudgetExceeded, BudgetContended):
            tighter = await self._counted(prepared)
            if tighter is None:
                raise
        return tighter, await self._holdings.take(tighter.ask)

    async def _counted(self, prepared: Prepared) -> Prepared | None:
        """The same request under the bound that a tokenizer gives; None if that is not lower."""
        call = prepared.call
        if call.prompt_texts is None or prepared.estimate.price is None or call.input_unbounded:
            return None
        if not exactly_known(call.model):
            return None
        texts = call.prompt_texts()
        bound = call.counted_bound(
            await self._tokens.count_async(call.model, texts) + MESSAGE_TOKENS * len(texts)
        )
        if bound >= call.input_tokens_max:
            return None
        lower = estimate(
            call, prepared.price_of, prepared.estimate.exchange, clamp=prepared.clamp, input_tokens_max=bound
        )
        ask = replace(prepared.ask, fixed=lower.fixed, least=lower.least, most=lower.most)
        return replace(prepared, estimate=lower, ask=ask)


def _has_price(book: PriceBook, provider: Provider, model: str) -> bool:
    try:
        price_lookup(book, provider)(model)
    except PricingError:
        return False
    return True


def price_lookup(book: PriceBook, provider: Provider) -> PriceOf:
    """Prices as they are now: a request keeps those that it was admitted with."""
    now_s = int(time.time())

    def price_of(model: str) -> Price:
        return book.price(provider.name, provider.kind, model, now_s, provider.catalogue)

    return price_of
