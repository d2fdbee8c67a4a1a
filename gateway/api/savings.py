"""GET /api/credits/compare and /tips: what usage would have cost otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, Field

from gateway.api.amount import Amount
from gateway.api.operation import AnyOperation, Call, NoBody, Operation
from gateway.api.usage_params import PeriodParams, period_of
from gateway.api.usage_shapes import PeriodReply
from gateway.errors import BadRequest
from gateway.identity.roles import Action, named_org
from gateway.reports.comparison import ModelComparison, ModelName, compare
from gateway.reports.consumption import Consumption, Prices, price_of
from gateway.reports.desk import ReportDesk
from gateway.reports.period import Period
from gateway.reports.prices import CurrentPrices
from gateway.reports.question import Sums
from gateway.reports.tips import Tip, TipKind, tips

PERIOD_DAYS_MAX = 92
"""Requests are priced again one by one, as far as their prices differ."""
_WORDS = {
    TipKind.MODEL: (
        "{requests:,} calls of {model} would have cost {saving} credits less with {instead}, had it used as many "
        "tokens. See whether its answers serve."
    ),
    TipKind.CACHING: (
        "In {requests:,} calls of {model} input was sent again within minutes and charged in full. Reading it from "
        "the provider's cache would have cost {saving} credits less."
    ),
    TipKind.BATCHING: (
        "{requests:,} calls of {model} were not streamed. Those that can wait cost less in batches: all of them, "
        "{saving} credits less."
    ),
    TipKind.WASTED_OUTPUT: (
        "{requests:,} calls of {model} ended before their reply did. {saving} credits were for output that nobody "
        "waited for: ask for shorter replies, or stop earlier."
    ),
    TipKind.OVERSIZED_CAP: (
        "Each call of {model} in flight holds {freed} credits more than it costs, since it may write far more than "
        "it does. A lower cap on output leaves more of every budget to other calls."
    ),
}


class CompareParams(PeriodParams):
    model: Annotated[
        tuple[Annotated[str, Field(pattern="^[^/]+/.+", max_length=256)], ...],
        Field(
            max_length=20,
            description="`provider/model` to compare with, beside those that were used. Default: a few common models "
            "of the providers that are configured.",
        ),
    ] = ()


class AlternativeReply(BaseModel):
    provider: str
    model: str
    tier: str
    cost: Amount
    difference: Annotated[Amount, Field(description="Negative: cheaper.")]


class ComparisonReply(BaseModel):
    provider: str
    model: str
    operation: str
    requests: int
    charged: Annotated[Amount, Field(description="What was charged in fact.")]
    today: Annotated[
        Amount | None, Field(description="The same at today's prices, to compare alternatives with.")
    ]
    in_batches: Annotated[Amount | None, Field(description="At the batch price, if there is one.")]
    saved_by_cache: Annotated[
        Amount, Field(description="By reading from caches, less what writing them cost.")
    ]
    alternatives: Annotated[list[AlternativeReply], Field(description="Cheapest first.")]


class LeftOut(BaseModel):
    """Requests that cannot be priced again: what they used is not known, as they failed or were charged their bound, or
    they are not kept any more."""

    requests: int
    charged: Amount


class CompareReply(BaseModel):
    """``items`` and ``left_out`` together are all usage of the period."""

    org: str
    period: PeriodReply
    items: Annotated[list[ComparisonReply], Field(description="Dearest first.")]
    left_out: LeftOut


class TipReply(BaseModel):
    kind: TipKind
    provider: str
    model: str
    requests: int
    saving: Annotated[Amount, Field(description="What the period would have cost less.")]
    freed: Annotated[Amount, Field(description="Of budget, for each call in flight; not a saving.")]
    instead: str | None
    text: str


class TipsReply(BaseModel):
    org: str
    period: PeriodReply
    items: list[TipReply]


def savings_operations(desk: ReportDesk, prices: CurrentPrices) -> list[AnyOperation]:
    async def comparison(call: Call[CompareParams, NoBody]) -> CompareReply:
        org = named_org(call.reach)
        others = [_model(name, prices) for name in call.params.model]
        usual = {} if others else prices.usual()
        async with desk.snapshot(org, call.reach) as snapshot:
            period = _bounded(period_of(call.params, snapshot.calendar, call.now))
            priced = [*others, *(name for names in usual.values() for name in names)]
            consumed = await snapshot.consumed(period, prices, priced)
            total = await snapshot.total(period)
            shown = PeriodReply.of(period, snapshot.calendar)
        items = [_comparison(one) for one in compare(consumed, prices, others, usual)]
        return CompareReply(org=org, period=shown, items=items, left_out=_left_out(total, consumed))

    async def advice(call: Call[PeriodParams, NoBody]) -> TipsReply:
        org = named_org(call.reach)
        async with desk.snapshot(org, call.reach) as snapshot:
            period = _bounded(period_of(call.params, snapshot.calendar, call.now))
            consumed = await snapshot.consumed(period, prices, [])
            repeated = await snapshot.repeated(period, prices)
            shown = PeriodReply.of(period, snapshot.calendar)
        return TipsReply(org=org, period=shown, items=[_tip(one) for one in tips(consumed, repeated, prices)])

    return [
        Operation(
            method="GET",
            path="/api/credits/compare",
            name="compare_costs",
            tag="Usage",
            summary="What the same calls would have cost elsewhere",
            description=(
                "Every call priced again, at today's prices: with the other models that were used for the same "
                "operation and those asked for (else a few common ones), in batches, and without caches. Another model "
                "would not have used exactly as many tokens."
            ),
            action=Action.SEE_TIPS,
            handler=comparison,
            params=CompareParams,
            reply=CompareReply,
        ),
        Operation(
            method="GET",
            path="/api/credits/tips",
            name="get_tips",
            tag="Usage",
            summary="How to spend less, each with its figure",
            description="Computed from the calls of the period at today's prices. No tip without a figure.",
            action=Action.SEE_TIPS,
            handler=advice,
            params=PeriodParams,
            reply=TipsReply,
        ),
    ]


def _model(name: str, prices: Prices) -> ModelName:
    provider, _, model = name.partition("/")
    if price_of(prices, provider, model) is None:
        raise BadRequest(
            f"model: there is no price for {model!r} of a provider {provider!r} here", param="model"
        )
    return provider, model


def _bounded(period: Period) -> Period:
    if (period.after - period.first).days > PERIOD_DAYS_MAX:
        raise BadRequest(f"start: at most {PERIOD_DAYS_MAX} days before end here", param="start")
    return period


def _left_out(total: Sums, consumed: Sequence[Consumption]) -> LeftOut:
    charged = total.credits_microcredits - sum(one.credits_microcredits for one in consumed)
    return LeftOut(
        requests=total.requests - sum(one.requests for one in consumed), charged=Amount.of(charged)
    )


def _comparison(one: ModelComparison) -> ComparisonReply:
    return ComparisonReply(
        provider=one.provider,
        model=one.model,
        operation=one.operation,
        requests=one.requests,
        charged=Amount.of(one.charged_microcredits),
        today=_amount(one.repriced_microcredits),
        in_batches=_amount(one.batch_microcredits),
        saved_by_cache=Amount.of(one.saved_by_cache_microcredits),
        alternatives=[
            AlternativeReply(
                provider=other.provider,
                model=other.model,
                tier=other.tier,
                cost=Amount.of(other.cost_microcredits),
                difference=Amount.of(other.difference_microcredits),
            )
            for other in one.alternatives
        ],
    )


def _tip(tip: Tip) -> TipReply:
    saving, freed = Amount.of(tip.saving_microcredits), Amount.of(tip.freed_microcredits)
    instead = None if tip.instead is None else "/".join(tip.instead)
    text = _WORDS[tip.kind].format(
        requests=tip.requests, model=tip.model, saving=saving.credits, freed=freed.credits, instead=instead
    )
    return TipReply(
        kind=tip.kind,
        provider=tip.provider,
        model=tip.model,
        requests=tip.requests,
        saving=saving,
        freed=freed,
        instead=instead,
        text=text,
    )


def _amount(microcredits: int | None) -> Amount | None:
    return None if microcredits is None else Amount.of(microcredits)
