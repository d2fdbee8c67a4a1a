"""POST /api/credits/quote: what a request would hold and cost at most, holding nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, Field

from gateway.api.operation import BODY_BYTES_MOST, AnyOperation, Call, NoParams, Operation, Strict
from gateway.errors import BadRequest
from gateway.identity.roles import Action, named_org
from gateway.proxy.handler import Proxy
from gateway.reports.comparison import ModelName
from gateway.reports.elsewhere import NAMED_MAX, Elsewhere, ElsewhereQuotes
from pricing.money import format_credits, format_usd

ModelPath = Annotated[str, Field(pattern="^[^/]+/.+", max_length=256)]


class Wanted(Strict):
    """The request that would be sent."""

    path: Annotated[str, Field(pattern="^/", max_length=2000, examples=["/v1/chat/completions"])]
    body: Annotated[dict[str, Any], Field(description="The JSON object that the request would send.")]
    alternatives: Annotated[
        tuple[ModelPath, ...] | None,
        Field(
            max_length=NAMED_MAX,
            description="Models to compare with, `provider/model`; default: those that you used lately for the same.",
        ),
    ] = None


class QuoteElsewhere(BaseModel):
    """The most that the same request can cost there."""

    provider: str
    model: str
    tier: Annotated[
        str, Field(description="`batch`; empty: the one asked for, at another provider the standard one.")
    ]
    credits_max: str
    difference: Annotated[str, Field(description="Credits, against the model asked for; negative: cheaper.")]


class Quote(BaseModel):
    """What the request would hold: the most it can cost, and the least room that it would be admitted with."""

    model: str
    operation: str
    provider: str
    credits_max: Annotated[str, Field(examples=["0.3075"])]
    credits_min: str
    usd_max: str
    input_tokens_max: int
    output_tokens_max: int
    output_tokens_min: int
    price: Annotated[str | None, Field(description="Which price was used.")]
    alternatives: Annotated[list[QuoteElsewhere], Field(description="Cheapest first.")]


def quote_operations(proxy: Proxy, elsewhere: ElsewhereQuotes) -> list[AnyOperation]:
    async def quote(call: Call[NoParams, Wanted]) -> Quote:
        wanted = call.body
        quoted = await proxy.quote(wanted.path, _written(wanted.body), call.credential, call.request.headers)
        bounds = quoted.estimate
        price = bounds.price
        operation = quoted.call.route.operation
        if wanted.alternatives is None:
            names = await elsewhere.used(named_org(call.reach), call.reach, operation, call.now)
        else:
            names = [_named(path) for path in wanted.alternatives]
        found = elsewhere.quotes(quoted.provider, quoted.call, price, names)
        return Quote(
            model=quoted.call.model,
            operation=operation,
            provider=quoted.provider,
            credits_max=format_credits(bounds.bound),
            credits_min=format_credits(bounds.fixed + bounds.least),
            usd_max=format_usd(bounds.exchange.femtousd(bounds.bound)),
            input_tokens_max=bounds.input_tokens_max,
            output_tokens_max=bounds.cap * bounds.choices,
            output_tokens_min=bounds.cap_least * bounds.choices,
            price=price.ref if price is not None else None,
            alternatives=[_alternative(one, bounds.bound) for one in found],
        )

    return [
        Operation(
            method="POST",
            path="/api/credits/quote",
            name="quote_request",
            tag="Credits",
            summary="What a request would hold and cost at most",
            description="Nothing is held and nothing is forwarded. A quote is for the key that asks: the admin token "
            "has none.",
            action=Action.QUOTE,
            handler=quote,
            body=Wanted,
            reply=Quote,
            errors=(413,),
            body_bytes_max=BODY_BYTES_MOST,
            example={
                "path": "/v1/chat/completions",
                "body": {
                    "model": "gpt-4o-mini",
                    "max_tokens": 500,
                    "messages": [{"role": "user", "content": "Hi"}],
                },
            },
        )
    ]


def _written(body: Mapping[str, Any]) -> bytes:
    """As it would be sent. Raises `BadRequest` for what can be read and not be written again."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise BadRequest("body: is nested more than 250 levels deep", param="body") from error


def _named(path: str) -> ModelName:
    provider, _, model = path.partition("/")
    return provider, model


def _alternative(one: Elsewhere, bound_microcredits: int) -> QuoteElsewhere:
    return QuoteElsewhere(
        provider=one.provider,
        model=one.model,
        tier=one.tier,
        credits_max=format_credits(one.bound_microcredits),
        difference=format_credits(one.bound_microcredits - bound_microcredits),
    )
