"""The most that a request can cost, and how far it can be made to cost less.

A hold has a fixed part (everything but output tokens) and an elastic one (output tokens, by their cap). What the
store grants of the elastic part becomes the cap that goes out, so that the provider itself keeps the bound.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.errors import BadRequest, UnpricedModel
from gateway.providers.base import Call
from pricing.money import Exchange
from pricing.price import Bound, Price
from pricing.record import record
from pricing.usage import NOTHING, Usage

PriceOf = Callable[[str], Price]
"""The price of a model at the provider that is called. Raises `pricing.errors.PricingError`."""


@record(frozen=True, slots=True)
class Estimate:
    """One request's bounds. Amounts in microcredits, caps in tokens per choice."""

    price: Price | None
    """None: the route is free."""
    exchange: Exchange
    choices: int
    input_tokens_max: int
    extra: Usage
    cap: int
    """The cap as asked, at most the model's maximum; 0: the call produces no output tokens."""
    cap_least: int
    """What the cap may be lowered to; ``cap`` itself when it may not."""
    token_femtousd: int
    """Price of one more token of cap, for all choices together."""
    fixed: int
    least: int
    most: int

    @property
    def bound(self) -> int:
        """Microcredits that the call cannot pass unless its provider passes its own cap."""
        return self.fixed + self.most

    def cap_for(self, amount: int) -> int | None:
        """The cap that a hold of ``amount`` pays for; None: no need to lower the one asked for."""
        elastic = amount - self.fixed
        if elastic >= self.most or self.token_femtousd == 0:
            return None
        return max(1, min(self.cap, self.exchange.femtousd(elastic) // self.token_femtousd))

    def tokens_max(self, cap: int | None) -> tuple[int, int]:
        """The input and output tokens of `bound_usage`, which costs more."""
        output = (self.cap if cap is None else cap) * self.choices
        if self.extra is NOTHING:
            return self.input_tokens_max, output
        extra = self.extra.sums
        return self.input_tokens_max + extra[0], output + extra[3]

    def bound_usage(self, cap: int | None) -> Usage:
        """The usage that a hold was taken for, as a row shows it when nothing better is known."""
        bound = Usage(input=self.input_tokens_max, output=(self.cap if cap is None else cap) * self.choices)
        return bound if self.extra is NOTHING else bound + self.extra


def estimate(
    call: Call,
    price_of: PriceOf,
    exchange: Exchange,
    *,
    clamp: bool = True,
    input_tokens_max: int | None = None,
) -> Estimate:
    """Bound ``call``. ``input_tokens_max`` replaces the byte bound when a tokenizer has counted.

    Raises `UnpricedModel` for input whose size cannot be known, `BadRequest` when no cap could be lowered enough,
    and what ``price_of`` raises.
    """
    price = price_of(call.model)
    body_bound = call.input_tokens_max if input_tokens_max is None else input_tokens_max
    if not call.models_also and not call.input_unbounded:  # as nearly always
        input_max = body_bound + price.overhead_input_tokens * call.passes
        cap = _cap(call, price.max_output_tokens)
        bound = _bound(call, price, input_max, cap)
        fixed_femtousd, token_femtousd = bound.fixed_femtousd, bound.output_token_femtousd * call.choices
    else:
        prices = [price, *map(price_of, call.models_also)]
        input_max = _input_bound(call, prices, body_bound)
        cap = _cap(call, max(each.max_output_tokens for each in prices))
        bounds = [_bound(call, each, input_max, cap) for each in prices]
        fixed_femtousd = max(bound.fixed_femtousd for bound in bounds)
        token_femtousd = max(bound.output_token_femtousd for bound in bounds) * call.choices
    fixed = exchange.microcredits(fixed_femtousd)
    elastic = call.elastic and clamp and cap > 0
    cap_least = min(cap, max(price.least_output_tokens, call.cap_floor + 1)) if elastic else cap
    least, most = (
        exchange.microcredits(cap_least * token_femtousd),
        exchange.microcredits(cap * token_femtousd),
    )
    return Estimate(  # by place, see `Admissions.prepare`
        price,
        exchange,
        call.choices,
        input_max,
        call.extra,
        cap,
        cap_least,
        token_femtousd,
        fixed,
        least,
        most,
    )


def _bound(call: Call, price: Price, input_max: int, cap: int) -> Bound:
    return price.bound(
        input_max, cap * call.choices, call.extra, cache_ttl_1h=call.cache_ttl_1h, tier=asked_tier(call)
    )


def free_estimate(exchange: Exchange) -> Estimate:
    """For routes that cost nothing."""
    return Estimate(
        price=None, exchange=exchange, choices=1, input_tokens_max=0, extra=NOTHING, cap=0, cap_least=0,
        token_femtousd=0, fixed=0, least=0, most=0,
    )  # fmt: skip


def asked_tier(call: Call) -> str | None:
    """The service tier asked for, in the one spelling that `pricing.tiers` reads."""
    if call.tier is None and call.speed is None and call.geo is None:
        return None
    parts = [
        part
        for part in (call.tier, call.speed and f"speed:{call.speed}", call.geo and f"geo:{call.geo}")
        if part
    ]
    return "+".join(parts) or None


def _input_bound(call: Call, prices: list[Price], body_bound: int) -> int:
    if not call.input_unbounded:
        return body_bound + max(price.overhead_input_tokens for price in prices) * call.passes
    windows = [price.context_window for price in prices]
    if any(window is None for window in windows):
        raise UnpricedModel(
            f"The request refers to input that it does not contain, and the context window of {call.model!r} is not "
            f"known, so its cost has no bound. Send the input itself, or set context_window in pricing.yaml."
        )
    return max(body_bound, max(window for window in windows if window is not None) * call.passes)


def _cap(call: Call, model_max: int) -> int:
    """``model_max``: the most that any of the models can write that may serve the call."""
    if call.output_cap == 0:
        return 0
    cap = model_max if call.output_cap is None else min(call.output_cap, model_max)
    if cap <= call.cap_floor:
        raise BadRequest(
            f"The output cap must be greater than {call.cap_floor}, the budget set for thinking."
        )
    return cap
