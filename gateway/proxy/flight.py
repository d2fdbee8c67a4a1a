"""One admitted request, from its hold to its settlement: what it may cost, what came back, what it did cost."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import compress

from gateway.budgets.holding import Holding
from gateway.budgets.model import State
from gateway.ledger.event import Result
from gateway.metering.conclusion import Charged, Conclusion, Ending, Source, Status, conclude, conclude_async
from gateway.metering.reading import Reading
from gateway.metering.tokens import TokenCounter
from gateway.providers.base import Call
from gateway.proxy.body_room import Share
from gateway.proxy.estimate import Estimate, PriceOf
from gateway.proxy.exchange import End, Exchange
from gateway.proxy.provider import Provider
from gateway.settings.limits import MICROCREDITS_MAX
from pricing.errors import PricingError
from pricing.record import record
from pricing.usage import COUNTS, Usage


@record(frozen=True, slots=True)
class Charge:
    """What a request came to."""

    microcredits: int
    source: Source
    status: Status
    flags: tuple[str, ...]
    remaining: int | None = None
    """What the tightest limit has left, where the settlement could be confirmed."""
    stands: bool = True
    """False: the hold had been ended by somebody else, and the row says what that came to."""


@dataclass(slots=True)
class Flight:
    """Everything known of one request in flight. Settle it once; the hold sees to that."""

    request_id: str
    provider: Provider
    call: Call
    estimate: Estimate
    price_of: PriceOf
    hold: Holding
    tokens: TokenCounter
    cap: int | None
    """The output cap that was sent, where it is lower than the one asked for."""
    exchange: Exchange
    request: tuple[bytes, list[bytes | memoryview]] = field(repr=False)
    """Head and body as they go out; let go of once they are written."""
    api_key: str | None = field(repr=False)
    """The provider's key that it went out with."""
    sent_at_s: float
    body_share: Share | None = field(default=None, repr=False)
    """What its body takes of the memory for bodies."""
    _priced_once: tuple[Charge, bytes] | None = field(default=None, init=False, repr=False)

    @property
    def worth_draining(self) -> bool:
        """Whether stopping the provider would lose the measure of what it bills: hidden or unary output."""
        return self.call.hidden_output or not self.call.streamed

    async def settle(self, ending: Ending) -> Charge:
        """Price what was used and replace the hold by it. Raises `StoreUnavailable`; may be called again then, or
        when whoever awaited it was cancelled: what was priced once stands, and is written once.
        """
        if self._priced_once is None:
            self._priced_once = await self._concluded(ending)
        charge, result = self._priced_once
        remaining = None
        if self.hold.state is State.HELD:  # else written by a call that was cancelled meanwhile
            remaining = (await self.hold.settle(charge.microcredits, result)).remaining
        stands = self.hold.state is State.SETTLED
        return Charge(charge.microcredits, charge.source, charge.status, charge.flags, remaining, stands)

    async def _concluded(self, ending: Ending) -> tuple[Charge, bytes]:
        """What the request came to, and the result half of its usage event."""
        reading = self.exchange.reading()
        if self.call.route.metered:
            code, charged = self.exchange.status or None, self._charged(reading)
            if reading.reported:  # nothing to count
                conclusion = conclude(ending, code, reading, charged, self.tokens)
            else:
                conclusion = await conclude_async(ending, code, reading, charged, self.tokens)
        else:
            failed = ending is Ending.COMPLETE and self.exchange.status >= 400
            status = Status.UPSTREAM_ERROR if failed else FREE_STATUS[ending]
            conclusion = Conclusion(Usage(), Source.NONE, status)
        cost, cost_femtousd, source, flags = self._cost(conclusion, reading)
        result = self._result(conclusion, reading, source, cost_femtousd, flags)
        return Charge(cost, source, conclusion.status, flags), result.to_json()

    def _bound(self) -> Usage:
        return self.estimate.bound_usage(self.cap)

    def _charged(self, reading: Reading) -> Charged:
        uncounted = reading.usage is None and 200 <= self.exchange.status < 300
        texts = self.call.prompt_texts() if uncounted and self.call.prompt_texts is not None else ()
        hidden = self.call.hidden_output or self.exchange.decoder_failed
        input_tokens_max, output_tokens_max = self.estimate.tokens_max(self.cap)
        return Charged(
            self.call.model,
            self.call.streamed,
            self._bound,
            input_tokens_max,
            output_tokens_max,
            texts,
            hidden,
        )

    # ---------------------------------------------------------------- money

    def _cost(self, conclusion: Conclusion, reading: Reading) -> tuple[int, int, Source, tuple[str, ...]]:
        """(microcredits, femto-USD before markup, the weakest source, flags)."""
        exchange, held = self.estimate.exchange, self.hold.grant.amount
        flags = self._grant_flags()
        if conclusion.flags:
            flags = [*conclusion.flags, *flags]
        source = conclusion.source
        if source is Source.NONE:
            return 0, 0, source, tuple(flags)
        if source is Source.BOUND and conclusion.usage == self._bound():
            return held, exchange.femtousd(held), source, tuple(flags)
        gaps: list[str] = []
        if conclusion.cost_femtousd is not None:
            cost_femtousd = conclusion.cost_femtousd
            flags.append("reported_cost")
        else:
            cost_femtousd, gaps = self._priced(conclusion, reading)
        cost = min(exchange.microcredits(cost_femtousd), MICROCREDITS_MAX)  # more cannot be counted
        if gaps:
            # Part of it has no price: never less than what was held for it.
            source, cost = Source.BOUND, max(cost, held)
            flags += gaps
        elif source is not Source.PROVIDER and cost > held:
            cost, cost_femtousd = held, exchange.femtousd(held)
        if cost > held:
            flags.append("overrun")
        return cost, cost_femtousd, source, tuple(dict.fromkeys(flags)) if flags else ()

    def _priced(self, conclusion: Conclusion, reading: Reading) -> tuple[int, list[str]]:
        """The cost of what was used, passes of other models included, and what of it had no price."""
        assert self.estimate.price is not None
        if not conclusion.passes:
            only = self.estimate.price.cost(conclusion.usage, reading.tier)
            if only.complete:
                return only.total_femtousd, []
        priced = [(self.estimate.price, conclusion.usage)]
        gaps: list[str] = []
        for model, usage in conclusion.passes:
            try:
                priced.append((self.price_of(model), usage))
            except PricingError:
                gaps.append("unpriced_unit")
        total_femtousd = 0
        for price, usage in priced:
            cost = price.cost(usage, reading.tier)
            total_femtousd += cost.total_femtousd
            if cost.unpriced:
                gaps.append("unpriced_unit")
            if cost.unknown_tier:
                gaps.append("unknown_tier")
        return total_femtousd, gaps

    def _grant_flags(self) -> list[str]:
        grant = self.hold.grant
        flags = []
        if self.cap is not None:
            flags.append("clamped")
        if grant.grace:
            flags.append("grace")
        if grant.shadow:
            flags.append("shadow")
        return flags

    # ---------------------------------------------------------------- the record

    def _result(
        self,
        conclusion: Conclusion,
        reading: Reading,
        source: Source,
        cost_femtousd: int,
        flags: tuple[str, ...],
    ) -> Result:
        usage = conclusion.usage
        for _, used in conclusion.passes:
            usage = usage + used
        exchange, price = self.exchange, self.estimate.price
        input_tokens, cached_input_tokens, cache_write_tokens, output_tokens = usage.sums
        first_byte_ms = _milliseconds(exchange.first_byte_at - self.sent_at_s) if exchange.head_seen else None
        return Result(  # by place, see `Admissions.prepare`
            time.time_ns() // 1000, source, conclusion.status, exchange.status or None, reading.model, reading.tier,
            input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, usage.reasoning_tokens,
            buckets(usage), cost_femtousd, self.hold.grant.amount, price.ref if price else None,
            reading.provider_request_id, first_byte_ms, flags,
        )  # fmt: skip


def buckets(usage: Usage) -> dict[str, int]:
    """The exclusive counts that are not zero, images by their label."""
    counts = usage.counts
    found = dict(zip(compress(COUNTS, counts), filter(None, counts), strict=True))
    if usage.images:
        found.update({f"image {label}": count for label, count in usage.images})
    return found


ENDINGS = {
    End.COMPLETE: Ending.COMPLETE,
    End.BROKEN: Ending.PROVIDER_BROKE,
    End.LOST: Ending.UPSTREAM_LOST,
    End.STOPPED: Ending.CLIENT_GONE,
}


FREE_STATUS = {
    Ending.COMPLETE: Status.OK,
    Ending.CLIENT_GONE: Status.CLIENT_GONE,
    Ending.PROVIDER_BROKE: Status.UPSTREAM_ERROR,
    Ending.UPSTREAM_LOST: Status.UPSTREAM_ERROR,
    Ending.TIMEOUT: Status.UPSTREAM_ERROR,
    Ending.CUT: Status.CUT,
}


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
